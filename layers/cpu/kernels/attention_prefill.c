/* attention_prefill.c: attention of several tokens: a tile of keys and values is widened to float32 once
 * (keys transposed, so that a score needs no sum across lanes) and used by every query row of the piece.
 *
 * Rows of a piece are token-major: row = token * n_heads + head. Both products, scores = q k^T and o += p v,
 * are one small register-tiled matrix product.
 */
#include "layers/cpu/kernels/attention.h"

enum { MOST_ROWS = 6 };

/* Scratch of a piece; widths in floats, rounded up to whole vectors. */
typedef struct room {
    float *q;      /* [rows][head_dim], scaled */
    float *o;      /* [rows][o_width] */
    float *s;      /* [rows][TSR_KEY_TILE] */
    float *m, *l;  /* [rows] */
    float *kt, *v; /* [head_dim][TSR_KEY_TILE], [TSR_KEY_TILE][o_width] */
    int head_dim, value_dim;
    int64_t o_width;
    int rows, heads;
} room;

int TSR_LOCAL(tsr_attention_prefill_rows)(const tsr_call *call)
{
    int64_t width = call->cache->head_dim + tsr_round_up(call->cache->value_dim, TSR_VL);
    int64_t left = TSR_WORKER_SCRATCH / 4 - TSR_KEY_TILE * width;
    return (int)tsr_max(0, tsr_min(TSR_QUERY_ROWS, left / (width + TSR_KEY_TILE + 2)));
}

static room make_room(const tsr_call *call, const tsr_attention_piece *piece, float *scratch)
{
    room r = {.head_dim = call->cache->head_dim, .value_dim = call->cache->value_dim};
    r.o_width = tsr_round_up(r.value_dim, TSR_VL);
    r.rows = piece->n_tokens * piece->n_heads;
    r.heads = piece->n_heads;
    r.kt = scratch;
    r.v = r.kt + (int64_t)r.head_dim * TSR_KEY_TILE;
    r.s = r.v + TSR_KEY_TILE * r.o_width;
    r.o = r.s + (int64_t)r.rows * TSR_KEY_TILE;
    r.q = r.o + r.rows * r.o_width;
    r.m = r.q + (int64_t)r.rows * r.head_dim;
    r.l = r.m + r.rows;
    return r;
}

static void load_queries(const tsr_call *call, const tsr_attention_piece *piece, room *r)
{
    for (int i = 0; i < r->rows; i++) {
        int64_t row = piece->sequence->first_token + piece->token + i / r->heads;
        const float *q =
            call->in[0].data + row * call->in[0].ld + (int64_t)(piece->head + i % r->heads) * r->head_dim;
        for (int d = 0; d < r->head_dim; d++)
            r->q[(int64_t)i * r->head_dim + d] = q[d] * call->attrs.attention.scale;
        r->m[i] = TSR_LOWEST_SCORE;
        r->l[i] = 0;
    }
    memset(r->o, 0, (size_t)(r->rows * r->o_width) * 4);
}

/* kt[d][key] and v[key][d]; keys the tile lacks become zeros */
TSR_INLINE void widen(tsr_dtype dtype, const tsr_key_tile *tile, room *r)
{
    for (int key = 0; key < TSR_KEY_TILE; key++) {
        for (int d = 0; d < r->head_dim; d += TSR_VL) {
            int n = (int)tsr_min(TSR_VL, r->head_dim - d);
            int64_t at = (int64_t)key * r->head_dim + d;
            vf x = {0};
            if (key < tile->n)
                x = n == TSR_VL ? v_load_as(dtype, tile->k, at) : v_load_as_n(dtype, tile->k, at, n);
            for (int i = 0; i < n; i++) r->kt[(int64_t)(d + i) * TSR_KEY_TILE + key] = x[i];
        }
        for (int d = 0; d < r->value_dim; d += TSR_VL) {
            int n = (int)tsr_min(TSR_VL, r->value_dim - d);
            vf x = {0};
            if (key < tile->n) x = v_load_as_n(dtype, tile->v, (int64_t)key * r->value_dim + d, n);
            v_store(r->v + key * r->o_width + d, x);
        }
    }
}

static void widen_tile(tsr_dtype dtype, const tsr_key_tile *tile, room *r)
{
    if (dtype == TSR_F32)
        widen(TSR_F32, tile, r);
    else if (dtype == TSR_F16)
        widen(TSR_F16, tile, r);
    else
        widen(TSR_BF16, tile, r);
}

