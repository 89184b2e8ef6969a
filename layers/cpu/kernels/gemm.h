/* gemm.h: the ways of computing out = x W^T + b that linear.c chooses from.
 *
 *   fma       every dtype, every instruction set: float32 activations, weights widened to float32 in registers
 *   dot       bf16 weights, AVX512-BF16: activations rounded to bf16 (nearest even), products summed in float32
 *   amx       bf16 weights, AMX: likewise, on tiles
 *   amx_few   the bits of amx by fused multiply-adds, for a few rows
 *
 * A row's result is the same bits for any number of rows and threads: a sequence's tokens do not depend on its company. So
 * the choice depends on the dtype and the processor alone, and the order of the additions is fixed in each way. Within fma:
 * blocks of TSR_GEMM_DEPTH columns, each summed from left to right, added up in order; dot likewise, by pairs of columns;
 * amx: see gemm_amx_few.c.
 */
#ifndef TSR_LAYERS_CPU_KERNELS_GEMM_H
#define TSR_LAYERS_CPU_KERNELS_GEMM_H

#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/simd.h"
#include "layers/cpu/pack.h"

enum { TSR_GEMM_DEPTH = 256, TSR_GEMM_PANELS = 4 }; /* most panels of a tile */

/* One tile product: c[rows][panels * TSR_PANEL] += x w^T over k columns of neighbouring panels. How many rows and panels
 * is fixed in the kernel. It prefetches, per step (a column; bf16: two), as many bytes as the step reads of each panel,
 * from ahead + step number * ahead_step on. */
typedef struct tsr_tile {
    const void *x;       /* [k][rows] float32 (fma), [k / 2][rows][2] bf16 (dot) */
    const char *w;       /* the first panel from the first of the k columns on */
    int64_t panel_bytes; /* from one panel to the next */
    int64_t k;
    float *c;
    int64_t ldc;
    const char *ahead;
    int64_t ahead_step;
} tsr_tile;
typedef void (*tsr_tile_kernel)(const tsr_tile *t);

/* A way: `prepare` is phase 0 of linear (x into call->shared), `multiply` phase 1. */
typedef struct tsr_gemm {
    void (*prepare)(const tsr_call *call, int64_t rows, const tsr_worker *worker);
    void (*multiply)(const tsr_call *call, int64_t rows, const tsr_worker *worker);
    int64_t (*shared_bytes)(const tsr_call *call, int64_t rows);
} tsr_gemm;

extern const tsr_gemm TSR_LOCAL(tsr_gemm_fma);
#ifdef TSR_ISA_avx512bf16
extern const tsr_gemm TSR_LOCAL(tsr_gemm_dot);
void TSR_LOCAL(tsr_gemm_dot_choose)(void); /* settles tsr_cpu_dot_choice, once */
tsr_tile_kernel TSR_LOCAL(tsr_fma_tile)(tsr_dtype dtype, int rows);
#endif
#ifdef TSR_ISA_amx
enum { TSR_FEW_ROWS = 3 }; /* most rows of amx_few */
extern const tsr_gemm TSR_LOCAL(tsr_gemm_amx), TSR_LOCAL(tsr_gemm_amx_few);
void TSR_LOCAL(tsr_amx_thread_init)(void);
#endif

int64_t TSR_LOCAL(tsr_linear_shared_bytes)(const tsr_call *call, int64_t rows);
int64_t TSR_LOCAL(tsr_gated_linear_shared_bytes)(const tsr_call *call, int64_t rows);
void TSR_LOCAL(tsr_gemm_thread_init)(void);

/* A thread's part of a product: row blocks row .. row_end - 1 and panels panel .. panel_end - 1. */
typedef struct tsr_gemm_part {
    int64_t row, row_end, panel, panel_end;
} tsr_gemm_part;
tsr_gemm_part TSR_LOCAL(tsr_gemm_share)(int64_t row_blocks, int64_t panels, const tsr_worker *worker);

/* Rows of a product in blocks of at most `most` that differ by at most one row. */
TSR_INLINE int64_t tsr_block_count(int64_t rows, int64_t most)
{
    return (rows + most - 1) / most;
}

TSR_INLINE int64_t tsr_block_start(int64_t rows, int64_t blocks, int64_t block)
{
    return rows * block / blocks;
}

/* The walk over row blocks, panels and column blocks that fma and dot have in common. A block of x lies at
 * x + first row * x_row_bytes, within it column k at k * rows * x_bytes. */
typedef struct tsr_gemm_walk {
    const tsr_tile_kernel *single; /* [1 .. most_rows]: one panel */
    const tsr_tile_kernel *multi;  /* [1 .. most_rows]: `panels` panels; NULL where there is none */
    int64_t most_rows, panels;
    const char *x;
    int64_t x_row_bytes, x_bytes;
} tsr_gemm_walk;
void TSR_LOCAL(tsr_gemm_run)(const tsr_gemm_walk *walk, const tsr_call *call, int64_t rows,
                             const tsr_worker *worker);

#endif
