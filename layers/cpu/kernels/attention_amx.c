/* attention_amx.c: attention of several tokens over a bf16 cache on AMX tiles (attention.h has the algorithm).
 *
 * Query rows are rounded to bf16 once per piece and cut into A tiles. Keys pass in blocks of KEYS: their vectors become B
 * tiles (keys: pairs of dimensions side by side, a transposition; values: pairs of keys side by side). Then, for each two
 * tiles of query rows: scores by tiles, softmax of each row over the whole block in float32, probabilities rounded to bf16
 * as A tiles, and probabilities times values by tiles onto the running output, which stays in float32. Queries and
 * probabilities are so rounded to bf16, as the cache is; attention_prefill.c rounds neither.
 *
 * Exponentials are powers of 2 of scores times log2(e): e^(scale s - m) = 2^(c s - m'), c = scale log2(e).
 */
#include "layers/cpu/kernels/attention.h"

#ifdef TSR_ISA_amx

#include "layers/cpu/kernels/amx.h"

enum {
    KEYS = 128,      /* per block */
    MOST_ROWS = 256, /* per piece */
    PAIR = 2 * TSR_TILE_ROWS
};

typedef struct state {
    const tsr_call *call;
    const tsr_attention_piece *piece;
    int rows, dim, value_dim; /* rows = tokens x heads, token-major */
    int64_t dim_steps;        /* head_dim in tile depths */
    int64_t value_width;      /* value_dim rounded up to PAIR */
    int64_t position;         /* of the first token */
    uint16_t *q;              /* [row tile][dim_steps] A tiles */
    uint16_t *k;              /* [KEYS / 16][dim_steps] B tiles */
    uint16_t *v;              /* [KEYS / 32][value_width / 16] B tiles, columns shuffled: see store_values */
    float *s;                 /* [PAIR][KEYS] */
    uint16_t *p;              /* [KEYS / 32][2] A tiles */
    float *o;                 /* [rows][value_width], shuffled as v */
    float *m, *l;             /* [rows]; m in powers of 2 */
    float c;                  /* of the scores as softmax_row finds them: 1 where biases have been added */
} state;

static const float log2_of_e = 1.44269504f;

static int64_t fixed_bytes(int64_t dim_steps, int64_t value_width)
{
    return KEYS * (dim_steps * TSR_TILE_DEPTH + value_width) * 2 + PAIR * KEYS * 6;
}

static int64_t row_bytes(int64_t dim_steps, int64_t value_width)
{
    return dim_steps * TSR_TILE_DEPTH * 2 + value_width * 4 + 8;
}

int TSR_LOCAL(tsr_attention_amx_rows)(const tsr_call *call)
{
    int64_t dim_steps = tsr_round_up(call->cache->head_dim, TSR_TILE_DEPTH) / TSR_TILE_DEPTH;
    int64_t value_width = tsr_round_up(call->cache->value_dim, PAIR);
    int64_t left = TSR_WORKER_SCRATCH - fixed_bytes(dim_steps, value_width);
    int64_t rows = tsr_min(MOST_ROWS, left / row_bytes(dim_steps, value_width)) / PAIR * PAIR;
    return call->cache->dtype == TSR_BF16 ? (int)tsr_max(0, rows) : 0;
}

static state make_state(const tsr_call *call, const tsr_attention_piece *piece, float *scratch)
{
    state t = {
        .call = call, .piece = piece, .dim = call->cache->head_dim, .value_dim = call->cache->value_dim};
    t.rows = piece->n_tokens * piece->n_heads;
    t.dim_steps = tsr_round_up(t.dim, TSR_TILE_DEPTH) / TSR_TILE_DEPTH;
    t.value_width = tsr_round_up(t.value_dim, PAIR);
    t.position = piece->sequence->position + piece->token;
    t.c = call->attrs.attention.alibi != 0 ? 1 : call->attrs.attention.scale * log2_of_e;
    int64_t rows = tsr_round_up(t.rows, PAIR);
    t.k = (uint16_t *)scratch;
    t.v = t.k + KEYS * t.dim_steps * TSR_TILE_DEPTH;
    t.p = t.v + KEYS * t.value_width;
    t.q = t.p + PAIR * KEYS;
    t.s = (float *)(t.q + rows * t.dim_steps * TSR_TILE_DEPTH);
    t.o = t.s + PAIR * KEYS;
    t.m = t.o + rows * t.value_width;
    t.l = t.m + rows;
    return t;
}

