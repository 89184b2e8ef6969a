/* attention.c: causal attention over the paged cache, with grouped query heads and an optional window.
 *
 * Phase 0 appends this step's k and v to the pages, in the cache's number format; if they come unrotated, it rotates k on
 * its way and q where it lies. Phase 1 attends; every
 * thread lists the same pieces of work in the same order and takes those that begin in its share of the total
 * cost.
 */
#include "layers/cpu/kernels/attention.h"
#include "layers/cpu/kernels/rotate.h"

/* x [n] into element `at` of a cache array */
static void store_vector(tsr_dtype dtype, const float *x, void *to, int64_t at, int n)
{
    for (int d = 0; d < n; d += TSR_VL) {
        int64_t m = tsr_min(TSR_VL, n - d);
        vf v = v_load_n(x + d, m);
        if (dtype == TSR_F32)
            v_store_as_n(TSR_F32, to, at + d, v, m);
        else if (dtype == TSR_F16)
            v_store_as_n(TSR_F16, to, at + d, v, m);
        else
            v_store_as_n(TSR_BF16, to, at + d, v, m);
    }
}

/* One head's vector of token t, rotated if attention has to do that. */
static void rotate(const tsr_call *call, const tsr_step *step, int64_t t, const float *x, float *out)
{
    int dims = call->attrs.attention.rotary_dim;
    const float *angles = step->rope[call->attrs.attention.rope] + t * dims;
    tsr_rotate(x, angles, dims, call->attrs.attention.style, call->cache->head_dim, out);
}

static void rotate_queries(const tsr_call *call, const tsr_step *step, const tsr_worker *worker)
{
    const tsr_operand *q = &call->in[0];
    int64_t heads = call->attrs.attention.heads, i, end;
    tsr_share(step->n_tokens * heads, 1, worker, &i, &end);
    for (; i < end; i++) {
        float *x = q->data + i / heads * q->ld + i % heads * call->cache->head_dim;
        rotate(call, step, i / heads, x, x);
    }
}

static void append_tokens(const tsr_call *call, const tsr_step *step, const tsr_worker *worker)
{
    const tsr_cache_data *cache = call->cache;
    const tsr_operand *k = &call->in[1], *v = &call->in[2];
    int64_t kd = cache->head_dim, vd = cache->value_dim, i, end;
    tsr_share((int64_t)step->n_tokens * cache->kv_heads, 1, worker, &i, &end);
    for (; i < end; i++) {
        int64_t t = i / cache->kv_heads;
        int h = (int)(i % cache->kv_heads);
        const tsr_step_sequence *s = &step->sequences[step->sequence[t]];
        int64_t slot = tsr_cache_slot(cache, s->pages, s->position + (t - s->first_token), h);
        const float *key = k->data + t * k->ld + h * kd;
        if (call->attrs.attention.rotary_dim > 0) {
            rotate(call, step, t, key, worker->scratch);
            key = worker->scratch;
        }
        store_vector(cache->dtype, key, cache->k, slot * kd, (int)kd);
        store_vector(cache->dtype, v->data + t * v->ld + h * vd, cache->v, slot * vd, (int)vd);
    }
}

/* The local query heads that read local kv head c: [*first, *end), empty if none. */
static void heads_of(const tsr_call *call, int c, int *first, int *end)
{
    int group = call->attrs.attention.group, global = (c + call->attrs.attention.first_kv) * group;
    *first = (int)tsr_max(0, global - call->attrs.attention.first_head);
    *end = (int)tsr_min(call->attrs.attention.heads, global + group - call->attrs.attention.first_head);
}

/* Keys that the piece's tokens see, times its rows. */
static int64_t cost_of(const tsr_call *call, const tsr_attention_piece *piece)
{
    int64_t first = piece->sequence->position + piece->token, last = first + piece->n_tokens - 1;
    return (tsr_visible_end(piece->sequence, last) - tsr_first_visible(call, first)) * piece->n_tokens *
           piece->n_heads;
}

typedef struct visit {
    const tsr_call *call;
    int64_t total;  /* cost of all pieces, or -1 while it is being added up */
    int64_t so_far; /* cost of the pieces seen */
    tsr_worker *worker;
    int rows; /* most rows of a many-token piece */
    void (*many)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch);
    int most_heads; /* of a piece */
} visit;

