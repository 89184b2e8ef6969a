/* channel.c: the segment, and the slow half of waiting on it. */
#include "parallel/channel.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Making ------------------------------------------------------------------------------------------------ */

int64_t tsr_channel_part_bytes(int lanes, int64_t slot_bytes)
{
    return lanes * (int64_t)sizeof(tsr_channel_flag) + 2 * slot_bytes;
}

static tsr_status allocate(int rank, int size, int lanes, int64_t slot_bytes, tsr_channel **out)
{
    void *channel, *parts;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_channel), "a channel", &channel));
    tsr_status status = tsr_calloc(size, sizeof(tsr_channel_flag *), "a channel", &parts);
    if (status != TSR_OK) {
        tsr_free(channel);
        return status;
    }
    *out = channel;
    **out = (tsr_channel){.rank = rank,
                          .size = size,
                          .lanes = lanes,
                          .slot_bytes = slot_bytes,
                          .window = MPI_WIN_NULL,
                          .parts = parts};
    return TSR_OK;
}

tsr_status tsr_channel_join(int rank, int size, int lanes, int64_t slot_bytes, void *const *parts,
                            tsr_channel **out)
{
    TSR_TRY(allocate(rank, size, lanes, slot_bytes, out));
    for (int q = 0; q < size; q++) (*out)->parts[q] = parts[q];
    return TSR_OK;
}

/* Room to align each part, since MPI promises no alignment of a cache line. */
static tsr_status map_window(tsr_channel *c, MPI_Comm node)
{
    int64_t bytes = tsr_channel_part_bytes(c->lanes, c->slot_bytes);
    void *own;
    if (MPI_Win_allocate_shared((MPI_Aint)(bytes + TSR_CHANNEL_LINE), 1, MPI_INFO_NULL, node, &own,
                                &c->window))
        return tsr_fail(TSR_ERR_MEMORY, "MPI gives no shared memory (%" PRId64 " bytes a rank)", bytes);
    for (int q = 0; q < c->size; q++) {
        MPI_Aint size;
        int unit;
        char *base;
        if (MPI_Win_shared_query(c->window, q, &size, &unit, &base))
            return tsr_fail(TSR_ERR_INTERNAL, "MPI does not tell where shared memory lies");
        c->parts[q] = (void *)(((uintptr_t)base + TSR_CHANNEL_LINE - 1) & ~(uintptr_t)(TSR_CHANNEL_LINE - 1));
    }
    memset(c->parts[c->rank], 0, (size_t)bytes); /* by the owner, so that the pages lie in its memory */
    return TSR_OK;
}

/* The worst status of all, so that no rank goes on with a channel that another does not have. */
static tsr_status same_on_all(MPI_Comm node, tsr_status own)
{
    int mine = own, worst = own;
    if (MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, node))
        return tsr_fail(TSR_ERR_INTERNAL, "MPI cannot reach the ranks of this node");
    if (worst != (int)own)
        return tsr_fail((tsr_status)worst, "another rank of this node has no shared memory");
    return own;
}

tsr_status tsr_channel_create(MPI_Comm node, int lanes, int64_t slot_bytes, tsr_peer *peers,
                              tsr_channel **out)
{
    int rank, size;
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &size);
    tsr_status status = same_on_all(node, allocate(rank, size, lanes, slot_bytes, out));
    if (status == TSR_OK) {
        (*out)->peers = peers;
        status = same_on_all(node, map_window(*out, node));
    }
    if (status != TSR_OK) tsr_channel_destroy(out, false);
    return status;
}

void tsr_channel_destroy(tsr_channel **channel, bool broken)
{
    tsr_channel *c = *channel;
    if (!c) return;
    if (c->window != MPI_WIN_NULL && !broken) MPI_Win_free(&c->window);
    tsr_free(c->parts);
    tsr_free(c);
    *channel = NULL;
}

/* Waiting ----------------------------------------------------------------------------------------------- */

static int world_rank(const tsr_channel *c, int rank)
{
    return c->peers ? c->peers[rank].rank : rank;
}

/* The flag is read again after the process is seen to be gone: it may have arrived and then left in peace. */
static tsr_status look_for_lost(const tsr_channel *c, int lane, uint64_t stage, const tsr_patience *p)
{
    for (int q = 0; c->peers && q < c->size; q++) {
        if (q == c->rank || tsr_channel_reached(c, q, lane, stage) || !tsr_peer_gone(&c->peers[q])) continue;
        if (tsr_channel_reached(c, q, lane, stage)) continue;
        return tsr_fail(TSR_ERR_RANK_LOST, "rank %d (pid %d) is gone, found in %s number %" PRIu64,
                        c->peers[q].rank, (int)c->peers[q].pid, p->what, p->number);
    }
    return TSR_OK;
}

static tsr_status name_missing(const tsr_channel *c, int lane, uint64_t stage, const tsr_patience *p)
{
    char names[256] = "";
    int length = 0;
    for (int q = 0; q < c->size && length < (int)sizeof names - 16; q++)
        if (q != c->rank && !tsr_channel_reached(c, q, lane, stage))
            length += snprintf(names + length, sizeof names - (size_t)length, "%s%d", length ? ", " : "",
                               world_rank(c, q));
    return tsr_fail(TSR_ERR_DEADLINE,
                    "%s number %" PRIu64 " passed its deadline of %g s; not arrived: rank %s", p->what,
                    p->number, p->deadline, length ? names : "(none on this node)");
}

tsr_status tsr_channel_look(const tsr_channel *c, int lane, uint64_t stage, const tsr_patience *p)
{
    TSR_TRY(look_for_lost(c, lane, stage, p));
    return tsr_patience_over(p) ? name_missing(c, lane, stage, p) : TSR_OK;
}

tsr_status tsr_channel_await_slowly(const tsr_channel *c, int rank, int lane, uint64_t stage, tsr_patience *p)
{
    while (!tsr_channel_reached(c, rank, lane, stage)) {
        if (!tsr_patience_turn(p)) continue;
        tsr_status status = tsr_channel_look(c, lane, stage, p);
        if (status != TSR_OK) return tsr_channel_reached(c, rank, lane, stage) ? TSR_OK : status;
    }
    return TSR_OK;
}

tsr_status tsr_channel_await_all(const tsr_channel *c, int lane, uint64_t stage, tsr_patience *p)
{
    for (int q = 0; q < c->size; q++)
        if (q != c->rank) TSR_TRY(tsr_channel_await(c, q, lane, stage, p));
    return TSR_OK;
}
