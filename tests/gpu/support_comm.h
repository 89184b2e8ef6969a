/* support_comm.h: what the test, the drill and the benchmark of the GPUs' collectives share: beginning as a rank with
 * a GPU, and calls of the two ops. */
#ifndef TSR_TESTS_GPU_SUPPORT_COMM_H
#define TSR_TESTS_GPU_SUPPORT_COMM_H

#include "base/log.h"
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/reduce_peers.h"
#include "parallel/cuda/comm_cuda.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct rank_gpu_setup {
    tsr_world *world;
    int rank, size;
    tsr_cuda_step step;
    cudaEvent_t done;
} rank_gpu_setup;

/* Ends the whole job: for what only happens where the test itself is wrong. */
static inline void must(rank_gpu_setup *s, tsr_status status)
{
    if (status != TSR_OK) tsr_world_abort(s->world, status, NULL);
}

static inline void must_cuda(rank_gpu_setup *s, cudaError_t error, const char *what)
{
    must(s, tsr_cuda_check(error, what));
}

/* TSR_TEST_SHARE_GPUS: more ranks than GPUs, which take turns; slow, and NCCL refuses. */
static inline void begin_rank(rank_gpu_setup *s)
{
    int device = 0, n = 1;
    if (tsr_world_create(NULL, &s->world) != TSR_OK) {
        fprintf(stderr, "%s\n", tsr_error_text());
        exit(1);
    }
    s->rank = tsr_world_rank(s->world);
    s->size = tsr_world_size(s->world);
    if (s->size > 1) tsr_log_setup(TSR_LOG_INFO, s->rank);
    if (getenv("TSR_TEST_SHARE_GPUS")) {
        must_cuda(s, cudaGetDeviceCount(&n), "GPUs");
        device = tsr_world_local_rank(s->world) % n;
    } else {
        must(s, tsr_cuda_device_choose(s->world, &device));
    }
    must_cuda(s, cudaSetDevice(device), "a GPU");
    must_cuda(s, cudaStreamCreateWithFlags(&s->step.stream, cudaStreamNonBlocking), "a stream");
    must_cuda(s, cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming), "an event");
    must_cuda(s, cudaDeviceGetAttribute(&s->step.n_processors, cudaDevAttrMultiProcessorCount, device),
              "a GPU");
}

static inline void end_rank(rank_gpu_setup *s)
{
    cudaEventDestroy(s->done);
    cudaStreamDestroy(s->step.stream);
    tsr_world_destroy(&s->world);
}

static inline tsr_status wait_all(rank_gpu_setup *s, tsr_cuda_comm *comm)
{
    must_cuda(s, cudaEventRecord(s->done, s->step.stream), "an event");
    return tsr_cuda_comm_wait(comm, s->done);
}

static inline tsr_cuda_operand operand_of(void *data, tsr_dtype dtype, int64_t cols, int64_t ld)
{
    return (tsr_cuda_operand){.data = data, .ld = ld, .cols = cols, .dtype = dtype};
}

static inline tsr_status call_all_reduce(rank_gpu_setup *s, tsr_cuda_comm *comm, void *data, tsr_dtype dtype,
                                         int64_t n)
{
    tsr_cuda_call call = {.op = TSR_OP_ALL_REDUCE, .n_inputs = 1, .comm = comm};
    call.in[0] = call.out[0] = operand_of(data, dtype, n, n);
    s->step.bound_tokens = 1;
    return tsr_cuda_all_reduce(&call, &s->step);
}

/* Of rows that lie end to end. */
typedef struct norm_call {
    void *x, *residual, *sum, *normed;
    const tsr_cuda_weight *w, *b;
    tsr_dtype dtype;
    int64_t rows, cols, ld;
    tsr_norm_kind kind;
} norm_call;

static inline tsr_status call_reduce_add_norm(rank_gpu_setup *s, tsr_cuda_comm *comm, const norm_call *n)
{
    tsr_cuda_call call = {.n_inputs = 2, .comm = comm, .weight = {n->w, n->b}};
    call.in[0] = operand_of(n->x, n->dtype, n->cols, n->ld);
    call.in[1] = operand_of(n->residual, n->dtype, n->cols, n->ld);
    call.out[0] = operand_of(n->normed, n->dtype, n->cols, n->ld);
    call.out[1] = operand_of(n->sum, n->dtype, n->cols, n->ld);
    call.attrs.norm.kind = n->kind;
    call.attrs.norm.eps = 1e-5f;
    s->step.bound_tokens = (int32_t)n->rows;
    return tsr_cuda_reduce_add_norm(&call, &s->step);
}

#endif
