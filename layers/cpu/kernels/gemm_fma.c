/* gemm_fma.c: products with float32 activations and fused multiply-adds, for weights of every dtype.
 *
 * A block of up to MOST_ROWS rows by some vectors of columns lives in registers; for each column k of W it
 * takes a load per vector (one instruction or two widen it) and one broadcast per row. Phase 0 interleaves
 * the rows of a block, [k][rows], so that the broadcasts read one stream; a single row is that already.
 *
 * Two kinds of kernel: `tile` takes one panel, whose weights are in cache; `stream`, for the few rows of a
 * decode step, takes weights from memory, several panels at once where registers allow: more streams keep
 * memory busier.
 */
#include "layers/cpu/kernels/gemm.h"

#if TSR_VL == 16
enum { MOST_ROWS = 12, MOST_VECTORS = 8 };
#else
enum { MOST_ROWS = 6, MOST_VECTORS = 8 };
#endif
enum { AHEAD = 2048 }; /* bytes that streams prefetch ahead */

TSR_INLINE int width(tsr_dtype dtype)
{
    return dtype == TSR_F32 ? 4 : 2;
}

/* The NV vectors of weights of column k (bf16: of columns k, k + 1, which lie in pairs; odd says which is
 * wanted). */
TSR_INLINE vf weights(tsr_dtype dtype, const void *w, int64_t k, int64_t lane, bool odd)
{
    if (dtype == TSR_F32) return v_load((const float *)w + k * TSR_PANEL + lane);
    if (dtype == TSR_F16) return v_load_as(TSR_F16, w, k * TSR_PANEL + lane);
    vu pair = (vu)v_load((const float *)w + k / 2 * TSR_PANEL + lane);
    return (vf)(odd ? pair & 0xFFFF0000u : pair << 16);
}

TSR_INLINE void store(const tsr_tile *t, vf v, int row, int64_t col)
{
    float *c = t->c + row * t->ldc + col;
    int64_t n = t->cols - col;
    if (n >= TSR_VL) {
        if (!t->first)
            v += v_load(c);
        else if (t->bias)
            v += v_load(t->bias + col);
        v_store(c, v);
    } else if (n > 0) {
        if (!t->first)
            v += v_load_n(c, n);
        else if (t->bias)
            v += v_load_n(t->bias + col, n);
        v_store_n(c, v, n);
    }
}

/* Which columns a block covers: vectors `lane`, lane + TSR_VL, ... of each of `panels` panels, nv in all. */
typedef struct shape {
    int rows, panels, nv;
    bool stream;
} shape;

/* One column k (bf16: the odd or even one of a pair) of all vectors, times all rows. */
TSR_INLINE void multiply_column(tsr_dtype dtype, const shape s, const tsr_tile *t, int64_t k, int64_t lane,
                                bool odd, const float *x, vf acc[MOST_ROWS][MOST_VECTORS])
{
    vf w[MOST_VECTORS];
    const int each = s.nv / s.panels;
    TSR_EACH (j, s.nv)
        w[j] =
            weights(dtype, (const char *)t->w + j / each * t->panel_bytes, k, lane + j % each * TSR_VL, odd);
    TSR_EACH (i, s.rows) {
        vf a = v_set1(x[i]);
        TSR_EACH (j, s.nv) acc[i][j] = v_fma(a, w[j], acc[i][j]);
    }
}

/* Streams: what this very panel will need soon; tiles: one line of what comes next. */
TSR_INLINE void prefetch(tsr_dtype dtype, const shape s, const tsr_tile *t, int64_t k)
{
    const int step = dtype == TSR_BF16 ? 2 : 1;
    if (!s.stream) {
        __builtin_prefetch(t->ahead + k / step * 64, 0, 2);
        return;
    }
    TSR_EACH (p, s.panels) {
        const char *ahead = t->w + p * t->panel_bytes + k * TSR_PANEL * width(dtype) + AHEAD;
        for (int line = 0; line < TSR_PANEL * step * width(dtype); line += 64)
            __builtin_prefetch(ahead + line);
    }
}

TSR_INLINE void block(tsr_dtype dtype, const shape s, const tsr_tile *t, int64_t lane)
{
    vf acc[MOST_ROWS][MOST_VECTORS];
    TSR_EACH (i, s.rows) {
        TSR_EACH (j, s.nv) acc[i][j] = (vf){0};
    }
    const float *x = t->x;
    const int step = dtype == TSR_BF16 ? 2 : 1, each = s.nv / s.panels;
    int64_t k = 0;
    for (; k + step <= t->k; k += step, x += step * s.rows) {
        prefetch(dtype, s, t, k);
        multiply_column(dtype, s, t, k, lane, false, x, acc);
        if (step == 2) multiply_column(dtype, s, t, k, lane, true, x + s.rows, acc);
    }
    if (k < t->k) multiply_column(dtype, s, t, k, lane, false, x, acc); /* an odd last column of bf16 */
    TSR_EACH (i, s.rows) {
        TSR_EACH (j, s.nv) store(t, acc[i][j], i, j / each * TSR_PANEL + lane + j % each * TSR_VL);
    }
}

