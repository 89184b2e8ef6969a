/* gemm_dot.c: products of bf16 weights by bf16 dot products (AVX512-BF16): each instruction adds, in every
 * lane, two products of neighbouring columns. A panel holds its columns in such pairs already; phase 0 rounds
 * x to bf16 and interleaves the rows of a block, [k / 2][rows][2], so that a pair of x is one broadcast.
 */
#include "layers/cpu/kernels/gemm.h"
#include "layers/cpu/tuning.h"

#include <pthread.h>
#include <time.h>

#ifdef TSR_ISA_avx512bf16

enum { MOST_ROWS = 12, VECTORS = TSR_PANEL / TSR_VL };

TSR_INLINE void tile(const int mr, const tsr_tile *t)
{
    __m512 acc[MOST_ROWS][VECTORS];
    TSR_EACH (i, mr) {
        TSR_EACH (j, VECTORS) acc[i][j] = _mm512_setzero_ps();
    }
    const char *x = t->x, *w = t->w;
    const char *ahead = t->ahead;
    for (int64_t k = 0; k < t->k; k += 2, x += mr * 4, w += TSR_PANEL * 4, ahead += t->ahead_step) {
        __m512bh pair[VECTORS];
        TSR_EACH (j, VECTORS) __builtin_prefetch(ahead + 64 * j);
        TSR_EACH (j, VECTORS) pair[j] = (__m512bh)_mm512_loadu_si512(w + 64 * j);
        TSR_EACH (i, mr) {
            int32_t both;
            memcpy(&both, x + 4 * i, 4);
            __m512bh a = (__m512bh)_mm512_set1_epi32(both);
            TSR_EACH (j, VECTORS) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], a, pair[j]);
        }
    }
    TSR_EACH (i, mr) {
        TSR_EACH (j, VECTORS) {
            float *c = t->c + i * t->ldc + j * TSR_VL;
            v_store(c, v_load(c) + (vf)acc[i][j]);
        }
    }
}

#define TSR_DOT_TILE(mr)                                                                                     \
    static void tile_##mr(const tsr_tile *t)                                                                 \
    {                                                                                                        \
        tile(mr, t);                                                                                         \
    }
#define TSR_DOT_TABLE(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
TSR_DOT_TABLE(TSR_DOT_TILE)
#define TSR_DOT_ENTRY(mr) [mr] = tile_##mr,
static const tsr_tile_kernel tiles[MOST_ROWS + 1] = {TSR_DOT_TABLE(TSR_DOT_ENTRY)};

static int64_t padded_cols(const tsr_call *call)
{
    return tsr_round_up(call->weight[0]->cols, 2);
}

static int64_t shared_bytes(const tsr_call *call, int64_t rows)
{
    return rows * padded_cols(call) * 2;
}

static void prepare(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    const tsr_operand *x = &call->in[0];
    int64_t blocks = tsr_block_count(rows, MOST_ROWS), cols = call->weight[0]->cols, block, end;
    tsr_share(blocks, 1, worker, &block, &end);
    for (; block < end; block++) {
        int64_t row = tsr_block_start(rows, blocks, block),
                mr = tsr_block_start(rows, blocks, block + 1) - row;
        uint16_t *to = (uint16_t *)call->shared + row * padded_cols(call);
        for (int64_t k = 0; k < cols; k += 2)
            for (int64_t i = 0; i < mr; i++, to += 2) {
                const float *from = x->data + (row + i) * x->ld + k;
                to[0] = tsr_f32_to_bf16(from[0]);
                to[1] = k + 1 < cols ? tsr_f32_to_bf16(from[1]) : 0;
            }
    }
}

static void multiply(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    tsr_gemm_walk walk = {.single = tiles,
                          .most_rows = MOST_ROWS,
                          .panels = 1,
                          .x = call->shared,
                          .x_row_bytes = padded_cols(call) * 2,
                          .x_bytes = 2};
    TSR_LOCAL(tsr_gemm_run)(&walk, call, rows, worker);
}

const tsr_gemm TSR_LOCAL(tsr_gemm_dot) = {prepare, multiply, shared_bytes};

/* Best of a few runs of one tile, in seconds; the tile fits the first-level cache. */
static double time_tile(tsr_tile_kernel kernel, const tsr_tile *t)
{
    double best = 1;
    for (int i = 0; i < 6; i++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        kernel(t);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
        if (seconds < best) best = seconds;
    }
    return best;
}

static void choose(void)
{
    static const float x[MOST_ROWS * TSR_GEMM_DEPTH];
    static const char w[TSR_PANEL * TSR_GEMM_DEPTH * 2];
    float c[MOST_ROWS * TSR_PANEL] = {0};
    if (tsr_cpu_dot_choice != TSR_DOT_UNTIMED) return;
    tsr_tile t = {.x = x, .w = w, .k = TSR_GEMM_DEPTH, .c = c, .ldc = TSR_PANEL, .ahead = w};
    double dot = time_tile(tiles[MOST_ROWS], &t),
           fma = time_tile(TSR_LOCAL(tsr_fma_tile)(TSR_BF16, MOST_ROWS), &t);
    tsr_cpu_dot_choice = dot < fma ? TSR_DOT : TSR_DOT_NOT;
}

void TSR_LOCAL(tsr_gemm_dot_choose)(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
}

#endif
