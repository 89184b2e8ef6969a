/* world_messages.c: the collectives of a world, through shared memory on one node and through MPI
 * otherwise.
 *
 * Through shared memory a collective is one round of the node's channel for every TSR_MESSAGE_BYTES: enter
 * the round (having written), wait for those who write, read. A writer first waits until all have entered
 * the round before: they have then done reading the buffer that it is about to overwrite.
 */
#include "base/checked.h"
#include "parallel/world_internal.h"

#include <inttypes.h>
#include <string.h>

enum { MPI_PIECE = 1 << 26, TEXT_BYTES = 1024, LONG_SECONDS = 2 };

static tsr_patience patience_for(tsr_world *w, const char *what, double deadline)
{
    return (tsr_patience){.what = what, .number = ++w->calls, .deadline = deadline, .yielding = w->yielding};
}

/* The ranks of this node that have not entered the collective; once that has taken long, the others too: a
 * rank may die inside MPI. */
static tsr_status look_around(tsr_world *w, int lane, uint64_t stage, tsr_patience *p)
{
    if (w->channel) {
        TSR_TRY(tsr_channel_look(w->channel, lane, stage, p));
        return p->waited > LONG_SECONDS ? tsr_channel_look(w->channel, lane, stage + 1, p) : TSR_OK;
    }
    if (!tsr_patience_over(p)) return TSR_OK;
    return tsr_fail(TSR_ERR_DEADLINE, "%s number %" PRIu64 " passed its deadline of %g s", p->what, p->number,
                    p->deadline);
}

tsr_status tsr_world_await(tsr_world *w, MPI_Request *request, int lane, uint64_t stage, tsr_patience *p)
{
    for (int done = 0;;) {
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE))
            return tsr_world_break(
                w, tsr_fail(TSR_ERR_RANK_LOST, "MPI failed in %s number %" PRIu64, p->what, p->number));
        if (done) return TSR_OK;
        if (!tsr_patience_turn(p)) continue;
        tsr_status status = look_around(w, lane, stage, p);
        if (status != TSR_OK) return tsr_world_break(w, status);
    }
}

static tsr_status await_mpi(tsr_world *w, int error, MPI_Request *request, tsr_patience *p)
{
    if (error)
        return tsr_world_break(
            w, tsr_fail(TSR_ERR_RANK_LOST, "MPI refused %s number %" PRIu64, p->what, p->number));
    uint64_t stage = p->number;
    if (w->channel) tsr_channel_publish(w->channel, TSR_LANE_WORLD, stage);
    return tsr_world_await(w, request, TSR_LANE_WORLD, stage, p);
}

/* After the first piece of a message the rest must follow in time, however long that one was waited for. */
static void has_begun(const tsr_world *w, tsr_patience *p)
{
    *p = (tsr_patience){.what = p->what,
                        .number = p->number,
                        .deadline = w->options.deadline_seconds,
                        .yielding = w->yielding};
}

/* Rounds through shared memory -------------------------------------------------------------------------- */

/* Enters the next round, having put `bytes` of `data` into the own slot (data NULL: nothing to say). */
static tsr_status enter_round(tsr_world *w, const void *data, int64_t bytes, tsr_patience *p)
{
    tsr_channel *c = w->channel;
    uint64_t round = w->round + 1;
    if (data) {
        tsr_status status = tsr_channel_await_all(c, TSR_LANE_WORLD, round - 1, p);
        if (status != TSR_OK) return tsr_world_break(w, status);
        memcpy(tsr_channel_slot(c, c->rank, round), data, (size_t)bytes);
    }
    tsr_channel_publish(c, TSR_LANE_WORLD, round);
    w->round = round;
    return TSR_OK;
}

static tsr_status read_slot(tsr_world *w, int rank, void *data, int64_t bytes, tsr_patience *p)
{
    tsr_status status = tsr_channel_await(w->channel, rank, TSR_LANE_WORLD, w->round, p);
    if (status != TSR_OK) return tsr_world_break(w, status);
    memcpy(data, tsr_channel_slot(w->channel, rank, w->round), (size_t)bytes);
    return TSR_OK;
}

static tsr_status broadcast_shared(tsr_world *w, char *data, int64_t bytes, int root, tsr_patience *p)
{
    for (int64_t at = 0; at < bytes; at += TSR_MESSAGE_BYTES) {
        int64_t n = tsr_min(bytes - at, TSR_MESSAGE_BYTES);
        TSR_TRY(enter_round(w, w->rank == root ? data + at : NULL, n, p));
        if (w->rank != root) TSR_TRY(read_slot(w, root, data + at, n, p));
        has_begun(w, p);
    }
    return TSR_OK;
}

/* out: NULL where nothing is to be received. In a gather without `out` nobody waits for the others here;
 * the next writer does. */
static tsr_status gather_shared(tsr_world *w, const char *in, int64_t bytes, char *out, tsr_patience *p)
{
    for (int64_t at = 0; at < bytes; at += TSR_MESSAGE_BYTES) {
        int64_t n = tsr_min(bytes - at, TSR_MESSAGE_BYTES);
        TSR_TRY(enter_round(w, in + at, n, p));
        for (int q = 0; out && q < w->size; q++)
            if (q != w->rank) TSR_TRY(read_slot(w, q, out + q * bytes + at, n, p));
    }
    return TSR_OK;
}

/* Through MPI ------------------------------------------------------------------------------------------- */

