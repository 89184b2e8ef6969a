/* comm_shm.h: what the files of the shared-memory communicator share: comm_shm.c (vectors, and making one) and
 * comm_shm_rows.c (rows).
 *
 * Both go through the channel in rounds (channel.h), by lanes: thread t of a rank has lanes t, t + n_threads, ... How
 * something is cut into lanes and rounds depends on its size and the number of ranks alone. Lanes of a slot may lie
 * differently from call to call, since the threads of a rank meet between calls.
 */
#ifndef TSR_PARALLEL_COMM_SHM_H
#define TSR_PARALLEL_COMM_SHM_H

#include "parallel/affinity.h"
#include "parallel/comm_internal.h"

enum {
    TSR_SHM_LANES = 16,
    TSR_SHM_LANE_FLOATS = 4096, /* a lane is not worth its flag below this */
    TSR_SHM_GRAIN = 16          /* floats of a cache line */
};

/* Counters of one thread; threads never share a line. */
typedef struct tsr_shm_thread {
    _Alignas(TSR_CHANNEL_LINE) uint64_t round;
    uint64_t number;
} tsr_shm_thread;

typedef struct tsr_shm_comm {
    tsr_comm_base base;
    tsr_channel *channel;
    int rank, size;
    tsr_shm_thread threads[TSR_MAX_THREADS];
} tsr_shm_comm;

/* Stages of a round r: "my piece is there", "I have come as far as this round goes". */
static inline uint64_t tsr_shm_first_stage(uint64_t round)
{
    return 2 * round - 1;
}

static inline uint64_t tsr_shm_last_stage(uint64_t round)
{
    return 2 * round;
}

/* Begins a call of this thread: the failure of an earlier one, or its counters and its patience. */
tsr_status tsr_shm_begin(tsr_shm_comm *c, int thread, tsr_shm_thread **own, tsr_patience *patience);

bool tsr_shm_takes_rows(const tsr_comm *comm, int64_t rows, int64_t cols, bool dealt);
int tsr_shm_reduce_rows(tsr_comm *comm, const tsr_row_job *job, int thread, int n_threads);

#endif