/* c[mr][nv vectors] = (add ? c : 0) + a[mr][k] b[k][..] */
TSR_INLINE void product_tile(const int mr, const int nv, bool add, int64_t k, const float *a, int64_t lda,
                             const float *b, int64_t ldb, float *c, int64_t ldc)
{
    vf acc[MOST_ROWS][2];
    TSR_EACH (i, mr) {
        TSR_EACH (j, nv) acc[i][j] = add ? v_load(c + i * ldc + j * TSR_VL) : (vf){0};
    }
    for (int64_t n = 0; n < k; n++) {
        vf w[2];
        TSR_EACH (j, nv) w[j] = v_load(b + n * ldb + j * TSR_VL);
        TSR_EACH (i, mr) {
            vf x = v_set1(a[i * lda + n]);
            TSR_EACH (j, nv) acc[i][j] = v_fma(x, w[j], acc[i][j]);
        }
    }
    TSR_EACH (i, mr) {
        TSR_EACH (j, nv) v_store(c + i * ldc + j * TSR_VL, acc[i][j]);
    }
}

/* c[rows][n] = (add ? c : 0) + a[rows][k] b[k][n]; n in whole vectors */
static void product(bool add, int rows, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float *c, int64_t ldc)
{
    for (int64_t j = 0; j < n; j += 2 * TSR_VL) {
        bool pair = n - j >= 2 * TSR_VL;
        int i = 0;
        for (; i + MOST_ROWS <= rows; i += MOST_ROWS) {
            if (pair)
                product_tile(MOST_ROWS, 2, add, k, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc);
            else
                product_tile(MOST_ROWS, 1, add, k, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc);
        }
        for (; i < rows; i++) {
            if (pair)
                product_tile(1, 2, add, k, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc);
            else
                product_tile(1, 1, add, k, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc);
        }
    }
}

/* Scores of keys that row i's token at `position` does not see become -infinity. */
static void hide(const tsr_call *call, const tsr_key_tile *tile, int64_t position, float *s)
{
    int64_t first = tsr_first_visible(call, position) - tile->position, end = position + 1 - tile->position;
    end = tsr_max(0, tsr_min(end, tile->n));
    for (int64_t j = 0; j < tsr_min(first, TSR_KEY_TILE); j++) s[j] = -INFINITY;
    for (int64_t j = end; j < TSR_KEY_TILE; j++) s[j] = -INFINITY;
}

static void do_tile(const tsr_call *call, const tsr_key_tile *tile, int64_t position, room *r)
{
    widen_tile(call->cache->dtype, tile, r);
    product(false, r->rows, TSR_KEY_TILE, r->head_dim, r->q, r->head_dim, r->kt, TSR_KEY_TILE, r->s,
            TSR_KEY_TILE);
    for (int i = 0; i < r->rows; i++) {
        float *s = r->s + (int64_t)i * TSR_KEY_TILE, *o = r->o + i * r->o_width;
        hide(call, tile, position + i / r->heads, s);
        float factor = tsr_softmax_step(s, &r->m[i], &r->l[i]);
        if (factor != 1)
            for (int64_t d = 0; d < r->o_width; d += TSR_VL) v_store(o + d, v_load(o + d) * factor);
    }
    product(true, r->rows, r->o_width, tile->n, r->s, TSR_KEY_TILE, r->v, r->o_width, r->o, r->o_width);
}

void TSR_LOCAL(tsr_attention_prefill)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch)
{
    room r = make_room(call, piece, scratch);
    load_queries(call, piece, &r);
    int64_t position = piece->sequence->position + piece->token, end = position + piece->n_tokens;
    int64_t at = tsr_first_visible(call, position);
    while (at < end) {
        tsr_key_tile tile = tsr_key_tile_at(call, piece, at, end);
        do_tile(call, &tile, position, &r);
        at += tile.n;
    }
    const tsr_operand *out = &call->out[0];
    for (int i = 0; i < r.rows; i++) {
        int64_t row = piece->sequence->first_token + piece->token + i / r.heads;
        float *to = out->data + row * out->ld + (int64_t)(piece->head + i % r.heads) * r.value_dim;
        for (int d = 0; d < r.value_dim; d++) to[d] = r.o[i * r.o_width + d] / r.l[i];
    }
}