static tsr_status broadcast_mpi(tsr_world *w, char *data, int64_t bytes, int root, tsr_patience *p)
{
    for (int64_t at = 0; at < bytes; at += MPI_PIECE) {
        MPI_Request request;
        int n = (int)tsr_min(bytes - at, MPI_PIECE);
        int error = MPI_Ibcast(data + at, n, MPI_BYTE, root, w->comm, &request);
        TSR_TRY(await_mpi(w, error, &request, p));
        has_begun(w, p);
    }
    return TSR_OK;
}

static tsr_status gather_mpi(tsr_world *w, const void *in, int64_t bytes, void *out, int root,
                             tsr_patience *p)
{
    if (bytes > MPI_PIECE)
        return tsr_fail(TSR_ERR_CAPACITY, "a gather of more than %d bytes a rank", MPI_PIECE);
    MPI_Request request;
    int n = (int)bytes, error;
    if (root < 0)
        error = MPI_Iallgather(in, n, MPI_BYTE, out, n, MPI_BYTE, w->comm, &request);
    else
        error = MPI_Igather(in, n, MPI_BYTE, out, n, MPI_BYTE, root, w->comm, &request);
    return await_mpi(w, error, &request, p);
}

/* The collectives --------------------------------------------------------------------------------------- */

static tsr_status broadcast(tsr_world *w, void *data, int64_t bytes, int root, tsr_patience p)
{
    if (w->size == 1) return TSR_OK;
    return (tsr_world_shares_memory(w) ? broadcast_shared : broadcast_mpi)(w, data, bytes, root, &p);
}

tsr_status tsr_world_broadcast(tsr_world *world, void *data, int64_t bytes, int root, tsr_wait wait)
{
    bool idle = wait == TSR_WAIT_IDLE && world->rank != root;
    double deadline = idle ? 0 : world->options.deadline_seconds;
    return broadcast(world, data, bytes, root, patience_for(world, "broadcast", deadline));
}

/* root: -1: all ranks receive. */
static tsr_status gather(tsr_world *w, const void *in, int64_t bytes, void *out, int root, tsr_patience p)
{
    bool receives = root < 0 || root == w->rank;
    char *own = receives ? (char *)out + w->rank * bytes : NULL;
    if (w->size > 1 && !tsr_world_shares_memory(w)) {
        const void *from = receives && own == in ? MPI_IN_PLACE : in;
        return gather_mpi(w, from, bytes, receives ? out : NULL, root, &p);
    }
    if (own && own != in) memcpy(own, in, (size_t)bytes);
    return w->size == 1 ? TSR_OK : gather_shared(w, in, bytes, receives ? out : NULL, &p);
}

tsr_status tsr_world_all_gather(tsr_world *world, const void *in, int64_t bytes_per_rank, void *out)
{
    tsr_patience p = patience_for(world, "all-gather", world->options.deadline_seconds);
    return gather(world, in, bytes_per_rank, out, -1, p);
}

tsr_status tsr_world_gather(tsr_world *world, const void *in, int64_t bytes_per_rank, void *out, int root)
{
    tsr_patience p = patience_for(world, "gather", world->options.deadline_seconds);
    return gather(world, in, bytes_per_rank, out, root, p);
}

static tsr_status barrier(tsr_world *w, tsr_patience p)
{
    if (w->size == 1) return TSR_OK;
    if (!tsr_world_shares_memory(w)) {
        MPI_Request request;
        int error = MPI_Ibarrier(w->comm, &request);
        return await_mpi(w, error, &request, &p);
    }
    TSR_TRY(enter_round(w, NULL, 0, &p));
    tsr_status status = tsr_channel_await_all(w->channel, TSR_LANE_WORLD, w->round, &p);
    return status == TSR_OK ? TSR_OK : tsr_world_break(w, status);
}

tsr_status tsr_world_barrier(tsr_world *world)
{
    return barrier(world, patience_for(world, "barrier", world->options.deadline_seconds));
}

/* Agreement --------------------------------------------------------------------------------------------- */

/* One look at a time, since ranks reach the end of loading far apart: a barrier under the long deadline comes
 * first. */
static tsr_status gather_statuses(tsr_world *w, tsr_status own, int32_t *of_rank)
{
    int32_t mine = own;
    TSR_TRY(barrier(w, patience_for(w, "end of a phase", w->options.load_deadline_seconds)));
    return tsr_world_all_gather(w, &mine, sizeof mine, of_rank);
}

/* The rank that speaks for all; -1: none failed. */
static int speaker(const int32_t *of_rank, int size)
{
    int cancelled = -1;
    for (int q = 0; q < size; q++) {
        if (of_rank[q] != TSR_OK && of_rank[q] != TSR_ERR_CANCELLED) return q;
        if (of_rank[q] == TSR_ERR_CANCELLED && cancelled < 0) cancelled = q;
    }
    return cancelled;
}

tsr_status tsr_world_agree(tsr_world *world, tsr_status status)
{
    if (world->size == 1) return status;
    char text[TEXT_BYTES] = "";
    strncpy(text, tsr_error_text(), sizeof text - 1);
    int32_t *of_rank = world->statuses;
    TSR_TRY(gather_statuses(world, status, of_rank));
    int rank = speaker(of_rank, world->size);
    if (rank < 0) return TSR_OK;
    TSR_TRY(tsr_world_broadcast(world, text, sizeof text, rank, TSR_WAIT_DEADLINE));
    text[sizeof text - 1] = '\0';
    return rank ? tsr_fail((tsr_status)of_rank[rank], "rank %d: %s", rank, text)
                : tsr_fail((tsr_status)of_rank[rank], "%s", text);
}