/* Lanes first .. first + 15 of a row of n floats; zero beyond */
static inline __m512 load_part(const float *x, int64_t first, int64_t n)
{
    return (__m512)v_load_n(x + first, tsr_max(0, tsr_min(TSR_VL, n - first)));
}

static void load_queries(state *t)
{
    const tsr_operand *in = &t->call->in[0];
    for (int r = 0; r < tsr_round_up(t->rows, PAIR); r++) {
        uint16_t *to =
            t->q + (r / TSR_TILE_ROWS * t->dim_steps * TSR_TILE_ROWS + r % TSR_TILE_ROWS) * TSR_TILE_DEPTH;
        int token = r / t->piece->n_heads, head = t->piece->head + r % t->piece->n_heads;
        int64_t row = t->piece->sequence->first_token + t->piece->token + token;
        const float *from = in->data + (r < t->rows ? row * in->ld + (int64_t)head * t->dim : 0);
        for (int64_t d = 0; d < t->dim_steps; d++, to += TSR_TILE_ROWS * TSR_TILE_DEPTH) {
            int64_t n = r < t->rows ? t->dim : 0, first = d * TSR_TILE_DEPTH;
            __m512bh both = _mm512_cvtne2ps_pbh(load_part(from, first + 16, n), load_part(from, first, n));
            memcpy(to, &both, 64);
        }
        t->m[r] = TSR_LOWEST_SCORE;
        t->l[r] = 0;
    }
    memset(t->o, 0, (size_t)(tsr_round_up(t->rows, PAIR) * t->value_width) * 4);
}

/* 32 bf16 of a row of n from `first` on; zero beyond */
static inline __m512i load_halves(const uint16_t *x, int64_t first, int64_t n)
{
    int64_t count = tsr_max(0, tsr_min(32, n - first));
    return _mm512_maskz_loadu_epi16((__mmask32)((1ull << count) - 1), x + first);
}

/* Rows of 16 32-bit words become columns: four rounds of interleaving. */
static inline void transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int i = 0; i < 4; i++) { /* r[i + 4 g]: words i, i + 4, i + 8, i + 12 of rows 4 g .. 4 g + 3 */
        __m512i a = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88),
                b = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
        __m512i c = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88),
                d = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
        t[i] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[i + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
        t[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
    }
    memcpy(r, t, sizeof t);
}

/* Where the vectors of key `position` lie; NULL from `end` on */
static inline const uint16_t *vector_at(const state *t, const void *base, int dim, int64_t position,
                                        int64_t end)
{
    if (position >= end) return NULL;
    const tsr_cache_data *cache = t->call->cache;
    int64_t slot = tsr_cache_slot(cache, t->piece->sequence->pages, position, t->piece->kv_head);
    return (const uint16_t *)base + slot * dim;
}

/* B tile of keys: row = pair of dimensions, column = key */
static void store_keys(const state *t, int64_t first, int64_t end)
{
    for (int64_t key = 0; key < tsr_round_up(end - first, PAIR); key += TSR_TILE_ROWS) {
        const uint16_t *from[TSR_TILE_ROWS];
        for (int i = 0; i < TSR_TILE_ROWS; i++)
            from[i] = vector_at(t, t->call->cache->k, t->dim, first + key + i, end);
        for (int64_t d = 0; d < t->dim_steps; d++) {
            __m512i r[TSR_TILE_ROWS];
            for (int i = 0; i < TSR_TILE_ROWS; i++)
                r[i] = from[i] ? load_halves(from[i], d * TSR_TILE_DEPTH, t->dim) : _mm512_setzero_si512();
            transpose(r);
            memcpy(t->k + (key / TSR_TILE_ROWS * t->dim_steps + d) * TSR_TILE_BYTES / 2, r, TSR_TILE_BYTES);
        }
    }
}

