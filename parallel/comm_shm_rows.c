/* comm_shm_rows.c: rows summed through shared memory and finished by a function of the caller's.
 *
 * Few rows: every rank copies its rows into its slot, waits for all, and finishes every row from where the parts lie.
 * Many, if they may be dealt: a rank copies only the rows of other owners, waits, finishes its own, copies the results
 * into its slot, flags that, waits, and fetches the rows of the others. That is fewer bytes than sums of whole
 * vectors, and each row is finished once and not on every rank.
 *
 * A share is what one owner has, all rows if they are not dealt. Each share is cut into lanes, a lane into pieces, one
 * a round; a round of a lane moves a piece of every share. A lane of a slot holds, rows `stride` floats apart: for each
 * other owner the piece of its share, in order of ranks; then the finished piece of the own share, for each output.
 */
#include "base/checked.h"
#include "parallel/comm_shm.h"

#include <string.h>

enum { DEAL_FLOATS = 32768, LEAST_SHARE = 4 /* rows */ };

typedef struct row_cut {
    bool dealt;
    int lanes, shares;
    int64_t lane, piece; /* rows of one share */
    int64_t rounds;
    int64_t stride, room; /* floats: from row to row, of a lane in a slot */
} row_cut;

static int64_t slot_rows(const tsr_shm_comm *c, bool dealt)
{
    return dealt ? c->size - 1 + 2 : 1;
}

static row_cut cut_rows(const tsr_shm_comm *c, int64_t rows, int64_t cols, bool may_deal)
{
    row_cut k = {.stride = tsr_round_up(cols, TSR_SHM_GRAIN)};
    k.dealt = may_deal && rows >= LEAST_SHARE * c->size && rows * cols >= DEAL_FLOATS;
    k.shares = k.dealt ? c->size : 1;
    int64_t share = (rows + k.shares - 1) / k.shares, slot = c->channel->slot_bytes / (int64_t)sizeof(float),
            fit = slot / (k.stride * slot_rows(c, k.dealt)); /* lanes of one row each */
    k.lanes = (int)tsr_max(
        1, tsr_min(tsr_min(rows * cols / TSR_SHM_LANE_FLOATS, TSR_SHM_LANES), tsr_min(share, fit)));
    k.room = slot / k.lanes / TSR_SHM_GRAIN * TSR_SHM_GRAIN;
    k.lane = (share + k.lanes - 1) / k.lanes;
    k.piece = tsr_min(k.lane, k.room / (k.stride * slot_rows(c, k.dealt)));
    k.rounds = k.piece ? (k.lane + k.piece - 1) / k.piece : 0;
    return k;
}

/* One round of one lane. */
typedef struct work {
    tsr_shm_comm *c;
    const tsr_row_job *job;
    const row_cut *cut;
    int lane;
    int64_t first; /* row of a share */
    uint64_t round;
} work;

/* The rows of share s that this round of the lane moves. */
static void rows_of(const work *w, int s, int64_t *begin, int64_t *end)
{
    int64_t first, last;
    tsr_row_owner(w->job->rows, s, w->cut->shares, &first, &last);
    *begin = tsr_min(first + w->first, last);
    *end = tsr_min(last, first + tsr_min(w->first + w->cut->piece, (w->lane + 1) * w->cut->lane));
    *end = tsr_max(*begin, *end);
}

/* Where rank q lays piece `at` of its lane. */
static float *place(const work *w, int q, int at)
{
    return (float *)tsr_channel_slot(w->c->channel, q, w->round) + w->lane * w->cut->room +
           at * w->cut->piece * w->cut->stride;
}

/* Rank q's part of the piece of share s, s not its own. */
static float *offered(const work *w, int q, int s)
{
    return place(w, q, w->cut->dealt ? s - (s > q) : 0);
}

/* Output o of rank q's own piece. */
static float *finished(const work *w, int q, int o)
{
    return place(w, q, w->c->size - 1 + o);
}

static void copy_rows(float *to, int64_t to_ld, const float *from, int64_t from_ld, int64_t rows,
                      int64_t cols)
{
    for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_ld, from + r * from_ld, (size_t)cols * sizeof *to);
}

