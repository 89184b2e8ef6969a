/* gpu.c: choosing, opening and watching this rank's GPU. */
#include "runtime/cuda/gpu_internal.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/memory.h"
#include "layers/cuda/gemm.h"
#include "parallel/cuda/comm_cuda.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- Choosing --- */

/* Does every rank see a GPU? Collective. */
static tsr_status all_see_one(tsr_world *world, bool *out)
{
    int32_t own = 0, ranks = tsr_world_size(world);
    void *p;
    if (cudaGetDeviceCount(&own) != cudaSuccess) own = 0;
    TSR_TRY(tsr_calloc(ranks, sizeof own, "the GPU counts", &p));
    int32_t *all = p;
    tsr_status s = tsr_world_all_gather(world, &own, sizeof own, all);
    *out = true;
    for (int32_t i = 0; i < ranks; i++) *out = *out && all[i] > 0;
    tsr_free(p);
    return s;
}

static tsr_status wanted(tsr_world *world, const char *device, bool *out)
{
    *out = false;
    if (strcmp(device, "cpu") == 0) return TSR_OK;
    if (strcmp(device, "auto") != 0 && strcmp(device, "cuda") != 0)
        return tsr_fail(TSR_ERR_USAGE, "device must be auto, cpu or cuda, found \"%s\"", device);
    TSR_TRY(all_see_one(world, out));
    if (*out || strcmp(device, "auto") == 0) return TSR_OK;
    int version = 0;
    cudaError_t why = cudaDriverGetVersion(&version);
    if (why == cudaSuccess && version == 0)
        return tsr_fail(TSR_ERR_USAGE, "device cuda: no NVIDIA driver here");
    return tsr_fail(TSR_ERR_USAGE, "device cuda: not every rank of the job sees a GPU");
}

/* --- Life --- */

enum { DEADLINE = 60 }; /* seconds, unless tsr_gpu_connect says otherwise */

static tsr_status prepare(tsr_gpu *g, tsr_world *world)
{
    struct cudaDeviceProp p;
    size_t free_bytes = 0, total_bytes = 0;
    TSR_TRY(tsr_cuda_device_choose(world, &g->info.device));
    TSR_TRY(tsr_cuda_check(cudaSetDevice(g->info.device), "opening the GPU"));
    TSR_TRY(tsr_cuda_check(cudaGetDeviceProperties(&p, g->info.device), "asking the GPU"));
    TSR_TRY(tsr_cuda_check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking the GPU"));
    snprintf(g->name, sizeof g->name, "%s", p.name);
    g->info.name = g->name;
    g->info.free_bytes = (int64_t)free_bytes;
    g->info.total_bytes = (int64_t)total_bytes;
    g->n_processors = p.multiProcessorCount;
    g->overlaps = p.major >= 9;
    g->deadline = DEADLINE;
    TSR_TRY(tsr_cuda_check(cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking), "a stream"));
    return tsr_cuda_gemm_create(&g->gemm);
}

tsr_status tsr_gpu_open(tsr_world *world, const char *device, tsr_gpu **out)
{
    bool use = false;
    void *p;
    *out = NULL;
    TSR_TRY(wanted(world, device, &use));
    if (!use) return TSR_OK;
    tsr_status s = tsr_calloc(1, sizeof(tsr_gpu), "the GPU", &p);
    tsr_gpu *g = s == TSR_OK ? p : NULL;
    if (s == TSR_OK) s = prepare(g, world);
    s = tsr_world_agree(world, s);
    if (s != TSR_OK) tsr_gpu_close(&g);
    *out = g;
    return s;
}

void tsr_gpu_close(tsr_gpu **gpu)
{
    tsr_gpu *g = *gpu;
    if (!g) return;
    *gpu = NULL;
    if (g->lost) return; /* the process is about to end */
    tsr_cuda_comm_destroy(&g->comm);
    tsr_cuda_gemm_destroy(&g->gemm);
    if (g->stream) cudaStreamDestroy(g->stream);
    tsr_free(g);
}

tsr_status tsr_gpu_connect(tsr_gpu *gpu, tsr_world *world, int64_t max_tokens, int64_t cols,
                           double deadline_seconds)
{
    tsr_cuda_comm_options o = {.deadline_seconds = deadline_seconds};
    if (deadline_seconds > 0) gpu->deadline = deadline_seconds;
    if (tsr_world_size(world) == 1) return TSR_OK;
    if (!tsr_mul(max_tokens, cols * (int64_t)sizeof(float), &o.max_bytes))
        return tsr_fail(TSR_ERR_CAPACITY, "steps of %lld tokens are too large", (long long)max_tokens);
    return tsr_cuda_comm_create(world, &o, &gpu->comm);
}

tsr_gpu_info tsr_gpu_get_info(const tsr_gpu *gpu)
{
    return gpu->info;
}

static tsr_status time_copies(tsr_gpu *g, char *memory, int64_t half, double *out)
{
    enum { COPIES = 8 };
    double best = 0;
    for (int i = 0; i <= COPIES; i++) {
        double start = tsr_now();
        TSR_TRY(tsr_cuda_check(
            cudaMemcpyAsync(memory, memory + half, (size_t)half, cudaMemcpyDeviceToDevice, g->stream),
            "copying within the GPU"));
        TSR_TRY(tsr_cuda_check(cudaStreamSynchronize(g->stream), "copying within the GPU"));
        if (i > 0) best = fmax(best, 2 * (double)half / (tsr_now() - start));
    }
    *out = best;
    return TSR_OK;
}

tsr_status tsr_gpu_bandwidth(tsr_gpu *gpu, double *out)
{
    const int64_t half = (int64_t)2 << 30;
    void *memory;
    TSR_TRY(tsr_cuda_check(cudaMalloc(&memory, (size_t)(2 * half)), "memory to copy"));
    tsr_status s = time_copies(gpu, memory, half, out);
    cudaFree(memory);
    return s;
}

/* --- Waiting --- */

static tsr_status wait_alone(tsr_gpu *g, cudaEvent_t event)
{
    tsr_wait_begin(&g->pace);
    for (;;) {
        cudaError_t state = cudaEventQuery(event);
        if (state == cudaSuccess) break;
        if (state != cudaErrorNotReady) return tsr_cuda_check(state, "a step on the GPU");
        if (tsr_wait_turn(&g->pace) <= g->deadline) continue;
        g->lost = true;
        return tsr_fail(TSR_ERR_DEADLINE, "a step of the GPU passed its deadline of %g s", g->deadline);
    }
    tsr_wait_end(&g->pace);
    return TSR_OK;
}

tsr_status tsr_gpu_wait(tsr_gpu *gpu, cudaEvent_t event)
{
    return gpu->comm ? tsr_cuda_comm_wait(gpu->comm, event) : wait_alone(gpu, event);
}
