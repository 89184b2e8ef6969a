/* gemm_fma.c: products with float32 activations and fused multiply-adds, for weights of every dtype.
 *
 * A block of up to MOST_ROWS rows by some vectors of columns lives in registers; for each column k of W it
 * takes a load per vector (one instruction or two widen it) and one broadcast per row. Phase 0 interleaves
 * the rows of a block, [k][rows], so that the broadcasts read one stream; a single row is that already.
 *
 * Kernels for a few rows, as in a decode step, come in a second kind that takes several panels at once: weights then come
 * from memory, and more streams keep memory busier.
 */
#include "layers/cpu/kernels/gemm.h"

#if TSR_VL == 16
enum { MOST_ROWS = 12, MOST_VECTORS = 8 };
#else
enum { MOST_ROWS = 6, MOST_VECTORS = 8 };
#endif
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

/* The vectors of a block: lanes `lane`, lane + TSR_VL, ... of each of `panels` panels, nv in all. */
typedef struct shape {
    int rows, panels, nv;
} shape;

/* One column k (bf16: the odd or even one of a pair) of all vectors, times all rows. */
TSR_INLINE void multiply_column(tsr_dtype dtype, const shape s, const tsr_tile *t, int64_t k, int64_t lane,
                                bool odd, const float *x, vf acc[MOST_ROWS][MOST_VECTORS])
{
    vf w[MOST_VECTORS];
    const int each = s.nv / s.panels;
    TSR_EACH (j, s.nv)
        w[j] = weights(dtype, t->w + j / each * t->panel_bytes, k, lane + j % each * TSR_VL, odd);
    TSR_EACH (i, s.rows) {
        vf a = v_set1(x[i]);
        TSR_EACH (j, s.nv) acc[i][j] = v_fma(a, w[j], acc[i][j]);
    }
}

TSR_INLINE void block(tsr_dtype dtype, const shape s, const tsr_tile *t, int64_t lane)
{
    vf acc[MOST_ROWS][MOST_VECTORS];
    TSR_EACH (i, s.rows) {
        TSR_EACH (j, s.nv) acc[i][j] = (vf){0};
    }
    const float *x = t->x;
    const char *ahead = t->ahead;
    const int step = dtype == TSR_BF16 ? 2 : 1, each = s.nv / s.panels,
              bytes = TSR_PANEL * step * width(dtype);
    int64_t k = 0;
    for (; k + step <= t->k; k += step, x += step * s.rows, ahead += t->ahead_step) {
        TSR_EACH (p, s.panels) {
            for (int line = 0; line < bytes; line += 64)
                __builtin_prefetch(ahead + p * t->panel_bytes + line);
        }
        multiply_column(dtype, s, t, k, lane, false, x, acc);
        if (step == 2) multiply_column(dtype, s, t, k, lane, true, x + s.rows, acc);
    }
    if (k < t->k) multiply_column(dtype, s, t, k, lane, false, x, acc); /* an odd last column of bf16 */
    TSR_EACH (i, s.rows) {
        TSR_EACH (j, s.nv) {
            float *c = t->c + i * t->ldc + j / each * TSR_PANEL + lane + j % each * TSR_VL;
            v_store(c, v_load(c) + acc[i][j]);
        }
    }
}

TSR_INLINE void tile(tsr_dtype dtype, const int mr, const int panels, const tsr_tile *t)
{
    const int whole = TSR_PANEL / TSR_VL, each = mr == 1 || whole == 2 ? whole : 2;
    const shape s = {mr, panels, each * panels};
    for (int64_t lane = 0; lane < TSR_PANEL; lane += each * TSR_VL) block(dtype, s, t, lane);
}

/* X(dtype, rows, panels): what leaves room in the registers */
#if TSR_VL == 16
#define TSR_SINGLE_TABLE(X, d)                                                                               \
    X(d, 1, 1)                                                                                               \
    X(d, 2, 1)                                                                                               \
    X(d, 3, 1)                                                                                               \
    X(d, 4, 1) X(d, 5, 1) X(d, 6, 1) X(d, 7, 1) X(d, 8, 1) X(d, 9, 1) X(d, 10, 1) X(d, 11, 1) X(d, 12, 1)
#define TSR_MULTI_TABLE(X, d) X(d, 1, 4) X(d, 2, 2) X(d, 3, 2) X(d, 4, 2) X(d, 5, 2) X(d, 6, 2)
#else
#define TSR_SINGLE_TABLE(X, d) X(d, 1, 1) X(d, 2, 1) X(d, 3, 1) X(d, 4, 1) X(d, 5, 1) X(d, 6, 1)
#define TSR_MULTI_TABLE(X, d)
#endif

static int64_t panels_at_once(int64_t mr)
{
    if (TSR_VL != 16) return 1;
    return mr == 1 ? 4 : mr <= 6 ? 2 : 1;
}

#define TSR_TILE(dtype, mr, panels)                                                                          \
    static void tile_##dtype##_##mr##_##panels(const tsr_tile *t)                                            \
    {                                                                                                        \
        tile(TSR_##dtype, mr, panels, t);                                                                    \
    }
#define TSR_TILES(dtype) TSR_SINGLE_TABLE(TSR_TILE, dtype) TSR_MULTI_TABLE(TSR_TILE, dtype)
TSR_TILES(F32)
TSR_TILES(F16)
TSR_TILES(BF16)

#define TSR_TILE_ENTRY(dtype, mr, panels) [mr] = tile_##dtype##_##mr##_##panels,
#define TSR_DTYPE_ENTRY(dtype)                                                                               \
    [TSR_##dtype] = {{TSR_SINGLE_TABLE(TSR_TILE_ENTRY, dtype)}, {TSR_MULTI_TABLE(TSR_TILE_ENTRY, dtype)}}
static const tsr_tile_kernel kernels[][2][MOST_ROWS + 1] = {TSR_DTYPE_ENTRY(F32), TSR_DTYPE_ENTRY(F16),
                                                            TSR_DTYPE_ENTRY(BF16)};

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
        .single = kernels[w->dtype][0],
        .multi = kernels[w->dtype][1],
        .most_rows = MOST_ROWS,
        .panels = panels_at_once(tsr_block_start(rows, tsr_block_count(rows, MOST_ROWS), 1)),
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
