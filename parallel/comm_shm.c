/* comm_shm.c: sums through shared memory, for ranks of one node.
 *
 * A vector is cut into lanes, a lane into pieces; thread t of a rank takes lanes t, t + n_threads, ... and
 * goes through the pieces in step with whichever threads have those lanes elsewhere. For each piece, in one
 * round of the channel:
 *
 *   direct     copy the own piece into the own slot; flag it; wait for all; sum all slots in rank order.
 *   scattered  the same with each rank summing only its part of the piece, in place in its own slot; flag
 *              that; wait for all; copy the other parts from the slots of those who summed them. Reads 2
 *              (N-1)/N pieces instead of N-1, at the price of a second flag: for three ranks and more, and
 *              vectors that are not small.
 *
 * Every element is summed in rank order by whoever sums it, so that all ranks hold the same bits, whichever
 * way. The two buffers of the channel make one flag a round enough (channel.h); between calls the threads
 * of a rank meet. How a vector is cut depends on its length and the number of ranks alone.
 */
#include "base/checked.h"
#include "base/memory.h"
#include "parallel/comm_shm.h"

#include <string.h>

enum {
    SLOT_BYTES = 1 << 20,    /* of one buffer; all lanes together */
    PIECE_BYTES = 256 << 10, /* of a vector in one round; all lanes together */
    LEAST_SLOT = TSR_SHM_LANES * TSR_SHM_GRAIN * 4,
    SCATTER_FLOATS = 4096, /* from here on with three ranks and more */
    BLOCK = 256            /* floats summed at a time */
};

/* How a vector is cut. The last lanes and pieces may be short or empty. */
typedef struct cut {
    int lanes;
    int64_t lane, piece, room; /* floats: of a lane, of a piece, of a lane in a slot */
    int64_t pieces;
    bool scattered;
} cut;

static cut cut_vector(const tsr_shm_comm *c, int64_t n)
{
    cut k;
    k.lanes = (int)tsr_max(1, tsr_min(n / TSR_SHM_LANE_FLOATS, TSR_SHM_LANES));
    k.lane = tsr_round_up((n + k.lanes - 1) / k.lanes, TSR_SHM_GRAIN);
    k.room = c->channel->slot_bytes / (int64_t)sizeof(float) / k.lanes / TSR_SHM_GRAIN * TSR_SHM_GRAIN;
    k.piece = tsr_min(tsr_min(k.lane, k.room),
                      tsr_round_up(PIECE_BYTES / (int64_t)sizeof(float) / k.lanes, TSR_SHM_GRAIN));
    k.pieces = k.piece ? (k.lane + k.piece - 1) / k.piece : 0;
    k.scattered = c->size > 2 && n >= SCATTER_FLOATS;
    return k;
}

/* One piece of one lane, in one round. */
typedef struct work {
    float *data; /* [n] of the caller */
    int64_t n;
    int64_t at; /* offset of the piece in a slot */
    int lane;
    uint64_t round;
} work;

static work work_of(const cut *k, float *data, int64_t n, int lane, int64_t piece, uint64_t round)
{
    int64_t begin = lane * k->lane + piece * k->piece;
    int64_t end = tsr_min(tsr_min(begin + k->piece, (lane + 1) * k->lane), n);
    return (work){.data = data + tsr_min(begin, n),
                  .n = tsr_max(end - begin, 0),
                  .at = lane * k->room,
                  .lane = lane,
                  .round = round};
}

static float *slot(const tsr_shm_comm *c, int rank, const work *w)
{
    return (float *)tsr_channel_slot(c->channel, rank, w->round) + w->at;
}

