/* world_internal.h: the insides of a world, for the files of parallel/ that move its messages. */
#ifndef TSR_PARALLEL_WORLD_INTERNAL_H
#define TSR_PARALLEL_WORLD_INTERNAL_H

#include "parallel/channel.h"
#include "parallel/patience.h"
#include "parallel/peers.h"
#include "parallel/world.h"

#include <mpi.h>

/* Lanes of the node's channel. */
enum {
    TSR_LANE_WORLD, /* one node: rounds of messages; several: the number of the collective entered */
    TSR_LANE_COMM,  /* all-reduces entered by comm_mpi.c */
    TSR_LANE_ABORT, /* of local rank 0: set by the first rank that ends the job */
    TSR_LANES
};

enum { TSR_MESSAGE_BYTES = 64 << 10 }; /* of one rank in one round */

struct tsr_world {
    int rank, size, local_rank, local_size;
    bool one_node, finalize; /* finalize: MPI was initialised here */
    _Atomic bool broken;
    char hostname[256];
    tsr_world_options options;
    MPI_Comm comm, node;  /* MPI_COMM_NULL in a world without MPI */
    tsr_peer *peers;      /* [local_size] */
    tsr_channel *channel; /* of this node; NULL: a single rank here, or no shared memory to be had */
    int32_t *statuses;    /* [size] of tsr_world_agree */
    bool yielding;        /* the ranks of this node outnumber its cores */
    uint64_t round;       /* of TSR_LANE_WORLD */
    uint64_t calls;       /* collectives so far */
};

/* Whether messages of the whole world travel through `channel`. */
static inline bool tsr_world_shares_memory(const tsr_world *w)
{
    return w->one_node && w->channel && !w->options.through_mpi;
}

/* Waits for an MPI request, watching the ranks of this node: those whose flag in `lane` is below `stage`
 * have not arrived. On failure the request stays pending and the world is broken. */
tsr_status tsr_world_await(tsr_world *world, MPI_Request *request, int lane, uint64_t stage,
                           tsr_patience *patience);

/* Marks the world broken and returns `status`. */
tsr_status tsr_world_break(tsr_world *world, tsr_status status);

#endif
