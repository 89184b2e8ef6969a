/* affinity.h: how many threads a rank gets, and on which CPUs they run.
 *
 * The rule, for the ranks of one node:
 *  1. A rank's CPUs are its affinity mask. A mask that mpirun set of its own accord (Open MPI binds each
 *     rank to one core when there are one or two) is replaced by the launcher's own mask, or else by all
 *     that the cpuset allows; one that the user asked for (mpirun --bind-to ..., a mask under srun) stands.
 *  2. Ranks with the same set share it evenly and contiguously, by physical cores: rank j of m has cores
 *     c*j/m up to c*(j+1)/m. With more ranks than cores, neighbours share a core, on different hyper-
 *     threads where it has them.
 *  3. One thread per physical core; a wanted number of threads is taken as it is, second hyper-threads
 *     after all cores. A CPU quota of the cgroup, shared by the ranks in that cgroup, limits the automatic
 *     number.
 *  4. At least one thread. A rank is oversubscribed if a CPU of its runs a second thread of any rank, or
 *     the quota is smaller than the threads it must feed; waits then yield instead of spinning.
 *
 * tsr_affinity_decide is that rule as a pure function; tsr_affinity_plan reads the machine and applies it.
 */
#ifndef TSR_PARALLEL_AFFINITY_H
#define TSR_PARALLEL_AFFINITY_H

#include "base/status.h"
#include "parallel/world.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_MAX_CPUS = 1024, TSR_MAX_THREADS = 512 };

typedef struct tsr_cpu_mask {
    uint64_t bits[TSR_MAX_CPUS / 64];
} tsr_cpu_mask;

/* What one rank reports of itself. */
typedef struct tsr_affinity_rank {
    tsr_cpu_mask mask;      /* CPUs it may run on now */
    tsr_cpu_mask widest;    /* CPUs it could widen itself to; used if bound_by_default */
    bool bound_by_default;  /* a launcher narrowed the mask without being asked to */
    int32_t wanted_threads; /* 0: automatic */
    uint64_t cgroup;        /* equal for ranks of one cgroup */
    double quota;           /* CPUs that this cgroup may use at once; 0: no limit */
} tsr_affinity_rank;

/* A rank's threads and their CPUs; thread t runs on cpus[t]. */
typedef struct tsr_affinity {
    int n_threads;
    bool oversubscribed;
    int cpus[TSR_MAX_THREADS];
} tsr_affinity;

/* Local, pure. ranks: [n_ranks] in local rank order. core_of: [TSR_MAX_CPUS] the lowest CPU number of the
 * physical core of each CPU. out: [n_ranks]. TSR_ERR_USAGE: a wanted number out of range; TSR_ERR_MEMORY. */
tsr_status tsr_affinity_decide(const tsr_affinity_rank *ranks, int n_ranks, const int *core_of,
                               tsr_affinity *out);

/* Collective, blocking. wanted_threads: 0 = automatic, at most TSR_MAX_THREADS. Changes no mask: pinning is
 * the pool's (base/pool.h). */
tsr_status tsr_affinity_plan(tsr_world *world, int wanted_threads, tsr_affinity *out);

/* Local. The calling thread, and those it starts afterwards, may run on all CPUs of rule 1: for threads beside the
 * pool's, which a launcher's own idea of binding would press onto one core with them. A system that refuses is no
 * failure: they run where they did. */
void tsr_affinity_widen_self(void);

#endif
