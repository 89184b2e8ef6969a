/* comm_mpi.c: sums by MPI_Iallreduce, waited for with a deadline. Thread 0 of each rank calls MPI, the
 * others rely on the barrier that follows. The same bits on every rank are MPI's own promise (comm.h). */
#include "base/checked.h"
#include "base/memory.h"
#include "parallel/comm_internal.h"

enum { PIECE = 1 << 24 }; /* floats of one MPI call */

typedef struct mpi_comm {
    tsr_comm_base base;
    uint64_t number;
    MPI_Comm handle; /* of its own: its traffic never meets that of the world */
} mpi_comm;

static tsr_status reduce_piece(mpi_comm *c, float *data, int n, tsr_patience *p)
{
    tsr_world *w = c->base.world;
    MPI_Request request;
    if (MPI_Iallreduce(MPI_IN_PLACE, data, n, MPI_FLOAT, MPI_SUM, c->handle, &request))
        return tsr_fail(TSR_ERR_RANK_LOST, "MPI refused all-reduce number %llu",
                        (unsigned long long)c->number);
    return tsr_world_await(w, &request, TSR_LANE_COMM, c->number, p);
}

static int all_reduce(tsr_comm *comm, float *data, int64_t n, int thread, int n_threads)
{
    mpi_comm *c = (mpi_comm *)comm;
    (void)n_threads;
    if (thread)
        return atomic_load_explicit(&c->base.failed, memory_order_relaxed) ? tsr_comm_status(comm) : TSR_OK;
    TSR_TRY(tsr_comm_status(comm));
    tsr_patience p = tsr_comm_patience(&c->base, ++c->number);
    tsr_channel *channel = c->base.world->channel;
    if (channel) tsr_channel_publish(channel, TSR_LANE_COMM, c->number);
    for (int64_t at = 0; at < n; at += PIECE) {
        tsr_status status = reduce_piece(c, data + at, (int)tsr_min(n - at, PIECE), &p);
        if (status != TSR_OK) return tsr_comm_fail(&c->base, status);
    }
    return TSR_OK;
}

static const tsr_comm_ops ops = {.name = "mpi", .all_reduce = all_reduce};

static void destroy(tsr_comm_base *base)
{
    mpi_comm *c = (mpi_comm *)base;
    if (!base->world->broken) MPI_Comm_free(&c->handle);
    tsr_free(c);
}

tsr_status tsr_comm_mpi_create(tsr_world *world, const tsr_comm_options *options, tsr_comm **out)
{
    void *memory;
    TSR_TRY(tsr_calloc(1, sizeof(mpi_comm), "a communicator", &memory));
    mpi_comm *c = memory;
    tsr_comm_base_init(&c->base, &ops, world, options);
    c->base.destroy = destroy;
    if (MPI_Comm_dup(world->comm, &c->handle)) {
        tsr_free(c);
        return tsr_fail(TSR_ERR_RANK_LOST, "MPI cannot duplicate a communicator");
    }
    *out = &c->base.comm;
    return TSR_OK;
}
