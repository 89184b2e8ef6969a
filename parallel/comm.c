/* comm.c: choosing a communicator, and its end. */
#include "parallel/comm.h"

#include "parallel/comm_internal.h"

#include <stdio.h>
#include <string.h>

enum { DEADLINE = 60 };

void tsr_comm_base_init(tsr_comm_base *base, const tsr_comm_ops *ops, tsr_world *world,
                        const tsr_comm_options *options)
{
    static const tsr_comm_options defaults;
    const tsr_comm_options *o = options ? options : &defaults;
    base->comm = (tsr_comm){.ops = ops, .size = 1};
    if (world) base->comm = (tsr_comm){.ops = ops, .rank = world->rank, .size = world->size};
    base->world = world;
    base->deadline = o->deadline_seconds > 0 ? o->deadline_seconds : DEADLINE;
    base->yielding = o->oversubscribed || (world && world->yielding);
}

tsr_status tsr_comm_fail(tsr_comm_base *base, tsr_status status)
{
    if (atomic_exchange(&base->failing, 1) == 0) {
        snprintf(base->text, sizeof base->text, "%s", tsr_error_text());
        if (base->world) tsr_world_break(base->world, status);
        atomic_store_explicit(&base->failed, (int)status, memory_order_release);
    }
    return status;
}

tsr_status tsr_comm_status(const tsr_comm *comm)
{
    const tsr_comm_base *base = (const tsr_comm_base *)comm;
    tsr_status status = (tsr_status)atomic_load_explicit(&base->failed, memory_order_acquire);
    return status == TSR_OK ? TSR_OK : tsr_fail(status, "%s", base->text);
}

tsr_status tsr_comm_create(tsr_world *world, const tsr_comm_options *options, tsr_comm **out)
{
    const char *kind = options ? options->kind : NULL;
    *out = NULL;
    if (kind && strcmp(kind, "shm") && strcmp(kind, "mpi"))
        return tsr_fail(TSR_ERR_USAGE, "communicator: expected \"shm\" or \"mpi\", found \"%s\"", kind);
    if (world->size == 1) return tsr_comm_self_create(world, options, out);
    bool shares = tsr_world_shares_memory(world);
    if (kind && !strcmp(kind, "shm") && !shares)
        return tsr_fail(TSR_ERR_USAGE,
                        "communicator: \"shm\" needs all ranks on one node, with shared memory");
    bool through_mpi = kind ? *kind == 'm' : !shares;
    return (through_mpi ? tsr_comm_mpi_create : tsr_comm_shm_create)(world, options, out);
}

void tsr_comm_destroy(tsr_comm **comm)
{
    tsr_comm_base *base = (tsr_comm_base *)*comm;
    if (base) base->destroy(base);
    *comm = NULL;
}