/* B tiles of values: row = pair of keys, column = dimension; of 32 dimensions the first tile gets 0-3, 8-11, 16-19, 24-27
 * and the second the others, which is how interleaving within 128-bit lanes leaves them. */
static void store_values(const state *t, int64_t first, int64_t end)
{
    int64_t tiles = t->value_width / TSR_TILE_ROWS;
    for (int64_t key = 0; key < tsr_round_up(end - first, PAIR); key += 2) {
        const uint16_t *a = vector_at(t, t->call->cache->v, t->value_dim, first + key, end);
        const uint16_t *b = vector_at(t, t->call->cache->v, t->value_dim, first + key + 1, end);
        uint16_t *to = t->v + key / PAIR * tiles * TSR_TILE_BYTES / 2 + key % PAIR / 2 * 32;
        for (int64_t d = 0; d < t->value_dim; d += PAIR, to += TSR_TILE_BYTES) {
            __m512i x = a ? load_halves(a, d, t->value_dim) : _mm512_setzero_si512();
            __m512i y = b ? load_halves(b, d, t->value_dim) : _mm512_setzero_si512();
            _mm512_storeu_si512(to, _mm512_unpacklo_epi16(x, y));
            _mm512_storeu_si512(to + TSR_TILE_BYTES / 2, _mm512_unpackhi_epi16(x, y));
        }
    }
}

/* s[32 rows][key .. key + 31] = q k^T for the row tiles of `pair` */
static void score_tiles(const state *t, int64_t pair, int64_t key)
{
    const char *q = (const char *)t->q + pair * 2 * t->dim_steps * TSR_TILE_BYTES;
    const char *k = (const char *)t->k + key / TSR_TILE_ROWS * t->dim_steps * TSR_TILE_BYTES;
    int64_t next = t->dim_steps * TSR_TILE_BYTES;
    float *s = t->s + key;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t d = 0; d < t->dim_steps; d++, q += TSR_TILE_BYTES, k += TSR_TILE_BYTES) {
        _tile_loadd(4, q, 64);
        _tile_loadd(6, k, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, k + next, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, q + next, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, s, KEYS * 4);
    _tile_stored(1, s + 16, KEYS * 4);
    _tile_stored(2, s + 16 * KEYS, KEYS * 4);
    _tile_stored(3, s + 16 * KEYS + 16, KEYS * 4);
}

/* 2^x for finite x, relative error 3e-6 */
static inline __m512 exp2_ps(__m512 x)
{
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
           r = _mm512_sub_ps(x, n);
    __m512 y = _mm512_set1_ps(0.009666368515f);
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.05592197584f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.2402234904f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.6931210452f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, n);
}

/* What softmax does with one row of the pair: keys from .. to - 1 of the block, of which it sees low .. high - 1. */
typedef struct span {
    int64_t from, to, low, high;
} span;

/* The lanes of keys key .. key + 15 that the row sees */
TSR_INLINE __mmask16 visible(const span *x, bool all, int64_t key)
{
    if (all) return 0xFFFF;
    int64_t first = tsr_max(0, tsr_min(16, x->low - key)), end = tsr_max(0, tsr_min(16, x->high - key));
    return (__mmask16)(((1u << end) - 1) & ~((1u << first) - 1));
}

