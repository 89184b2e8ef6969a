/* amx.h: AMX tiles as these kernels use them: all eight are 16 rows of 64 bytes, set up once per thread
 * (tsr_gemm_thread_init). c += a b for a: 16 rows x 32 bf16, b: 16 pairs of rows x 16 columns of bf16 pairs, c: 16 x 16
 * float32.
 */
#ifndef TSR_LAYERS_CPU_KERNELS_AMX_H
#define TSR_LAYERS_CPU_KERNELS_AMX_H

#include <immintrin.h>

enum { TSR_TILE_ROWS = 16, TSR_TILE_DEPTH = 32, TSR_TILE_BYTES = 1024 };

/* Tile loads do not tell the compiler what memory they read: what is at p must have been stored before. */
static inline void tsr_settle(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

#endif
