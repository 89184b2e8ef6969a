/* attention_prefill.c: attention of several tokens (attention.h has the algorithm): a tile of keys and values, widened to
 * float32, serves every query row of the piece.
 *
 * Rows of a piece are token-major: row = token * n_heads + head. Scores are kept key by key with the rows side by side in
 * the lanes, S^T = K Q^T: then keys are used as they lie in the cache, the softmax needs nothing across lanes, and both
 * products, S^T = K Q^T and O += P V, are one small register-tiled kernel that reads its left factor element by element.
 */
#include "layers/cpu/kernels/attention.h"

enum { TILE_ROWS = 4, TILE_VECTORS = TSR_VL == 16 ? 4 : 2 };

/* Scratch of a piece; `rows` and `o_width` are rounded up to whole vectors. Padding rows hold numbers nobody reads. */
typedef struct room {
    float *qt;             /* [head_dim][rows], scaled */
    float *st;             /* [TSR_KEY_TILE][rows]: scores, then probabilities */
    float *o;              /* [rows][o_width] */
    float *m, *l, *factor; /* [rows] */
    float *slope,
        *later;   /* [rows] ALiBi: the head's slope; the row's token, counted from the piece's first */
    float *k, *v; /* [TSR_KEY_TILE][head_dim], [TSR_KEY_TILE][o_width] */
    int head_dim, value_dim, heads;
    int real_rows;
    int64_t rows, o_width;
} room;

int TSR_LOCAL(tsr_attention_prefill_rows)(const tsr_call *call)
{
    int64_t width = call->cache->head_dim + tsr_round_up(call->cache->value_dim, TSR_VL);
    int64_t left = TSR_WORKER_SCRATCH / 4 - TSR_KEY_TILE * width, each = width + TSR_KEY_TILE + 5;
    return (int)tsr_max(0, tsr_min(TSR_QUERY_ROWS, left / each) / TSR_VL * TSR_VL);
}

static room make_room(const tsr_call *call, const tsr_attention_piece *piece, float *scratch)
{
    room r = {
        .head_dim = call->cache->head_dim, .value_dim = call->cache->value_dim, .heads = piece->n_heads};
    r.o_width = tsr_round_up(r.value_dim, TSR_VL);
    r.real_rows = piece->n_tokens * piece->n_heads;
    r.rows = tsr_round_up(r.real_rows, TSR_VL);
    r.k = scratch;
    r.v = r.k + (int64_t)TSR_KEY_TILE * r.head_dim;
    r.st = r.v + TSR_KEY_TILE * r.o_width;
    r.o = r.st + TSR_KEY_TILE * r.rows;
    r.qt = r.o + r.rows * r.o_width;
    r.m = r.qt + r.rows * r.head_dim;
    r.l = r.m + r.rows;
    r.factor = r.l + r.rows;
    r.slope = r.factor + r.rows;
    r.later = r.slope + r.rows;
    return r;
}

/* The value row of query row i of the piece, and where its head begins there */
static int64_t row_of(const tsr_attention_piece *piece, int i)
{
    return piece->sequence->first_token + piece->token + i / piece->n_heads;
}

static int64_t head_of(const tsr_attention_piece *piece, int i)
{
    return piece->head + i % piece->n_heads;
}

static void load_queries(const tsr_call *call, const tsr_attention_piece *piece, room *r)
{
    for (int i = 0; i < r->rows; i++) {
        const float *q = call->in[0].data;
        if (i < r->real_rows) q += row_of(piece, i) * call->in[0].ld + head_of(piece, i) * r->head_dim;
        float scale = i < r->real_rows ? call->attrs.attention.scale : 0;
        for (int d = 0; d < r->head_dim; d++) r->qt[d * r->rows + i] = q[d] * scale;
        r->m[i] = TSR_LOWEST_SCORE;
        r->l[i] = 0;
        bool biased = call->attrs.attention.alibi != 0 && i < r->real_rows;
        r->slope[i] = biased ? tsr_alibi_slope(&call->attrs, (int)head_of(piece, i)) : 0;
        r->later[i] = (float)(i / r->heads);
    }
    memset(r->o, 0, (size_t)(r->rows * r->o_width) * 4);
}

