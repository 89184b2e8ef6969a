/* comm_cuda.c: choosing a communicator of GPUs, waiting for what it does, and its end. */
#include "parallel/cuda/comm_cuda.h"

#include "base/log.h"
#include "parallel/cuda/comm_cuda_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DEADLINE = 60 };

/* BACKSTOP: by then the GPU should have said itself
 * that a deadline passed, and knows more. HARD: how long the killing of a process may take. */
static const double LOOK = 50e-3, BACKSTOP = 2, HARD = 3;

void tsr_cuda_comm_base_init(tsr_cuda_comm_base *base, const tsr_cuda_comm_ops *ops, tsr_world *world,
                             const tsr_cuda_comm_options *options)
{
    base->comm = (tsr_cuda_comm){.ops = ops, .rank = world->rank, .size = world->size};
    base->world = world;
    base->deadline = options->deadline_seconds > 0 ? options->deadline_seconds : DEADLINE;
}

static void nap(double seconds)
{
    struct timespec t = {.tv_nsec = (long)(seconds * 1e9)};
    nanosleep(&t, NULL);
}

/* Failure ----------------------------------------------------------------------------------------------- */

tsr_status tsr_cuda_comm_fail(tsr_cuda_comm_base *base, tsr_status status)
{
    if (base->failed == TSR_OK) {
        snprintf(base->text, sizeof base->text, "%s", tsr_error_text());
        base->failed = status;
        tsr_world_break(base->world, status);
        base->let_go(base);
    }
    return tsr_fail(base->failed, "%s", base->text);
}

static tsr_status lost(tsr_cuda_comm_base *base, const tsr_peer *peer)
{
    base->let_go(base);
    unsigned long long number = base->number(base);
    char where[64] = "a GPU collective";
    if (number) snprintf(where, sizeof where, "GPU collective number %llu", number);
    return tsr_cuda_comm_fail(base, tsr_fail(TSR_ERR_RANK_LOST, "rank %d (pid %d) is gone, found in %s",
                                             peer->rank, peer->pid, where));
}

tsr_status tsr_cuda_comm_look(tsr_cuda_comm_base *base)
{
    const tsr_world *w = base->world;
    for (int q = 0; q < w->local_size && w->peers; q++)
        if (tsr_peer_gone(&w->peers[q])) return lost(base, &w->peers[q]);
    return TSR_OK;
}

tsr_status tsr_cuda_comm_look_hard(tsr_cuda_comm_base *base)
{
    for (double end = tsr_now() + HARD; tsr_now() < end; nap(LOOK)) TSR_TRY(tsr_cuda_comm_look(base));
    return TSR_OK;
}

/* Waiting ----------------------------------------------------------------------------------------------- */

tsr_status tsr_cuda_comm_poll(tsr_cuda_comm *comm)
{
    tsr_cuda_comm_base *base = (tsr_cuda_comm_base *)comm;
    if (!base) return TSR_OK;
    if (base->failed != TSR_OK) return tsr_fail(base->failed, "%s", base->text);
    TSR_TRY(base->check(base));
    double now = tsr_now();
    if (now < base->next_look) return TSR_OK;
    base->next_look = now + LOOK;
    return tsr_cuda_comm_look(base);
}

static tsr_status too_late(tsr_cuda_comm_base *base)
{
    return tsr_cuda_comm_fail(
        base, tsr_fail(TSR_ERR_DEADLINE, "a step of the GPU passed its deadline of %g s", base->deadline));
}

/* The GPU itself failed: perhaps because memory of a rank that was lost went away. */
static tsr_status gpu_failed(tsr_cuda_comm_base *base, cudaError_t error)
{
    TSR_TRY(tsr_cuda_comm_look_hard(base));
    return tsr_cuda_comm_fail(base, tsr_cuda_check(error, "a step of the GPU"));
}

tsr_status tsr_cuda_comm_wait(tsr_cuda_comm *comm, cudaEvent_t event)
{
    tsr_cuda_comm_base *base = (tsr_cuda_comm_base *)comm;
    if (!base) return tsr_cuda_check(cudaEventSynchronize(event), "a step of the GPU");
    tsr_wait_begin(&base->pace);
    for (;;) {
        cudaError_t error = cudaEventQuery(event);
        if (error != cudaSuccess && error != cudaErrorNotReady) return gpu_failed(base, error);
        if (error == cudaSuccess) break;
        TSR_TRY(tsr_cuda_comm_poll(comm));
        if (tsr_wait_turn(&base->pace) > base->deadline + BACKSTOP) return too_late(base);
    }
    tsr_wait_end(&base->pace);
    return tsr_cuda_comm_poll(comm);
}

/* Beginning and end ------------------------------------------------------------------------------------- */

static tsr_status choose(tsr_world *world, const tsr_cuda_comm_options *o, tsr_cuda_comm **out)
{
    const char *why = NULL;
    if (!o->kind || !strcmp(o->kind, "ipc")) TSR_TRY(tsr_cuda_comm_ipc_create(world, o, out, &why));
    if (*out) return TSR_OK;
    if (o->kind && !strcmp(o->kind, "ipc"))
        return tsr_fail(TSR_ERR_USAGE, "collectives of GPUs: \"ipc\" is not possible: %s", why);
    if (why && world->rank == 0)
        tsr_log(TSR_LOG_INFO, "collectives of GPUs: all through NCCL, since %s", why);
    return tsr_cuda_comm_nccl_create(world, o, out);
}

tsr_status tsr_cuda_comm_create(tsr_world *world, const tsr_cuda_comm_options *options, tsr_cuda_comm **out)
{
    static const tsr_cuda_comm_options defaults;
    const tsr_cuda_comm_options *o = options ? options : &defaults;
    *out = NULL;
    if (o->kind && strcmp(o->kind, "ipc") && strcmp(o->kind, "nccl"))
        return tsr_fail(TSR_ERR_USAGE, "collectives of GPUs: expected \"ipc\" or \"nccl\", found \"%s\"",
                        o->kind);
    return world->size == 1 ? TSR_OK : choose(world, o, out);
}

void tsr_cuda_comm_destroy(tsr_cuda_comm **comm)
{
    tsr_cuda_comm_base *base = (tsr_cuda_comm_base *)*comm;
    if (base) base->destroy(base);
    *comm = NULL;
}