/* out[i] = the sum over ranks, in rank order, of the slots' elements begin + i; out may be one of them. */
static void sum_slots(const tsr_shm_comm *c, const work *w, int64_t begin, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += BLOCK) {
        float sum[BLOCK];
        int64_t m = tsr_min(n - i, BLOCK);
        memcpy(sum, slot(c, 0, w) + begin + i, (size_t)m * sizeof *sum);
        for (int q = 1; q < c->size; q++) {
            const float *more = slot(c, q, w) + begin + i;
            for (int64_t j = 0; j < m; j++) sum[j] += more[j];
        }
        memcpy(out + i, sum, (size_t)m * sizeof *sum);
    }
}

/* Two ranks, the common case: no detour. */
static void add_other(float *restrict data, const float *restrict other, int64_t n)
{
    for (int64_t i = 0; i < n; i++) data[i] += other[i];
}

static void offer(tsr_shm_comm *c, const work *w, bool scattered)
{
    memcpy(slot(c, c->rank, w), w->data, (size_t)w->n * sizeof(float));
    tsr_channel_publish(c->channel, w->lane,
                        scattered ? tsr_shm_first_stage(w->round) : tsr_shm_last_stage(w->round));
}

static tsr_status finish_direct(tsr_shm_comm *c, const work *w, tsr_patience *p)
{
    TSR_TRY(tsr_channel_await_all(c->channel, w->lane, tsr_shm_last_stage(w->round), p));
    if (c->size == 2)
        add_other(w->data, slot(c, !c->rank, w), w->n);
    else
        sum_slots(c, w, 0, w->n, w->data);
    return TSR_OK;
}

/* The part of a piece that rank q sums. */
static void part_of(const tsr_shm_comm *c, const work *w, int q, int64_t *begin, int64_t *end)
{
    int64_t lines = (w->n + TSR_SHM_GRAIN - 1) / TSR_SHM_GRAIN;
    *begin = tsr_min(lines * q / c->size * TSR_SHM_GRAIN, w->n);
    *end = tsr_min(lines * (q + 1) / c->size * TSR_SHM_GRAIN, w->n);
}

static tsr_status sum_own_part(tsr_shm_comm *c, const work *w, tsr_patience *p)
{
    int64_t begin, end;
    TSR_TRY(tsr_channel_await_all(c->channel, w->lane, tsr_shm_first_stage(w->round), p));
    part_of(c, w, c->rank, &begin, &end);
    float *own = slot(c, c->rank, w) + begin;
    sum_slots(c, w, begin, end - begin, own);
    tsr_channel_publish(c->channel, w->lane, tsr_shm_last_stage(w->round));
    memcpy(w->data + begin, own, (size_t)(end - begin) * sizeof *own);
    return TSR_OK;
}

/* Begins with the next rank, so that not all read from the same one at once. */
static tsr_status fetch_parts(tsr_shm_comm *c, const work *w, tsr_patience *p)
{
    for (int step = 1; step < c->size; step++) {
        int q = (c->rank + step) % c->size;
        int64_t begin, end;
        TSR_TRY(tsr_channel_await(c->channel, q, w->lane, tsr_shm_last_stage(w->round), p));
        part_of(c, w, q, &begin, &end);
        memcpy(w->data + begin, slot(c, q, w) + begin, (size_t)(end - begin) * sizeof(float));
    }
    return TSR_OK;
}

typedef tsr_status (*lane_step)(tsr_shm_comm *c, const work *w, tsr_patience *p);

/* One round: all lanes of this thread take each step before any takes the next, so that waits overlap. */
static tsr_status run_round(tsr_shm_comm *c, const cut *k, float *data, int64_t n, int64_t piece,
                            uint64_t round, int thread, int n_threads, tsr_patience *p)
{
    static const lane_step direct[] = {finish_direct, NULL}, scattered[] = {sum_own_part, fetch_parts, NULL};
    for (int lane = thread; lane < k->lanes; lane += n_threads) {
        work w = work_of(k, data, n, lane, piece, round);
        offer(c, &w, k->scattered);
    }
    for (const lane_step *step = k->scattered ? scattered : direct; *step; step++)
        for (int lane = thread; lane < k->lanes; lane += n_threads) {
            work w = work_of(k, data, n, lane, piece, round);
            TSR_TRY((*step)(c, &w, p));
        }
    return TSR_OK;
}

