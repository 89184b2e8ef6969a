/* copy_lane.c: two pinned buffers and a stream. */
#include "runtime/cuda/copy_lane.h"
#include "base/memory.h"
#include "layers/cuda/cuda_kernel.h"

enum { BUFFERS = 2 };

struct tsr_cuda_lane {
    cudaStream_t stream;
    void *buffer[BUFFERS]; /* pinned */
    cudaEvent_t copied[BUFFERS];
    int turn; /* the buffer that is filled now */
};

static tsr_status make(tsr_cuda_lane *l, int device, int64_t bytes)
{
    TSR_TRY(tsr_cuda_check(cudaSetDevice(device), "a loading thread"));
    TSR_TRY(tsr_cuda_check(cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking), "a loading stream"));
    for (int i = 0; i < BUFFERS; i++) {
        TSR_TRY(tsr_cuda_check(cudaHostAlloc(&l->buffer[i], (size_t)bytes, 0), "a loading buffer"));
        TSR_TRY(tsr_cuda_check(cudaEventCreateWithFlags(&l->copied[i], cudaEventDisableTiming), "an event"));
    }
    return TSR_OK;
}

tsr_status tsr_cuda_lane_create(int device, int64_t buffer_bytes, tsr_cuda_lane **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_cuda_lane), "a loading buffer", &p));
    *out = p;
    tsr_status s = make(p, device, buffer_bytes);
    if (s != TSR_OK) tsr_cuda_lane_destroy(out);
    return s;
}

void tsr_cuda_lane_destroy(tsr_cuda_lane **lane)
{
    tsr_cuda_lane *l = *lane;
    if (!l) return;
    for (int i = 0; i < BUFFERS; i++) {
        if (l->copied[i]) cudaEventDestroy(l->copied[i]);
        if (l->buffer[i]) cudaFreeHost(l->buffer[i]);
    }
    if (l->stream) cudaStreamDestroy(l->stream);
    tsr_free(l);
    *lane = NULL;
}

tsr_status tsr_cuda_lane_buffer(tsr_cuda_lane *l, void **buffer)
{
    *buffer = l->buffer[l->turn];
    return tsr_cuda_check(cudaEventSynchronize(l->copied[l->turn]), "copying to the GPU");
}

tsr_status tsr_cuda_lane_send(tsr_cuda_lane *l, void *gpu, int64_t bytes)
{
    TSR_TRY(tsr_cuda_check(
        cudaMemcpyAsync(gpu, l->buffer[l->turn], (size_t)bytes, cudaMemcpyHostToDevice, l->stream),
        "copying to the GPU"));
    TSR_TRY(tsr_cuda_check(cudaEventRecord(l->copied[l->turn], l->stream), "an event"));
    l->turn = (l->turn + 1) % BUFFERS;
    return TSR_OK;
}

tsr_status tsr_cuda_lane_finish(tsr_cuda_lane *l)
{
    return tsr_cuda_check(cudaStreamSynchronize(l->stream), "copying to the GPU");
}