static tsr_status offer(const work *w, tsr_patience *p)
{
    (void)p;
    int64_t cols = w->job->cols, begin, end;
    for (int s = 0; s < w->cut->shares; s++) {
        if (w->cut->dealt && s == w->c->rank) continue;
        rows_of(w, s, &begin, &end);
        copy_rows(offered(w, w->c->rank, s), w->cut->stride, w->job->x + begin * cols, cols, end - begin,
                  cols);
    }
    tsr_channel_publish(w->c->channel, w->lane,
                        w->cut->dealt ? tsr_shm_first_stage(w->round) : tsr_shm_last_stage(w->round));
    return TSR_OK;
}

static tsr_status finish_rows(const work *w, tsr_patience *p)
{
    const tsr_shm_comm *c = w->c;
    const float *part[c->size];
    int share = w->cut->dealt ? c->rank : 0;
    int64_t cols = w->job->cols, stride = w->cut->stride, begin, end;
    rows_of(w, share, &begin, &end);
    TSR_TRY(tsr_channel_await_all(
        c->channel, w->lane, w->cut->dealt ? tsr_shm_first_stage(w->round) : tsr_shm_last_stage(w->round),
        p));
    for (int64_t row = begin; row < end; row++) {
        for (int q = 0; q < c->size; q++)
            part[q] = q == c->rank ? w->job->x + row * cols : offered(w, q, share) + (row - begin) * stride;
        w->job->finish(w->job, row, part);
        for (int o = 0; o < w->job->n_out && w->cut->dealt; o++)
            if (w->job->out[o].whole)
                memcpy(finished(w, c->rank, o) + (row - begin) * stride,
                       w->job->out[o].data + row * w->job->out[o].ld, (size_t)cols * sizeof(float));
    }
    if (w->cut->dealt) tsr_channel_publish(c->channel, w->lane, tsr_shm_last_stage(w->round));
    return TSR_OK;
}

/* Begins with the next rank, so that not all read from the same one at once. */
static tsr_status fetch(const work *w, tsr_patience *p)
{
    const tsr_shm_comm *c = w->c;
    for (int step = 1; step < c->size; step++) {
        int q = (c->rank + step) % c->size;
        int64_t begin, end;
        TSR_TRY(tsr_channel_await(c->channel, q, w->lane, tsr_shm_last_stage(w->round), p));
        rows_of(w, q, &begin, &end);
        for (int o = 0; o < w->job->n_out; o++) {
            const struct tsr_row_out *out = &w->job->out[o];
            if (out->whole)
                copy_rows(out->data + begin * out->ld, out->ld, finished(w, q, o), w->cut->stride,
                          end - begin, w->job->cols);
        }
    }
    return TSR_OK;
}

typedef tsr_status (*lane_step)(const work *w, tsr_patience *p);

/* One round: all lanes of this thread take each step before any takes the next, so that waits overlap. */
static tsr_status run_round(work *w, int64_t piece, int thread, int n_threads, tsr_patience *p)
{
    static const lane_step steps[] = {offer, finish_rows, fetch};
    for (int s = 0; s < (w->cut->dealt ? 3 : 2); s++)
        for (w->lane = thread; w->lane < w->cut->lanes; w->lane += n_threads) {
            w->first = w->lane * w->cut->lane + piece * w->cut->piece;
            TSR_TRY(steps[s](w, p));
        }
    return TSR_OK;
}

/* Every rank must finish rows that are not dealt from all parts: with three ranks and more that is more to read than
 * the scattered sum of the vector, but for few rows one flag less. */
bool tsr_shm_takes_rows(const tsr_comm *comm, int64_t rows, int64_t cols, bool dealt)
{
    const tsr_shm_comm *c = (const tsr_shm_comm *)comm;
    row_cut k = cut_rows(c, rows, cols, dealt);
    return k.piece > 0 && (k.dealt || c->size == 2 || rows * cols < TSR_SHM_LANE_FLOATS);
}

int tsr_shm_reduce_rows(tsr_comm *comm, const tsr_row_job *job, int thread, int n_threads)
{
    tsr_shm_comm *c = (tsr_shm_comm *)comm;
    tsr_shm_thread *own;
    tsr_patience p;
    TSR_TRY(tsr_shm_begin(c, thread, &own, &p));
    row_cut k = cut_rows(c, job->rows, job->cols, job->dealt);
    work w = {.c = c, .job = job, .cut = &k};
    for (int64_t piece = 0; piece < k.rounds; piece++) {
        w.round = ++own->round;
        tsr_status status = run_round(&w, piece, thread, n_threads, &p);
        if (status != TSR_OK) return tsr_comm_fail(&c->base, status);
    }
    return TSR_OK;
}
