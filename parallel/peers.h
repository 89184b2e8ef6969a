/* peers.h: the other ranks of this node as processes, so that their death can be seen.
 *
 * A process is known by its id and its start time, both from /proc; a zombie counts as dead. Peers that
 * cannot be seen (another pid namespace, /proc hidden) are taken to live: deadlines then are the only
 * guard. Local, thread-safe.
 */
#ifndef TSR_PARALLEL_PEERS_H
#define TSR_PARALLEL_PEERS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_peer {
    int32_t rank; /* in the world */
    int32_t pid;
    uint64_t start;  /* clock ticks after boot */
    int32_t visible; /* set by the process that looks, when it first sees the peer */
} tsr_peer;

/* This process. */
tsr_peer tsr_peer_self(int rank);
/* Whether the peer's process runs now. */
bool tsr_peer_runs(const tsr_peer *peer);
/* A visible peer no longer runs. */
bool tsr_peer_gone(const tsr_peer *peer);

#endif
