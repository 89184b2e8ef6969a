/* attention_decode.c: attention of one token: few query rows, every key read once and straight from the page.
 *
 * Rows are taken up to MOST_ROWS at a time. Scores are dot products along the head's dimensions: TSR_VL of
 * them (some rows times some keys) build up in registers and are summed across lanes together.
 */
#include "layers/cpu/kernels/attention.h"

enum { MOST_ROWS = 4, VALUE_VECTORS = 4 };

/* Query rows that are done together; q, out and o rows have their strides in floats. */
typedef struct rows {
    const float *q;
    int64_t q_stride;
    float *o; /* [rows][o_stride] */
    int64_t o_stride;
    float scale;
    int head_dim, value_dim;
    float m[MOST_ROWS], l[MOST_ROWS];
    float s[MOST_ROWS][TSR_KEY_TILE]; /* scores, then probabilities */
    const tsr_call *biased;           /* NULL without biases */
    float slope[MOST_ROWS];
    int64_t position; /* of the query */
} rows;

/* A tile and the one after it, which is prefetched meanwhile: pages lie anywhere, so hardware cannot foresee it. */
typedef struct tile_pair {
    tsr_key_tile now, next;
} tile_pair;

/* acc[i * n_keys + j] += q row i times key j, over the n dimensions from d on that fit a vector */
TSR_INLINE void score_vector(tsr_dtype dtype, const int n_rows, const int n_keys, const rows *r,
                             const tile_pair *t, int key, int d, int n, vf acc[TSR_VL])
{
    vf q[MOST_ROWS];
    TSR_EACH (i, n_rows)
        q[i] = n == TSR_VL ? v_load(r->q + i * r->q_stride + d) : v_load_n(r->q + i * r->q_stride + d, n);
    TSR_EACH (j, n_keys) {
        int64_t at = (int64_t)(key + j) * r->head_dim + d;
        vf x = n == TSR_VL ? v_load_as(dtype, t->now.k, at) : v_load_as_n(dtype, t->now.k, at, n);
        __builtin_prefetch((const char *)t->next.k + at * (dtype == TSR_F32 ? 4 : 2));
        TSR_EACH (i, n_rows) acc[i * n_keys + j] = v_fma(q[i], x, acc[i * n_keys + j]);
    }
}

/* s[row][key .. key + n_keys - 1] for n_keys = TSR_VL / n_rows, rounded down to a power of 2 */
TSR_INLINE void score_keys(tsr_dtype dtype, const int n_rows, const int n_keys, rows *r, const tile_pair *t,
                           int key)
{
    vf acc[TSR_VL];
    TSR_EACH (i, TSR_VL) acc[i] = (vf){0};
    int d = 0;
    for (; d + TSR_VL <= r->head_dim; d += TSR_VL)
        score_vector(dtype, n_rows, n_keys, r, t, key, d, TSR_VL, acc);
    if (d < r->head_dim) score_vector(dtype, n_rows, n_keys, r, t, key, d, r->head_dim - d, acc);
    float sums[TSR_VL];
    v_store(sums, v_sums(acc) * r->scale);
    TSR_EACH (i, n_rows) memcpy(r->s[i] + key, sums + i * n_keys, n_keys * sizeof(float));
}

TSR_INLINE void score_tile(tsr_dtype dtype, const int n_rows, rows *r, const tile_pair *t)
{
    const int room = TSR_VL / n_rows, n_keys = room >= 16  ? 16
                                               : room >= 8 ? 8
                                               : room >= 4 ? 4
                                               : room >= 2 ? 2
                                                           : 1;
    int key = 0;
    for (; key + n_keys <= t->now.n; key += n_keys) score_keys(dtype, n_rows, n_keys, r, t, key);
    for (; key < t->now.n; key++) score_keys(dtype, n_rows, 1, r, t, key);
    for (; key < TSR_KEY_TILE; key++)
        TSR_EACH (i, n_rows) r->s[i][key] = -INFINITY;
}

/* o += p v for VALUE_VECTORS or one vector of values from dimension d on; n lanes of the last one exist */
TSR_INLINE void add_values(tsr_dtype dtype, const int n_rows, const int vectors, int n, rows *r,
                           const tile_pair *t, const float *factor, int d)
{
    vf acc[MOST_ROWS][VALUE_VECTORS];
    TSR_EACH (i, n_rows) {
        TSR_EACH (j, vectors) acc[i][j] = v_load(r->o + i * r->o_stride + d + j * TSR_VL) * factor[i];
    }
    for (int key = 0; key < t->now.n; key++) {
        TSR_EACH (j, vectors) {
            int64_t at = (int64_t)key * r->value_dim + d + j * TSR_VL;
            vf v = n == TSR_VL ? v_load_as(dtype, t->now.v, at) : v_load_as_n(dtype, t->now.v, at, n);
            __builtin_prefetch((const char *)t->next.v + at * (dtype == TSR_F32 ? 4 : 2));
            TSR_EACH (i, n_rows) acc[i][j] = v_fma(v_set1(r->s[i][key]), v, acc[i][j]);
        }
    }
    TSR_EACH (i, n_rows) {
        TSR_EACH (j, vectors) v_store(r->o + i * r->o_stride + d + j * TSR_VL, acc[i][j]);
    }
}

