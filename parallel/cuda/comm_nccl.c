/* comm_nccl.c: sums by NCCL, through a communicator that never blocks: what is in progress is asked for, with a deadline
 * and an eye on the other ranks. */
#include "base/log.h"
#include "base/memory.h"
#include "base/relax.h"
#include "layers/cuda/libraries.h"
#include "parallel/cuda/comm_cuda_internal.h"

#include <stdlib.h>
#include <time.h>

typedef struct nccl_comm {
    tsr_cuda_comm_base base;
    ncclComm_t handle; /* NULL: not there yet, or aborted */
} nccl_comm;

/* Failure ----------------------------------------------------------------------------------------------- */

static tsr_status nccl_failed(const nccl_comm *c, ncclResult_t result, const char *what)
{
    const char *detail = c->handle ? tsr_nccl->ncclGetLastError(c->handle) : "";
    bool remote = result == ncclRemoteError;
    return tsr_fail(remote ? TSR_ERR_RANK_LOST : TSR_ERR_DEVICE, "NCCL, %s: %s%s%s", what,
                    tsr_nccl->ncclGetErrorString(result), detail && *detail ? ": " : "",
                    detail ? detail : "");
}

/* Kernels that wait for a lost rank end, and the handle is gone. */
static void let_go(tsr_cuda_comm_base *base)
{
    nccl_comm *c = (nccl_comm *)base;
    ncclComm_t handle = c->handle;
    c->handle = NULL;
    if (handle) (void)tsr_nccl->ncclCommAbort(handle);
}

static unsigned long long number(tsr_cuda_comm_base *base)
{
    (void)base; /* NCCL does not tell */
    return 0;
}

static tsr_status check(tsr_cuda_comm_base *base)
{
    nccl_comm *c = (nccl_comm *)base;
    ncclResult_t state = ncclSuccess, asked = tsr_nccl->ncclCommGetAsyncError(c->handle, &state);
    if (asked != ncclSuccess) state = asked;
    if (state == ncclSuccess || state == ncclInProgress) return TSR_OK;
    tsr_status status = nccl_failed(c, state, "a collective of GPUs");
    if (status == TSR_ERR_DEVICE)
        TSR_TRY(tsr_cuda_comm_look_hard(base)); /* a lost rank shows as many things */
    return tsr_cuda_comm_fail(base, nccl_failed(c, state, "a collective of GPUs"));
}

/* Until what began with `result` is no longer in progress; `nap`: it may take long. */
static tsr_status settle(nccl_comm *c, ncclResult_t result, const char *what, bool nap)
{
    static const struct timespec while_ = {.tv_nsec = 200000};
    double begin = tsr_now(), next_look = begin + 50e-3;
    while (result == ncclInProgress) {
        ncclResult_t asked = tsr_nccl->ncclCommGetAsyncError(c->handle, &result);
        if (asked != ncclSuccess) result = asked;
        if (result != ncclInProgress) break;
        double now = tsr_now();
        if (now > begin + c->base.deadline)
            return tsr_cuda_comm_fail(
                &c->base,
                tsr_fail(TSR_ERR_DEADLINE, "NCCL, %s: passed its deadline of %g s", what, c->base.deadline));
        if (now > next_look) {
            next_look = now + 50e-3;
            TSR_TRY(tsr_cuda_comm_look(&c->base));
        }
        if (nap)
            nanosleep(&while_, NULL);
        else
            tsr_relax();
    }
    return result == ncclSuccess ? TSR_OK : tsr_cuda_comm_fail(&c->base, nccl_failed(c, result, what));
}

/* Sums -------------------------------------------------------------------------------------------------- */

static ncclDataType_t type_of(tsr_dtype dtype)
{
    return dtype == TSR_F32 ? ncclFloat32 : dtype == TSR_F16 ? ncclFloat16 : ncclBfloat16;
}

static tsr_status all_reduce(tsr_cuda_comm *comm, void *data, tsr_dtype dtype, int64_t n,
                             const tsr_cuda_step *step)
{
    nccl_comm *c = (nccl_comm *)comm;
    if (n == 0) return TSR_OK;
    if (!c->handle) return tsr_cuda_comm_poll(comm);
    ncclResult_t r =
        tsr_nccl->ncclAllReduce(data, data, (size_t)n, type_of(dtype), ncclSum, c->handle, step->stream);
    return settle(c, r, "all-reduce", false);
}