/* n vectors of `dim` elements as float32 rows of `width`, zeros behind each */
TSR_INLINE void widen(tsr_dtype dtype, const void *from, int n, int dim, float *to, int64_t width)
{
    for (int key = 0; key < n; key++, to += width) {
        int64_t at = (int64_t)key * dim;
        int d = 0;
        for (; d + TSR_VL <= dim; d += TSR_VL) v_store(to + d, v_load_as(dtype, from, at + d));
        if (d < dim) v_store_n(to + d, v_load_as_n(dtype, from, at + d, dim - d), tsr_min(TSR_VL, width - d));
    }
}

/* The tile's vectors as float32 rows of `width`: where they lie, if they lie like that, or copied to `to` */
static const float *float_rows(tsr_dtype dtype, const void *from, int n, int dim, float *to, int64_t width)
{
    if (dtype == TSR_F32 && width == dim) return from;
    if (dtype == TSR_F32)
        widen(TSR_F32, from, n, dim, to, width);
    else if (dtype == TSR_F16)
        widen(TSR_F16, from, n, dim, to, width);
    else
        widen(TSR_BF16, from, n, dim, to, width);
    return to;
}

/* c[rows][n] = (add ? c : 0) + a[rows][k] b[k][n]; element (i, j) of a is at i * row_stride + j * k_stride */
typedef struct product {
    const float *a, *b;
    float *c;
    int64_t row_stride, k_stride, ldb, ldc, k;
    bool add;
} product;

TSR_INLINE void product_tile(const product *p, const int mr, const int nv, int64_t row, int64_t col)
{
    vf acc[TILE_ROWS][TILE_VECTORS];
    const float *a = p->a + row * p->row_stride, *b = p->b + col;
    float *c = p->c + row * p->ldc + col;
    TSR_EACH (i, mr) {
        TSR_EACH (j, nv) acc[i][j] = p->add ? v_load(c + i * p->ldc + j * TSR_VL) : (vf){0};
    }
    for (int64_t n = 0; n < p->k; n++, a += p->k_stride, b += p->ldb) {
        vf w[TILE_VECTORS];
        TSR_EACH (j, nv) w[j] = v_load(b + j * TSR_VL);
        TSR_EACH (i, mr) {
            vf x = v_set1(a[i * p->row_stride]);
            TSR_EACH (j, nv) acc[i][j] = v_fma(x, w[j], acc[i][j]);
        }
    }
    TSR_EACH (i, mr) {
        TSR_EACH (j, nv) v_store(c + i * p->ldc + j * TSR_VL, acc[i][j]);
    }
}

TSR_INLINE void product_columns(const product *p, const int nv, int64_t rows, int64_t col)
{
    int64_t i = 0;
    for (; i + TILE_ROWS <= rows; i += TILE_ROWS) product_tile(p, TILE_ROWS, nv, i, col);
    for (; i < rows; i++) product_tile(p, 1, nv, i, col);
}

/* n in whole vectors */
static void multiply(const product *p, int64_t rows, int64_t n)
{
    int64_t j = 0;
    for (; j + TILE_VECTORS * TSR_VL <= n; j += TILE_VECTORS * TSR_VL)
        product_columns(p, TILE_VECTORS, rows, j);
    for (; j < n; j += TSR_VL) product_columns(p, 1, rows, j);
}

/* Adds the ALiBi biases; the piece's first token is at `position`. */
static void add_biases(const tsr_call *call, const tsr_key_tile *tile, int64_t position, room *r)
{
    float *s = r->st;
    for (int64_t key = tile->position; key < tile->position + tile->n; key++, s += r->rows) {
        if (call->attrs.attention.alibi_bf16) {
            for (int i = 0; i < r->real_rows; i++)
                s[i] += tsr_alibi_bias(&call->attrs, r->slope[i], position + i / r->heads, key);
            continue;
        }
        vf away = v_set1((float)(key - position)), alibi = v_set1(call->attrs.attention.alibi);
        for (int64_t i = 0; i < r->rows; i += TSR_VL)
            v_store(s + i, v_fma(alibi * v_load(r->slope + i), away - v_load(r->later + i), v_load(s + i)));
    }
}