/* One row's step of the running softmax over TSR_KEY_TILE scores; those of keys not visible are -infinity.
 * Turns s into p and returns the factor for o. */
TSR_INLINE float softmax_step(float *s, float *m, float *l)
{
    vf top = v_load(s);
    TSR_UNROLL for (int j = TSR_VL; j < TSR_KEY_TILE; j += TSR_VL) top = v_max(top, v_load(s + j));
    float highest = v_max_lane(top);
    if (highest < *m) highest = *m;
    vf sum = {0};
    TSR_UNROLL for (int j = 0; j < TSR_KEY_TILE; j += TSR_VL)
    {
        vf p = v_exp(v_load(s + j) - highest);
        v_store(s + j, p);
        sum += p;
    }
    float factor = 1;
    if (highest > *m) {
        vf e = v_exp(v_set1(*m - highest));
        factor = e[0];
    }
    *l = *l * factor + v_sum(sum);
    *m = highest;
    return factor;
}

TSR_INLINE void do_tile(tsr_dtype dtype, const int n_rows, rows *r, const tile_pair *t)
{
    float factor[MOST_ROWS];
    score_tile(dtype, n_rows, r, t);
    for (int i = 0; r->biased && i < n_rows; i++)
        tsr_add_biases(r->biased, r->slope[i], 1, r->position, t->now.position, t->now.n, r->s[i]);
    for (int i = 0; i < n_rows; i++) factor[i] = softmax_step(r->s[i], &r->m[i], &r->l[i]);
    int d = 0;
    for (; d + VALUE_VECTORS * TSR_VL <= r->value_dim; d += VALUE_VECTORS * TSR_VL)
        add_values(dtype, n_rows, VALUE_VECTORS, TSR_VL, r, t, factor, d);
    for (; d + TSR_VL <= r->value_dim; d += TSR_VL) add_values(dtype, n_rows, 1, TSR_VL, r, t, factor, d);
    if (d < r->value_dim) add_values(dtype, n_rows, 1, r->value_dim - d, r, t, factor, d);
}

typedef void (*tile_function)(rows *r, const tile_pair *t);
#define TSR_DECODE_TILE(dtype, n)                                                                            \
    static void tile_##dtype##_##n(rows *r, const tile_pair *t)                                              \
    {                                                                                                        \
        do_tile(TSR_##dtype, n, r, t);                                                                       \
    }
#define TSR_DECODE_TILES(dtype)                                                                              \
    TSR_DECODE_TILE(dtype, 1) TSR_DECODE_TILE(dtype, 2) TSR_DECODE_TILE(dtype, 3) TSR_DECODE_TILE(dtype, 4)
TSR_DECODE_TILES(F32)
TSR_DECODE_TILES(F16)
TSR_DECODE_TILES(BF16)

#define TSR_DECODE_ROW(dtype)                                                                                \
    [TSR_##dtype] = {NULL, tile_##dtype##_1, tile_##dtype##_2, tile_##dtype##_3, tile_##dtype##_4}
static const tile_function tiles[][MOST_ROWS + 1] = {TSR_DECODE_ROW(F32), TSR_DECODE_ROW(F16),
                                                     TSR_DECODE_ROW(BF16)};

static void do_rows(const tsr_call *call, const tsr_attention_piece *piece, int head, int n_rows,
                    float *scratch)
{
    const tsr_operand *q = &call->in[0], *out = &call->out[0];
    int64_t row = piece->sequence->first_token + piece->token;
    int dim = call->cache->head_dim, value_dim = call->cache->value_dim;
    rows r = {
        .q = q->data + row * q->ld + (int64_t)head * dim,
        .q_stride = dim,
        .o = scratch,
        .o_stride = tsr_round_up(value_dim, TSR_VL),
        .scale = call->attrs.attention.scale,
        .head_dim = dim,
        .value_dim = value_dim,
        .biased = call->attrs.attention.alibi != 0 ? call : NULL,
        .position = piece->sequence->position + piece->token,
    };
    for (int i = 0; i < n_rows; i++) r.m[i] = TSR_LOWEST_SCORE;
    for (int i = 0; r.biased && i < n_rows; i++) r.slope[i] = tsr_alibi_slope(&call->attrs, head + i);
    memset(r.o, 0, (size_t)(n_rows * r.o_stride) * 4);

    int64_t end = tsr_visible_end(piece->sequence, r.position), at = tsr_first_visible(call, r.position);
    tile_pair t = {.next = tsr_key_tile_at(call, piece, at, end)};
    do {
        t.now = t.next;
        at += t.now.n;
        if (at < end) t.next = tsr_key_tile_at(call, piece, at, end);
        tiles[call->cache->dtype][n_rows](&r, &t);
    } while (at < end);
    for (int i = 0; i < n_rows; i++) {
        float *to = out->data + row * out->ld + (int64_t)(head + i) * value_dim;
        for (int d = 0; d < value_dim; d++) to[d] = r.o[i * r.o_stride + d] / r.l[i];
    }
}

void TSR_LOCAL(tsr_attention_decode)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch)
{
    for (int h = 0; h < piece->n_heads; h += MOST_ROWS)
        do_rows(call, piece, piece->head + h, (int)tsr_min(MOST_ROWS, piece->n_heads - h), scratch);
}
