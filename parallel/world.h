/* world.h: the ranks of one job: who they are, how they agree, how they end.
 *
 * A world is made once, at the start of the program. Started alone it is one rank, and MPI is never
 * initialised (the program starts at once). Started by a launcher (mpirun, srun --mpi=pmix) it is all ranks
 * of the job. Started as several processes that do not know of one another (plain srun, the mpirun of
 * another MPI) it is refused with TSR_ERR_LAUNCH and the flag that helps; parallel/launcher.h has the
 * rules.
 *
 * Messages travel through shared memory where all ranks share a node, and through MPI where they do not. A
 * wait spins for some 50 us, then gives the core away, and from 50 ms on looks whether the ranks of its
 * node still live and the deadline holds: TSR_ERR_RANK_LOST and TSR_ERR_DEADLINE name the call, its number
 * and the ranks. After either, or after a data transfer that MPI refused, the world is broken: the only
 * call left is tsr_world_abort.
 *
 * "Collective": every rank calls, in the same order, with the same sizes. "Local": no communication. All
 * collectives block, and are for one thread at a time: the one that created the world, or, where the MPI
 * library grants MPI_THREAD_SERIALIZED (Open MPI does), any one thread after another.
 */
#ifndef TSR_PARALLEL_WORLD_H
#define TSR_PARALLEL_WORLD_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_world tsr_world;

typedef struct tsr_world_options {
    double deadline_seconds;      /* of a collective; 0: 60 */
    double load_deadline_seconds; /* of tsr_world_agree, after unequal loading times; 0: 600 */
    bool through_mpi;             /* use no shared memory for messages and sums */
    bool alone;                   /* be a world of one rank whatever started the process */
} tsr_world_options;

/* Collective. `options` may be NULL. TSR_ERR_LAUNCH, TSR_ERR_MEMORY, TSR_ERR_INTERNAL. */
tsr_status tsr_world_create(const tsr_world_options *options, tsr_world **out);
/* Collective: ends MPI if tsr_world_create began it. On a broken world it releases memory only (local).
 * Destroy every tsr_comm of the world before. */
void tsr_world_destroy(tsr_world **world);

/* Local: another deadline for collectives from now on, the same on every rank; 0: as it was. Options are read by
 * ranks that have met already. */
void tsr_world_set_deadline(tsr_world *world, double seconds);

/* Local. */
int tsr_world_rank(const tsr_world *world);
int tsr_world_size(const tsr_world *world);
int tsr_world_local_rank(const tsr_world *world); /* among the ranks of this node */
int tsr_world_local_size(const tsr_world *world);
bool tsr_world_one_node(const tsr_world *world); /* every rank of the world is on this node */
const char *tsr_world_hostname(const tsr_world *world);

/* How long a receiver may wait. IDLE is for waiting for work: no deadline, and after a short while the wait
 * sleeps (up to 1 ms at a time) and costs next to no CPU; the loss of a rank of the node is still noticed. */
typedef enum tsr_wait { TSR_WAIT_DEADLINE, TSR_WAIT_IDLE } tsr_wait;

/* Collective. The bytes of rank `root` reach every rank. All ranks give the same `bytes` and `wait`. */
tsr_status tsr_world_broadcast(tsr_world *world, void *data, int64_t bytes, int root, tsr_wait wait);
/* Collective. out: [size * bytes_per_rank], in rank order; `in` may be its place in `out`, then on every
 * rank. */
tsr_status tsr_world_all_gather(tsr_world *world, const void *in, int64_t bytes_per_rank, void *out);
/* Collective. As all_gather, but only `root` gets `out` (elsewhere ignored, may be NULL). */
tsr_status tsr_world_gather(tsr_world *world, const void *in, int64_t bytes_per_rank, void *out, int root);
/* Collective. Returns when every rank is here. */
tsr_status tsr_world_barrier(tsr_world *world);

/* Collective: how a phase that may fail on some ranks only (loading) ends. Every rank gives its own status,
 * with the text in this thread's error record. All get TSR_OK if all gave it; otherwise all get the status
 * and text of one rank: the lowest that failed with anything but TSR_ERR_CANCELLED, else the lowest. Where
 * that is not rank 0 the text begins with "rank N: ". Rank 0 then prints it, and all leave with the same
 * exit code. */
tsr_status tsr_world_agree(tsr_world *world, tsr_status status);

/* Local; the end after a fatal error in the middle of work, for `main` and the engine only. Prints one line
 * with the rank and `text` (NULL: the error record), then ends the whole job with the exit code of
 * `status`. If several ranks of a node come here, the first prints. May be called by any thread. */
_Noreturn void tsr_world_abort(tsr_world *world, tsr_status status, const char *text);

/* Local, safe in a signal handler. A wish and nothing more: collectives go on, rank 0 looks at it between
 * steps. */
void tsr_world_request_stop(void);
bool tsr_world_stop_requested(void);

#endif