/* Scores of keys that a row's token does not see become -infinity. */
static void hide(const tsr_call *call, const tsr_attention_piece *piece, const tsr_key_tile *tile,
                 int64_t first_position, room *r)
{
    for (int i = 0; i < r->real_rows; i++) {
        int64_t position = first_position + i / r->heads;
        int64_t low = tsr_first_visible(call, position) - tile->position,
                high = tsr_visible_end(piece->sequence, position) - tile->position;
        if (low <= 0 && high >= tile->n) continue;
        for (int64_t j = 0; j < tile->n; j++)
            if (j < low || j >= high) r->st[j * r->rows + i] = -INFINITY;
    }
}

/* The running softmax of TSR_VL rows: scores become probabilities; factor is what o has to be scaled by. */
static void softmax(room *r, int64_t row, int n)
{
    float *s = r->st + row;
    vf m = v_load(r->m + row), top = m, sum = {0};
    for (int j = 0; j < n; j++) top = v_max(top, v_load(s + j * r->rows));
    for (int j = 0; j < n; j++) {
        vf p = v_exp(v_load(s + j * r->rows) - top);
        v_store(s + j * r->rows, p);
        sum += p;
    }
    vf factor = v_exp(m - top);
    v_store(r->factor + row, factor);
    v_store(r->l + row, v_load(r->l + row) * factor + sum);
    v_store(r->m + row, top);
}

static void do_tile(const tsr_call *call, const tsr_attention_piece *piece, const tsr_key_tile *tile,
                    int64_t position, room *r)
{
    tsr_dtype dtype = call->cache->dtype;
    const float *k = float_rows(dtype, tile->k, tile->n, r->head_dim, r->k, r->head_dim);
    const float *v = float_rows(dtype, tile->v, tile->n, r->value_dim, r->v, r->o_width);
    product scores = {.a = k,
                      .row_stride = r->head_dim,
                      .k_stride = 1,
                      .k = r->head_dim,
                      .b = r->qt,
                      .ldb = r->rows,
                      .c = r->st,
                      .ldc = r->rows};
    multiply(&scores, tile->n, r->rows);
    if (call->attrs.attention.alibi != 0) add_biases(call, tile, position, r);
    hide(call, piece, tile, position, r);
    for (int64_t row = 0; row < r->rows; row += TSR_VL) softmax(r, row, tile->n);
    for (int64_t i = 0; i < r->real_rows; i++) {
        if (r->factor[i] == 1) continue;
        float *o = r->o + i * r->o_width;
        for (int64_t d = 0; d < r->o_width; d += TSR_VL) v_store(o + d, v_load(o + d) * r->factor[i]);
    }
    product values = {.a = r->st,
                      .row_stride = 1,
                      .k_stride = r->rows,
                      .k = tile->n,
                      .b = v,
                      .ldb = r->o_width,
                      .c = r->o,
                      .ldc = r->o_width,
                      .add = true};
    multiply(&values, r->real_rows, r->o_width);
}

void TSR_LOCAL(tsr_attention_prefill)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch)
{
    room r = make_room(call, piece, scratch);
    load_queries(call, piece, &r);
    int64_t position = piece->sequence->position + piece->token;
    int64_t end = tsr_visible_end(piece->sequence, position + piece->n_tokens - 1);
    int64_t at = tsr_first_visible(call, position);
    while (at < end) {
        tsr_key_tile tile = tsr_key_tile_at(call, piece, at, end);
        do_tile(call, piece, &tile, position, &r);
        at += tile.n;
    }
    for (int i = 0; i < r.real_rows; i++) {
        float *to = call->out[0].data + row_of(piece, i) * call->out[0].ld + head_of(piece, i) * r.value_dim;
        for (int d = 0; d < r.value_dim; d++) to[d] = r.o[i * r.o_width + d] / r.l[i];
    }
}
