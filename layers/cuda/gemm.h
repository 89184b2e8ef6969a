/* gemm.h: products of many rows by cuBLASLt, with the algorithm timed once for each shape.
 *
 * out [rows][n] = x [rows][k] W [n][k]^T, float32 sums; float32 operands are not rounded to TF32. Row counts fall into
 * buckets. The first product of a bucket that is not being captured times the library's best suggestions on the operands
 * themselves; later ones take the winner. One object per device and stream; not thread-safe. Its workspace belongs to it.
 */
#ifndef TSR_LAYERS_CUDA_GEMM_H
#define TSR_LAYERS_CUDA_GEMM_H

#include "layers/cuda/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tsr_cuda_gemm tsr_cuda_gemm;

typedef struct tsr_cuda_gemm_shape {
    int64_t rows, n, k, x_ld, out_ld;
    tsr_dtype dtype, out_dtype; /* of x and W; of out: the same, or float32 */
} tsr_cuda_gemm_shape;

/* On the current device. Opens the library. */
tsr_status tsr_cuda_gemm_create(tsr_cuda_gemm **out);
void tsr_cuda_gemm_destroy(tsr_cuda_gemm **gemm);

/* Enqueues the product. *done false: the library has no way for this shape, and nothing was enqueued. */
tsr_status tsr_cuda_gemm_run(tsr_cuda_gemm *gemm, const tsr_cuda_gemm_shape *shape, const void *x,
                             const void *w, void *out, cudaStream_t stream, bool *done);

#ifdef __cplusplus
}
#endif

#endif