/* Panels that a stream of mr rows takes at once, and vectors per block: what leaves room in the registers. */
TSR_INLINE int streams(int64_t mr)
{
    if (TSR_VL == 16) return mr == 1 ? 4 : mr <= 6 ? 2 : 1;
    return TSR_VL == 8 && mr == 1 ? 2 : 1;
}

TSR_INLINE void tile(tsr_dtype dtype, const int mr, bool stream, const int panels, const tsr_tile *t)
{
    const int whole = TSR_PANEL / TSR_VL, each = mr == 1 || whole == 2 ? whole : 2;
    const shape s = {mr, panels, each * panels, stream};
    for (int64_t lane = 0; lane < TSR_PANEL; lane += each * TSR_VL) block(dtype, s, t, lane);
}

#define TSR_TILE(dtype, mr)                                                                                  \
    static void tile_##dtype##_##mr(const tsr_tile *t)                                                       \
    {                                                                                                        \
        tile(TSR_##dtype, mr, false, 1, t);                                                                  \
    }                                                                                                        \
    static void stream_##dtype##_##mr(const tsr_tile *t)                                                     \
    {                                                                                                        \
        tsr_tile left = *t;                                                                                  \
        for (; left.panels >= streams(mr); tsr_tile_advance(&left, streams(mr)))                             \
            tile(TSR_##dtype, mr, true, streams(mr), &left);                                                 \
        for (; left.panels > 0; tsr_tile_advance(&left, 1)) tile(TSR_##dtype, mr, true, 1, &left);           \
    }
#if TSR_VL == 16
#define TSR_MR_TABLE(X, d)                                                                                   \
    X(d, 1) X(d, 2) X(d, 3) X(d, 4) X(d, 5) X(d, 6) X(d, 7) X(d, 8) X(d, 9) X(d, 10) X(d, 11) X(d, 12)
#else
#define TSR_MR_TABLE(X, d) X(d, 1) X(d, 2) X(d, 3) X(d, 4) X(d, 5) X(d, 6)
#endif
TSR_MR_TABLE(TSR_TILE, F32)
TSR_MR_TABLE(TSR_TILE, F16)
TSR_MR_TABLE(TSR_TILE, BF16)

#define TSR_TILE_ENTRY(dtype, mr)   [mr] = tile_##dtype##_##mr,
#define TSR_STREAM_ENTRY(dtype, mr) [mr] = stream_##dtype##_##mr,
#define TSR_KERNEL_ROW(dtype)                                                                                \
    [TSR_##dtype] = {{TSR_MR_TABLE(TSR_TILE_ENTRY, dtype)}, {TSR_MR_TABLE(TSR_STREAM_ENTRY, dtype)}}
static const tsr_tile_kernel kernels[][2][MOST_ROWS + 1] = {TSR_KERNEL_ROW(F32), TSR_KERNEL_ROW(F16),
                                                            TSR_KERNEL_ROW(BF16)};

static int64_t shared_bytes(const tsr_call *call, int64_t rows)
{
    return rows > 1 ? rows * call->weight[0]->cols * 4 : 0;
}

/* to[k][i] = rows[i][k]; a full block is worth its own unrolled loop */
static void interleave(const float *rows, int64_t ld, int64_t mr, int64_t cols, float *to)
{
    if (mr == MOST_ROWS) {
        for (int64_t k = 0; k < cols; k++, to += MOST_ROWS)
            TSR_EACH (i, MOST_ROWS) to[i] = rows[i * ld + k];
        return;
    }
    for (int64_t k = 0; k < cols; k++)
        for (int64_t i = 0; i < mr; i++) *to++ = rows[i * ld + k];
}

static void prepare(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    if (rows <= 1) return;
    const tsr_operand *x = &call->in[0];
    int64_t blocks = tsr_block_count(rows, MOST_ROWS), cols = call->weight[0]->cols, block, end;
    tsr_share(blocks, 1, worker, &block, &end);
    for (; block < end; block++) {
        int64_t row = tsr_block_start(rows, blocks, block),
                mr = tsr_block_start(rows, blocks, block + 1) - row;
        float *to = (float *)call->shared + row * cols;
        interleave(x->data + row * x->ld, x->ld, mr, cols, to);
    }
}

static void multiply(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    const tsr_weight_data *w = call->weight[0];
    tsr_gemm_walk walk = {
        .tiles = kernels[w->dtype][0],
        .streams = kernels[w->dtype][1],
        .most_rows = MOST_ROWS,
        .panels = streams(tsr_block_start(rows, tsr_block_count(rows, MOST_ROWS), 1)),
        .x = rows > 1 ? call->shared : (const char *)call->in[0].data,
        .x_row_bytes = w->cols * 4,
        .x_bytes = 4,
    };
    TSR_LOCAL(tsr_gemm_run)(&walk, call, rows, worker);
}

const tsr_gemm TSR_LOCAL(tsr_gemm_fma) = {prepare, multiply, shared_bytes};

#ifdef TSR_ISA_avx512bf16
tsr_tile_kernel TSR_LOCAL(tsr_fma_tile)(tsr_dtype dtype, int rows)
{
    return kernels[dtype][0][rows];
}
#endif