/* The highest score of the row, times c, or m if that is higher */
TSR_INLINE float highest_score(const float *s, const span *x, bool all, __m512 c, float m)
{
    __m512 top = _mm512_set1_ps(m);
    for (int64_t j = x->from; j < x->to; j += 16)
        top = _mm512_mask_max_ps(top, visible(x, all, j), top, _mm512_mul_ps(c, _mm512_loadu_ps(s + j)));
    return _mm512_reduce_max_ps(top);
}

/* p = 2^(c s - m) as bf16; returns the sum before rounding. 32 keys of p are 64 bytes of one A tile. */
TSR_INLINE float exponentials(const float *s, const span *x, bool all, __m512 c, __m512 m, char *p)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = x->from; j < x->to; j += 32) {
        __m512 a = exp2_ps(_mm512_fmsub_ps(c, _mm512_loadu_ps(s + j), m));
        __m512 b = exp2_ps(_mm512_fmsub_ps(c, _mm512_loadu_ps(s + j + 16), m));
        a = _mm512_maskz_mov_ps(visible(x, all, j), a);
        b = _mm512_maskz_mov_ps(visible(x, all, j + 16), b);
        sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
        __m512bh both = _mm512_cvtne2ps_pbh(b, a);
        memcpy(p + j / PAIR * 2 * TSR_TILE_BYTES, &both, 64);
    }
    return _mm512_reduce_add_ps(sum);
}

/* Row `row` of the pair, r of the piece: s becomes p, and o is scaled to the new maximum. */
TSR_INLINE void softmax_row(const state *t, int row, int64_t r, const span *x, bool all)
{
    const float *s = t->s + row * KEYS;
    __m512 c = _mm512_set1_ps(t->c);
    float m = highest_score(s, x, all, c, t->m[r]), factor = 1;
    char *p = (char *)t->p + row / TSR_TILE_ROWS * TSR_TILE_BYTES + row % TSR_TILE_ROWS * 64;
    float sum = exponentials(s, x, all, c, _mm512_set1_ps(m), p);
    if (m > t->m[r]) {
        factor = _mm512_cvtss_f32(exp2_ps(_mm512_set1_ps(t->m[r] - m)));
        float *o = t->o + r * t->value_width;
        for (int64_t d = 0; d < t->value_width; d += 16)
            _mm512_storeu_ps(o + d, _mm512_mul_ps(_mm512_loadu_ps(o + d), _mm512_set1_ps(factor)));
    }
    t->l[r] = t->l[r] * factor + sum;
    t->m[r] = m;
}

