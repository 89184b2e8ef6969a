/* gemm_fma.c: products with float32 activations and fused multiply-adds, for weights of every dtype.
 *
 * A tile of up to MOST_ROWS rows by NV vectors of columns lives in registers; for each column k of W it takes
 * NV loads of weights (one instruction or two widen them) and one broadcast per row. Phase 0 interleaves the
 * rows of a block, [k][rows], so that the broadcasts read one stream; a single row is that already.
 */
#include "layers/cpu/kernels/gemm.h"

#if TSR_VL == 16
enum { MOST_ROWS = 12 };
#else
enum { MOST_ROWS = 6 };
#endif
enum { PREFETCH = 4096 }; /* bytes ahead in the weight stream */

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

/* nv vectors of columns from `lane` on */
TSR_INLINE void strip(tsr_dtype dtype, const int mr, const int nv, const tsr_tile *t, int64_t lane)
{
    vf acc[MOST_ROWS][8];
    TSR_UNROLL for (int i = 0; i < mr; i++)
    {
        TSR_UNROLL for (int j = 0; j < nv; j++) acc[i][j] = (vf){0};
    }
    const float *x = t->x;
    const int step = dtype == TSR_BF16 ? 2 : 1;
    int64_t k = 0;
    for (; k + step <= t->k; k += step) {
        const char *ahead = (const char *)t->w + k * TSR_PANEL * width(dtype) + PREFETCH;
        TSR_UNROLL for (int line = 0; line < TSR_PANEL * step * width(dtype); line += 64)
            __builtin_prefetch(ahead + line);
        TSR_UNROLL for (int odd = 0; odd < step; odd++)
        {
            vf w[8];
            TSR_UNROLL for (int j = 0; j < nv; j++) w[j] = weights(dtype, t->w, k, lane + j * TSR_VL, odd);
            TSR_UNROLL for (int i = 0; i < mr; i++)
            {
                vf a = v_set1(x[i]);
                TSR_UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_fma(a, w[j], acc[i][j]);
            }
            x += mr;
        }
    }
    for (; k < t->k; k++) /* an odd last column of bf16 */
        TSR_UNROLL for (int i = 0; i < mr; i++)
        {
            TSR_UNROLL for (int j = 0; j < nv; j++) acc[i][j] =
                v_fma(v_set1(x[i]), weights(dtype, t->w, k, lane + j * TSR_VL, false), acc[i][j]);
        }
    TSR_UNROLL for (int i = 0; i < mr; i++)
    {
        TSR_UNROLL for (int j = 0; j < nv; j++) store(t, acc[i][j], i, lane + j * TSR_VL);
    }
}

/* Vectors of columns per strip: what leaves room in the registers; few rows take a whole panel in one pass.
 */
TSR_INLINE void tile(tsr_dtype dtype, const int mr, const tsr_tile *t)
{
    const int whole = TSR_PANEL / TSR_VL, nv = mr == 1 || whole == 2 ? whole : 2;
    for (int64_t lane = 0; lane < t->cols; lane += nv * TSR_VL) strip(dtype, mr, nv, t, lane);
}

#define TSR_TILE(dtype, mr)                                                                                  \
    static void tile_##dtype##_##mr(const tsr_tile *t)                                                       \
    {                                                                                                        \
        tile(TSR_##dtype, mr, t);                                                                            \
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

#define TSR_TILE_ENTRY(dtype, mr) [mr] = tile_##dtype##_##mr,
static const tsr_tile_kernel kernels[][MOST_ROWS + 1] = {
    [TSR_F32] = {TSR_MR_TABLE(TSR_TILE_ENTRY, F32)},
    [TSR_F16] = {TSR_MR_TABLE(TSR_TILE_ENTRY, F16)},
    [TSR_BF16] = {TSR_MR_TABLE(TSR_TILE_ENTRY, BF16)},
};

static int64_t shared_bytes(const tsr_call *call, int64_t rows)
{
    return rows > 1 ? rows * call->weight[0]->cols * 4 : 0;
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
        for (int64_t k = 0; k < cols; k++)
            for (int64_t i = 0; i < mr; i++) to[k * mr + i] = x->data[(row + i) * x->ld + k];
    }
}

static void multiply(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    const tsr_weight_data *w = call->weight[0];
    tsr_gemm_walk walk = {
        .kernels = kernels[w->dtype],
        .most_rows = MOST_ROWS,
        .x = rows > 1 ? call->shared : (const char *)call->in[0].data,
        .x_row_bytes = w->cols * 4,
        .x_bytes = 4,
    };
    TSR_LOCAL(tsr_gemm_run)(&walk, call, rows, worker);
}

const tsr_gemm TSR_LOCAL(tsr_gemm_fma) = {prepare, multiply, shared_bytes};