static const tsr_cuda_comm_ops ops = {.name = "nccl", .all_reduce = all_reduce};

/* Beginning and end ------------------------------------------------------------------------------------- */

static void destroy(tsr_cuda_comm_base *base)
{
    nccl_comm *c = (nccl_comm *)base;
    if (base->world->broken) let_go(base);
    if (c->handle && settle(c, tsr_nccl->ncclCommFinalize(c->handle), "farewell", true) == TSR_OK)
        (void)tsr_nccl->ncclCommDestroy(c->handle);
    tsr_free(c);
}

/* The first collectives connect and allocate; that is done now and not in a step. */
static tsr_status warm_up(nccl_comm *c)
{
    enum { BYTES = 4 << 20 };
    tsr_cuda_step step = {0};
    void *data = NULL;
    cudaEvent_t done = NULL;
    tsr_status status;
    TSR_TRY_OUT(tsr_cuda_check(cudaMalloc(&data, BYTES), "NCCL's first vector"));
    TSR_TRY_OUT(tsr_cuda_check(cudaMemset(data, 0, BYTES), "NCCL's first vector"));
    TSR_TRY_OUT(tsr_cuda_check(cudaStreamCreateWithFlags(&step.stream, cudaStreamNonBlocking), "a stream"));
    TSR_TRY_OUT(tsr_cuda_check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "an event"));
    TSR_TRY_OUT(tsr_cuda_check(cudaDeviceSynchronize(), "NCCL's first vector"));
    for (int64_t n = 1024; n <= BYTES / 4; n *= 32)
        TSR_TRY_OUT(all_reduce(&c->base.comm, data, TSR_F32, n, &step));
    TSR_TRY_OUT(tsr_cuda_check(cudaEventRecord(done, step.stream), "an event"));
    status = tsr_cuda_comm_wait(&c->base.comm, done);
out:
    if (done) (void)cudaEventDestroy(done);
    if (step.stream) (void)cudaStreamDestroy(step.stream);
    (void)cudaFree(data);
    return status;
}

static tsr_status make_id(tsr_world *world, ncclUniqueId *id)
{
    TSR_TRY(tsr_nccl_open());
    if (world->rank != 0) return TSR_OK;
    ncclResult_t r = tsr_nccl->ncclGetUniqueId(id);
    return r == ncclSuccess
               ? TSR_OK
               : tsr_fail(TSR_ERR_DEVICE, "NCCL, bootstrap: %s", tsr_nccl->ncclGetErrorString(r));
}

static tsr_status join(nccl_comm *c)
{
    tsr_world *world = c->base.world;
    ncclUniqueId id = {{0}};
    setenv("NCCL_NVLS_ENABLE", "0", 1); /* no multicast (comm_cuda.h) */
    TSR_TRY(tsr_world_agree(world, make_id(world, &id)));
    TSR_TRY(tsr_world_broadcast(world, &id, sizeof id, 0, TSR_WAIT_DEADLINE));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclResult_t r = tsr_nccl->ncclCommInitRankConfig(&c->handle, world->size, id, world->rank, &config);
    TSR_TRY(settle(c, r, "beginning", true));
    return warm_up(c);
}

tsr_status tsr_cuda_comm_nccl_create(tsr_world *world, const tsr_cuda_comm_options *options,
                                     tsr_cuda_comm **out)
{
    void *memory;
    int version = 0;
    TSR_TRY(tsr_calloc(1, sizeof(nccl_comm), "a communicator", &memory));
    nccl_comm *c = memory;
    tsr_cuda_comm_base_init(&c->base, &ops, world, options);
    c->base.check = check;
    c->base.let_go = let_go;
    c->base.number = number;
    c->base.destroy = destroy;
    tsr_status status = join(c);
    if (status != TSR_OK) {
        let_go(&c->base);
        tsr_free(c);
        return status;
    }
    (void)tsr_nccl->ncclGetVersion(&version);
    if (world->rank == 0)
        tsr_log(TSR_LOG_INFO, "collectives of GPUs: NCCL %d, %d ranks", version, world->size);
    *out = &c->base.comm;
    return TSR_OK;
}