/* o[32 rows][d .. d + 31] += p v over keys from .. to - 1 */
static void value_tiles(const state *t, int64_t pair, int64_t d, int64_t from, int64_t to)
{
    int64_t stride = t->value_width / TSR_TILE_ROWS * TSR_TILE_BYTES, ld = t->value_width * 4;
    const char *v = (const char *)t->v + from / PAIR * stride + d / TSR_TILE_ROWS * TSR_TILE_BYTES;
    const char *p = (const char *)t->p + from / PAIR * 2 * TSR_TILE_BYTES;
    float *o = t->o + pair * PAIR * t->value_width + d, *o16 = o + 16 * t->value_width;
    _tile_loadd(0, o, ld);
    _tile_loadd(1, o + 16, ld);
    _tile_loadd(2, o16, ld);
    _tile_loadd(3, o16 + 16, ld);
    for (int64_t j = from; j < to; j += PAIR, v += stride, p += 2 * TSR_TILE_BYTES) {
        _tile_loadd(4, p, 64);
        _tile_loadd(6, v, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, v + TSR_TILE_BYTES, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, p + TSR_TILE_BYTES, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, o, ld);
    _tile_stored(1, o + 16, ld);
    _tile_stored(2, o16, ld);
    _tile_stored(3, o16 + 16, ld);
}

/* s = (scale s + ALiBi bias) log2(e) for the rows of `pair` and the keys from .. to - 1 of the block that begins at
 * `first` */
static void add_biases(const state *t, int64_t pair, int64_t first, int64_t from, int64_t to)
{
    float c = t->call->attrs.attention.scale * log2_of_e;
    for (int64_t r = pair * PAIR; r < tsr_min((pair + 1) * PAIR, t->rows); r++) {
        int heads = t->piece->n_heads;
        float *s = t->s + r % PAIR * KEYS + from;
        float slope = tsr_alibi_slope(&t->call->attrs, t->piece->head + (int)(r % heads));
        for (int64_t j = 0; j < to - from; j++) s[j] *= c;
        tsr_add_biases(t->call, slope, log2_of_e, t->position + r / heads, first + from, to - from, s);
    }
}

/* Two row tiles against the block of keys that begins at position `first` and has n. Rows of the padding see no key. */
static void do_pair(const state *t, int64_t pair, int64_t first, int64_t n)
{
    int64_t row = pair * PAIR, last_row = tsr_min(row + PAIR, t->rows) - 1, heads = t->piece->n_heads;
    int64_t lowest = tsr_first_visible(t->call, t->position + row / heads) - first;
    int64_t from = tsr_max(0, lowest) / PAIR * PAIR;
    int64_t to = tsr_round_up(
        tsr_max(0, tsr_min(n, tsr_visible_end(t->piece->sequence, t->position + last_row / heads) - first)),
        PAIR);
    if (from >= to) return;
    for (int64_t key = from; key < to; key += PAIR) score_tiles(t, pair, key);
    if (t->call->attrs.attention.alibi != 0) add_biases(t, pair, first, from, to);
    for (int i = 0; i < PAIR; i++) {
        int64_t position = t->position + (row + i) / heads;
        span x = {from, to, tsr_first_visible(t->call, position) - first,
                  tsr_min(n, tsr_visible_end(t->piece->sequence, position) - first)};
        if (row + i >= t->rows) x.high = 0;
        if (x.low <= from && x.high >= to)
            softmax_row(t, i, row + i, &x, true);
        else
            softmax_row(t, i, row + i, &x, false);
    }
    tsr_settle(t->p);
    for (int64_t d = 0; d < t->value_width; d += PAIR) value_tiles(t, pair, d, from, to);
}

/* out = o / l, the columns back in their order */
static void store_rows(const state *t)
{
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    const tsr_operand *out = &t->call->out[0];
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t row = t->piece->sequence->first_token + t->piece->token + r / t->piece->n_heads;
        float *to = out->data + row * out->ld + (t->piece->head + r % t->piece->n_heads) * t->value_dim;
        const float *o = t->o + r * t->value_width;
        __m512 scale = _mm512_set1_ps(1.0f / t->l[r]);
        for (int64_t d = 0; d < t->value_dim; d += PAIR) {
            __m512 a = _mm512_mul_ps(_mm512_loadu_ps(o + d), scale),
                   b = _mm512_mul_ps(_mm512_loadu_ps(o + d + 16), scale);
            int64_t n = t->value_dim - d;
            v_store_n(to + d, (vf)_mm512_permutex2var_ps(a, low, b), tsr_min(16, n));
            if (n > 16) v_store_n(to + d + 16, (vf)_mm512_permutex2var_ps(a, high, b), tsr_min(16, n - 16));
        }
    }
}

void TSR_LOCAL(tsr_attention_amx)(const tsr_call *call, const tsr_attention_piece *piece, float *scratch)
{
    state t = make_state(call, piece, scratch);
    load_queries(&t);
    int64_t end = tsr_visible_end(piece->sequence, t.position + piece->n_tokens - 1);
    for (int64_t first = tsr_first_visible(call, t.position); first < end; first += KEYS) {
        int64_t n = tsr_min(KEYS, end - first);
        store_keys(&t, first, first + n);
        store_values(&t, first, first + n);
        tsr_settle(t.k);
        for (int64_t pair = 0; pair * PAIR < t.rows; pair++) do_pair(&t, pair, first, n);
    }
    store_rows(&t);
}

#endif
