/* gemm_amx_few.c: products of a few rows with bf16 weights, by float32 multiply-adds in the order of AMX tiles.
 *
 * For a few rows, as in a decode step, memory is the limit, and streams of plain loads read it faster than tiles do. But a
 * sequence's tokens must not depend on how many others are computed with it, so this gives the bits that tiles give
 * (gemm_amx.c), whose order of additions is, from the bias on, for each 32 columns of W
 *
 *     even = sum over j of x[2j] w[2j], odd = sum over j of x[2j + 1] w[2j + 1], each begun with 0, one fused
 *     multiply-add after the other;  c = c + (even + odd)
 *
 * with x rounded to bf16. (Tiles take numbers below the smallest normal float32 for 0; that difference is not made up.)
 */
#include "layers/cpu/kernels/gemm.h"

#ifdef TSR_ISA_amx

#include "layers/cpu/kernels/amx.h"

enum { MOST_VECTORS = 8, VECTORS = TSR_PANEL / TSR_VL };

/* A column pair of NV vectors times all rows; x: [2][rows]. */
TSR_INLINE void multiply_pair(const int rows, const int panels, const tsr_tile *t, int64_t k, const float *x,
                              vf even[TSR_FEW_ROWS][MOST_VECTORS], vf odd[TSR_FEW_ROWS][MOST_VECTORS])
{
    TSR_EACH (j, panels * VECTORS) {
        const char *w = t->w + j / VECTORS * t->panel_bytes;
        vu pair = (vu)v_load((const float *)w + k / 2 * TSR_PANEL + j % VECTORS * TSR_VL);
        TSR_EACH (i, rows) {
            even[i][j] = v_fma(v_set1(x[i]), (vf)(pair << 16), even[i][j]);
            odd[i][j] = v_fma(v_set1(x[rows + i]), (vf)(pair & 0xFFFF0000u), odd[i][j]);
        }
    }
}

TSR_INLINE void tile(const int rows, const int panels, const tsr_tile *t)
{
    vf even[TSR_FEW_ROWS][MOST_VECTORS], odd[TSR_FEW_ROWS][MOST_VECTORS];
    const float *x = t->x;
    const char *ahead = t->ahead;
    for (int64_t from = 0; from < t->k; from += TSR_TILE_DEPTH) {
        TSR_EACH (i, rows) {
            TSR_EACH (j, panels * VECTORS) even[i][j] = odd[i][j] = (vf){0};
        }
        int64_t to = tsr_min(t->k, from + TSR_TILE_DEPTH);
        for (int64_t k = from; k < to; k += 2, x += 2 * rows, ahead += t->ahead_step) {
            TSR_EACH (p, panels) {
                for (int line = 0; line < TSR_PANEL * 4; line += 64)
                    __builtin_prefetch(ahead + p * t->panel_bytes + line);
            }
            multiply_pair(rows, panels, t, k, x, even, odd);
        }
        TSR_EACH (i, rows) {
            TSR_EACH (j, panels * VECTORS) {
                float *c = t->c + i * t->ldc + j * TSR_VL;
                v_store(c, v_load(c) + (even[i][j] + odd[i][j]));
            }
        }
    }
}

/* X(rows, panels): what leaves room in the registers */
#define TSR_SINGLE_TABLE(X) X(1, 1) X(2, 1) X(3, 1)
#define TSR_MULTI_TABLE(X)  X(1, 4) X(2, 2) X(3, 2)

#define TSR_TILE(mr, panels)                                                                                 \
    static void tile_##mr##_##panels(const tsr_tile *t)                                                      \
    {                                                                                                        \
        tile(mr, panels, t);                                                                                 \
    }
TSR_SINGLE_TABLE(TSR_TILE)
TSR_MULTI_TABLE(TSR_TILE)

#define TSR_TILE_ENTRY(mr, panels) [mr] = tile_##mr##_##panels,
static const tsr_tile_kernel single[TSR_FEW_ROWS + 1] = {TSR_SINGLE_TABLE(TSR_TILE_ENTRY)},
                                                   multi[TSR_FEW_ROWS + 1] = {
                                                       TSR_MULTI_TABLE(TSR_TILE_ENTRY)};

/* An odd last column is one of a pair, whose other one is zero. */
static int64_t padded_cols(const tsr_call *call)
{
    return tsr_round_up(call->weight[0]->cols, 2);
}

static int64_t shared_bytes(const tsr_call *call, int64_t rows)
{
    return rows * padded_cols(call) * 4;
}

/* n floats to the nearest bf16, in place */
static void round_floats(float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + TSR_VL <= n; i += TSR_VL) v_store(x + i, v_from_bf16(v_to_bf16(v_load(x + i))));
    if (i < n) v_store_n(x + i, v_from_bf16(v_to_bf16(v_load_n(x + i, n - i))), n - i);
}

/* x, rounded, as [cols][rows] */
static void prepare(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    const tsr_operand *x = &call->in[0];
    int64_t cols = call->weight[0]->cols, padded = padded_cols(call), begin, end;
    tsr_share(padded, TSR_TILE_DEPTH, worker, &begin, &end);
    if (begin == end) return;
    float *first = (float *)call->shared + begin * rows, *to = first;
    if (rows == 1) {
        memcpy(to, x->data + begin, (size_t)(tsr_min(end, cols) - begin) * 4);
        if (end > cols) to[cols - begin] = 0;
    } else {
        for (int64_t k = begin; k < end; k++)
            for (int64_t i = 0; i < rows; i++) *to++ = k < cols ? x->data[i * x->ld + k] : 0;
    }
    round_floats(first, (end - begin) * rows);
}

static void multiply(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    tsr_gemm_walk walk = {.single = single,
                          .multi = multi,
                          .most_rows = TSR_FEW_ROWS,
                          .panels = rows == 1 ? 4 : 2,
                          .x = call->shared,
                          .x_bytes = 4};
    TSR_LOCAL(tsr_gemm_run)(&walk, call, rows, worker);
}

const tsr_gemm TSR_LOCAL(tsr_gemm_amx_few) = {prepare, multiply, shared_bytes};

#endif
