/* comm.h: the collectives of a step (layers/kernel.h, tsr_comm), made for the ranks of a world.
 *
 * Three implementations, chosen by where the ranks are; all give the same bits on every rank:
 *   self  one rank: nothing to do.
 *   shm   all ranks on one node: shared memory (comm_shm.c). Sums in rank order, whatever the size. Alone in
 *         taking rows (reduce_rows, comm_shm_rows.c); elsewhere the op does an all-reduce and then the rest.
 *   mpi   several nodes, or no shared memory to be had: MPI_Iallreduce (comm_mpi.c). MPI requires that all
 *         ranks get identical results (MPI 3.1, 5.9.6); the order of summation is the library's.
 * Within a node of a job over several nodes shared memory is not used yet.
 *
 * Threads: every thread of a rank calls ops->all_reduce or ops->reduce_rows with its own number. All of them
 * must have met in a barrier between writing `data` and the call, and must meet in one between the call and
 * reading `data` or the next call: the barrier that follows every kernel phase does both. The number of threads of a rank
 * stays the same for the life of the comm; ranks may have different numbers of threads. `mpi` works on
 * thread 0 alone, which must be a thread that may call MPI (world.h).
 *
 * Failure, of either call (both count as all-reduces): TSR_ERR_RANK_LOST ("rank 1 (pid 4711) is gone, found
 * in all-reduce number 123") or
 * TSR_ERR_DEADLINE (with the ranks that had not arrived, as far as they are on this node). It is final:
 * every later call returns it at once, on every thread.
 */
#ifndef TSR_PARALLEL_COMM_H
#define TSR_PARALLEL_COMM_H

#include "base/status.h"
#include "layers/kernel.h"
#include "parallel/world.h"

typedef struct tsr_comm_options {
    double deadline_seconds; /* of one collective; 0: 60 */
    int64_t max_bytes; /* the largest vector expected (sizes the buffers); 0: unknown; larger ones work too */
    bool oversubscribed; /* this rank shares its cores (affinity.h): waits yield at once */
    const char *kind;    /* NULL: choose; "shm" or "mpi": that one, or TSR_ERR_USAGE */
} tsr_comm_options;

/* Collective; max_bytes and kind must be the same on all ranks. `options` may be NULL. The world must
 * outlive it. */
tsr_status tsr_comm_create(tsr_world *world, const tsr_comm_options *options, tsr_comm **out);
/* Collective, unless the world is broken. */
void tsr_comm_destroy(tsr_comm **comm);

/* Local, any thread: TSR_OK, or the failure that ended this comm, with its text in this thread's error
 * record. (A failure found by another thread left its text in the record of that thread.) */
tsr_status tsr_comm_status(const tsr_comm *comm);

static inline tsr_status tsr_comm_all_reduce(tsr_comm *comm, float *data, int64_t n, int thread,
                                             int n_threads)
{
    return (tsr_status)comm->ops->all_reduce(comm, data, n, thread, n_threads);
}

#endif