/* The ways for many tokens round otherwise than the one for a single token. Which one takes a token of a prompt may not
 * depend on where the prompt was cut, or tokens would depend on what else was in the steps. */
static bool takes_many(const visit *v, const tsr_attention_piece *piece)
{
    return piece->n_tokens > 1 ||
           ((piece->sequence->prompt || piece->sequence->n_tokens > 1) && v->rows >= piece->n_heads);
}

static void visit_piece(visit *v, const tsr_attention_piece *piece)
{
    int64_t begin = v->so_far;
    v->so_far += cost_of(v->call, piece);
    if (v->total < 0 || begin * v->worker->n_threads / v->total != v->worker->thread) return;
    if (takes_many(v, piece))
        v->many(v->call, piece, v->worker->scratch);
    else
        TSR_LOCAL(tsr_attention_decode)(v->call, piece, v->worker->scratch);
}

/* Cuts (sequence, kv head) into pieces of at most v->rows rows, or single tokens where blocks of rows do not
 * fit. */
static void visit_head(visit *v, const tsr_step_sequence *s, int kv_head)
{
    int first, end;
    heads_of(v->call, kv_head, &first, &end);
    for (int h = first; h < end; h += v->most_heads) {
        tsr_attention_piece piece = {.sequence = s, .head = h, .kv_head = kv_head};
        piece.n_heads = (int)tsr_min(v->most_heads, end - h);
        int32_t tokens = (int32_t)tsr_max(1, v->rows / piece.n_heads);
        for (int32_t t = 0; t < s->n_tokens; t += tokens) {
            piece.token = t;
            piece.n_tokens = (int32_t)tsr_min(tokens, s->n_tokens - t);
            visit_piece(v, &piece);
        }
    }
}

static void visit_all(visit *v, const tsr_step *step)
{
    v->so_far = 0;
    for (int32_t s = 0; s < step->n_sequences; s++)
        for (int c = 0; c < v->call->cache->kv_heads; c++) visit_head(v, &step->sequences[s], c);
}

/* Heads of a piece: all that share a kv head, or fewer if there would be too few pieces for the threads. */
static int most_heads(const tsr_call *call, const tsr_step *step, int n_threads)
{
    int most = (int)tsr_min(call->attrs.attention.group, TSR_QUERY_ROWS);
    int64_t runs = (int64_t)step->n_tokens * call->cache->kv_heads, n = call->attrs.attention.group;
    while (n_threads > 1 && most > 1 && runs * ((n + most - 1) / most) < 3 * n_threads) most = (most + 1) / 2;
    return most;
}

/* How pieces of many tokens are done and how large they may be: no larger than lets the threads' shares be about equal. */
static void choose_pieces(visit *v, const tsr_step *step)
{
    enum { PIECES_PER_THREAD = 16, ROWS_UNIT = 32 };
    v->most_heads = most_heads(v->call, step, v->worker->n_threads);
    v->many = TSR_LOCAL(tsr_attention_prefill);
    v->rows = TSR_LOCAL(tsr_attention_prefill_rows)(v->call);
#ifdef TSR_ISA_amx
    int amx_rows = TSR_LOCAL(tsr_attention_amx_rows)(v->call);
    if (amx_rows > 0) {
        v->many = TSR_LOCAL(tsr_attention_amx);
        v->rows = amx_rows;
    }
#endif
    int64_t rows = (int64_t)step->n_tokens * v->call->attrs.attention.heads;
    if (v->worker->n_threads > 1)
        v->rows = (int)tsr_min(
            v->rows, tsr_round_up(rows / (PIECES_PER_THREAD * v->worker->n_threads) + 1, ROWS_UNIT));
}

TSR_KERNEL(attention)
{
    if (step->n_tokens == 0) return;
    if (worker->phase == 0) {
        append_tokens(call, step, worker);
        if (call->attrs.attention.rotary_dim > 0) rotate_queries(call, step, worker);
        return;
    }
    visit v = {.call = call, .total = -1, .worker = worker};
    choose_pieces(&v, step);
    visit_all(&v, step);
    v.total = v.so_far;
    visit_all(&v, step);
}
