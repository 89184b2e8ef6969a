/* product.cuh: the ways of computing out = x W^T + b that linear.cu and gated_linear.cu choose from.
 *
 *   stream   up to 16 rows, 2-byte dtypes: W once through shared memory to tensor cores (product_stream.cu)
 *   vector   one row, vectors of 16 bytes: two outputs a warp (product_vector.cu)
 *   gemv     a few rows, every dtype and alignment: a warp per output (product_gemv.cu)
 *   tiled    every shape, dtype and alignment: a plain tiled product (product_tiled.cu)
 *   library  more rows: cuBLASLt (layers/cuda/gemm.h)
 *
 * All sum in float32. A gated product has W = [2n, k], gate rows then up rows, and out[.., n] = act(gate) * up.
 */
#ifndef TSR_LAYERS_CUDA_KERNELS_PRODUCT_CUH
#define TSR_LAYERS_CUDA_KERNELS_PRODUCT_CUH

#include "layers/cuda/device.cuh"

typedef struct tsr_weight_product {
    const void *x; /* [rows][k], x_ld */
    const void *w; /* [n or 2n][k] */
    const float *bias; /* [n or 2n] or NULL */
    void *out; /* [rows][n], out_ld */
    int64_t x_ld, out_ld, n, k;
    int32_t rows;
    tsr_dtype dtype, out_dtype; /* out_dtype: dtype, or float32 */
    bool gated;
    tsr_activation activation; /* gated alone */
} tsr_weight_product;

tsr_weight_product tsr_product_of(const tsr_cuda_call *call, const tsr_cuda_step *step);

static inline bool tsr_aligned16(const void *p, int64_t ld, tsr_dtype dtype)
{
    return (uintptr_t)p % 16 == 0 && ld * tsr_dtype_bytes(dtype) % 16 == 0;
}

enum { TSR_GEMV_ROWS = 8 };
bool tsr_product_stream_takes(const tsr_weight_product *p);
tsr_status tsr_product_stream(const tsr_weight_product *p, const tsr_cuda_step *step); /* gated too */
bool tsr_product_vector_takes(const tsr_weight_product *p);
tsr_status tsr_product_vector(const tsr_weight_product *p, const tsr_cuda_step *step); /* gated too */
tsr_status tsr_product_gemv(const tsr_weight_product *p, const tsr_cuda_step *step); /* gated too */
tsr_status tsr_product_tiled(const tsr_weight_product *p, const tsr_cuda_step *step); /* not gated; no limits */

/* cuBLASLt where it takes the shape, else gemv or tiled; not gated. The bias is added. */
tsr_status tsr_product_many(const tsr_weight_product *p, struct tsr_cuda_gemm *gemm, const tsr_cuda_step *step);

/* A result as float32 or T. */
template <typename T>
static __device__ __forceinline__ void tsr_store_as(void *out, bool wide, int64_t at, float value)
{
    if (wide)
        static_cast<float *>(out)[at] = value;
    else
        static_cast<T *>(out)[at] = tsr_round<T>(value);
}

#endif
