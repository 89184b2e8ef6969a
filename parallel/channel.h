/* channel.h: shared memory between the ranks of one node: a set of flags and two buffers for each rank.
 *
 * A rank's part holds `lanes` flags, each on its own cache lines, and two buffers of slot_bytes. Only the
 * owner writes there. A flag is a stage: a number that only grows, saying how far its owner has come in
 * that lane. Users count rounds: in round r they write into buffer r % 2, set their flag, and wait for the
 * flags of others, before they read. Whoever has seen every other rank in round r + 1 may write round r +
 * 2: nobody reads that buffer any more. Different threads may use different lanes at once.
 *
 * Two makers: tsr_channel_create over an MPI shared-memory window, for ranks that are processes, and
 * tsr_channel_join over memory that the caller has, for ranks that are threads of one process (tests under
 * the thread sanitizer).
 */
#ifndef TSR_PARALLEL_CHANNEL_H
#define TSR_PARALLEL_CHANNEL_H

#include "base/status.h"
#include "parallel/patience.h"
#include "parallel/peers.h"

#include <mpi.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { TSR_CHANNEL_LINE = 128 };

typedef struct tsr_channel_flag {
    _Alignas(TSR_CHANNEL_LINE) _Atomic uint64_t stage;
} tsr_channel_flag;

typedef struct tsr_channel {
    int rank, size, lanes; /* rank: among the ranks of the node */
    int64_t slot_bytes;
    tsr_peer *peers;          /* [size], borrowed; NULL: peers are not watched */
    MPI_Win window;           /* MPI_WIN_NULL for a joined one */
    tsr_channel_flag **parts; /* [size] each: [lanes] flags, then two buffers */
} tsr_channel;

/* Bytes of one rank's part. slot_bytes must be a multiple of TSR_CHANNEL_LINE. */
int64_t tsr_channel_part_bytes(int lanes, int64_t slot_bytes);

/* Collective over `node`, a communicator of ranks that share memory. All get the same status. */
tsr_status tsr_channel_create(MPI_Comm node, int lanes, int64_t slot_bytes, tsr_peer *peers,
                              tsr_channel **out);
/* Local. parts: [size] zeroed, TSR_CHANNEL_LINE-aligned, part_bytes long each; borrowed. */
tsr_status tsr_channel_join(int rank, int size, int lanes, int64_t slot_bytes, void *const *parts,
                            tsr_channel **out);
/* Collective, for a created channel, unless `broken`: then the window is left to the end of the process. */
void tsr_channel_destroy(tsr_channel **channel, bool broken);

static inline _Atomic uint64_t *tsr_channel_stage(const tsr_channel *c, int rank, int lane)
{
    return &c->parts[rank][lane].stage;
}

/* The buffer of a rank for a round. */
static inline void *tsr_channel_slot(const tsr_channel *c, int rank, uint64_t round)
{
    return (char *)(c->parts[rank] + c->lanes) + (round & 1) * c->slot_bytes;
}

/* Everything written before is seen by whoever waits for this stage. */
static inline void tsr_channel_publish(tsr_channel *c, int lane, uint64_t stage)
{
    atomic_store_explicit(tsr_channel_stage(c, c->rank, lane), stage, memory_order_release);
}

static inline bool tsr_channel_reached(const tsr_channel *c, int rank, int lane, uint64_t stage)
{
    return atomic_load_explicit(tsr_channel_stage(c, rank, lane), memory_order_acquire) >= stage;
}

/* Waits until `rank` has reached the stage. TSR_ERR_RANK_LOST: a rank that has not reached it is gone
 * (whether or not it is the one waited for). TSR_ERR_DEADLINE: names the ranks that have not. */
tsr_status tsr_channel_await_slowly(const tsr_channel *c, int rank, int lane, uint64_t stage,
                                    tsr_patience *patience);
static inline tsr_status tsr_channel_await(const tsr_channel *c, int rank, int lane, uint64_t stage,
                                           tsr_patience *patience)
{
    if (tsr_channel_reached(c, rank, lane, stage)) return TSR_OK;
    return tsr_channel_await_slowly(c, rank, lane, stage, patience);
}
/* Waits for every rank. */
tsr_status tsr_channel_await_all(const tsr_channel *c, int lane, uint64_t stage, tsr_patience *patience);

/* The look itself, for callers that wait on something else (MPI) but publish their progress here. */
tsr_status tsr_channel_look(const tsr_channel *c, int lane, uint64_t stage, const tsr_patience *patience);

#endif