tsr_status tsr_shm_begin(tsr_shm_comm *c, int thread, tsr_shm_thread **own, tsr_patience *patience)
{
    if (atomic_load_explicit(&c->base.failed, memory_order_relaxed)) return tsr_comm_status(&c->base.comm);
    if (thread < 0 || thread >= TSR_MAX_THREADS)
        return tsr_comm_fail(&c->base, tsr_fail(TSR_ERR_INTERNAL, "all-reduce: thread %d", thread));
    *own = &c->threads[thread];
    *patience = tsr_comm_patience(&c->base, ++(*own)->number);
    return TSR_OK;
}

static int all_reduce(tsr_comm *comm, float *data, int64_t n, int thread, int n_threads)
{
    tsr_shm_comm *c = (tsr_shm_comm *)comm;
    tsr_shm_thread *own;
    tsr_patience p;
    TSR_TRY(tsr_shm_begin(c, thread, &own, &p));
    cut k = cut_vector(c, n);
    for (int64_t piece = 0; piece < k.pieces; piece++) {
        tsr_status status = run_round(c, &k, data, n, piece, ++own->round, thread, n_threads, &p);
        if (status != TSR_OK) return tsr_comm_fail(&c->base, status);
    }
    return TSR_OK;
}

static const tsr_comm_ops ops = {.name = "shm",
                                 .all_reduce = all_reduce,
                                 .takes_rows = tsr_shm_takes_rows,
                                 .reduce_rows = tsr_shm_reduce_rows};

/* Making ------------------------------------------------------------------------------------------------ */

static void destroy(tsr_comm_base *base)
{
    tsr_shm_comm *c = (tsr_shm_comm *)base;
    tsr_channel_destroy(&c->channel, base->world && base->world->broken);
    tsr_free_large(c, sizeof *c);
}

/* Takes the channel over, also on failure. */
static tsr_status create_over(tsr_channel *channel, tsr_world *world, const tsr_comm_options *options,
                              tsr_comm **out)
{
    void *memory;
    tsr_status status = tsr_alloc_large(sizeof(tsr_shm_comm), "a communicator", &memory);
    if (status != TSR_OK) {
        tsr_channel_destroy(&channel, true);
        return status;
    }
    tsr_shm_comm *c = memory;
    tsr_comm_base_init(&c->base, &ops, world, options);
    c->base.destroy = destroy;
    c->base.comm.rank = c->rank = channel->rank;
    c->base.comm.size = c->size = channel->size;
    c->channel = channel;
    *out = &c->base.comm;
    return TSR_OK;
}

int64_t tsr_comm_shm_part_bytes(int64_t slot_bytes)
{
    return tsr_channel_part_bytes(TSR_SHM_LANES, slot_bytes);
}

tsr_status tsr_comm_shm_over(int rank, int size, int64_t slot_bytes, void *const *parts,
                             const tsr_comm_options *options, tsr_comm **out)
{
    tsr_channel *channel;
    TSR_TRY(tsr_channel_join(rank, size, TSR_SHM_LANES, slot_bytes, parts, &channel));
    return create_over(channel, NULL, options, out);
}

static int64_t slot_for(const tsr_comm_options *options)
{
    int64_t most = options && options->max_bytes > 0 ? options->max_bytes : SLOT_BYTES;
    return tsr_round_up(tsr_max(LEAST_SLOT, tsr_min(most, SLOT_BYTES)), LEAST_SLOT);
}

tsr_status tsr_comm_shm_create(tsr_world *world, const tsr_comm_options *options, tsr_comm **out)
{
    tsr_channel *channel;
    TSR_TRY(tsr_channel_create(world->node, TSR_SHM_LANES, slot_for(options), world->peers, &channel));
    return create_over(channel, world, options, out);
}
