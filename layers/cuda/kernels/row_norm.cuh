/* row_norm.cuh: the norm of one row by one block, for every kernel that norms. */
#ifndef TSR_LAYERS_CUDA_KERNELS_ROW_NORM_CUH
#define TSR_LAYERS_CUDA_KERNELS_ROW_NORM_CUH

#include "layers/cuda/device.cuh"

typedef struct tsr_row_moments {
    float shift, scale; /* normed = (x - shift) * scale * w + b */
} tsr_row_moments;

/* value(c): element c of the row, asked for on the thread that owns column c: threadIdx.x, + blockDim.x, ... The
 * variance is taken around the mean in a second pass, so that it does not cancel. `scratch`: TSR_WARP floats. */
template <typename Value>
static __device__ __forceinline__ tsr_row_moments tsr_row_measure(tsr_norm_kind kind, float eps, int64_t cols,
                                                                  float *scratch, Value value)
{
    float mean = 0, squares = 0;
    if (kind == TSR_NORM_LAYER) {
        for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) mean += value(c);
        mean = tsr_block_sum(mean, scratch) / (float)cols;
    }
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
        float d = value(c) - mean;
        squares += d * d;
    }
    squares = tsr_block_sum(squares, scratch) / (float)cols;
    tsr_row_moments m = {mean, rsqrtf(squares + eps)};
    return m;
}

static __device__ __forceinline__ float tsr_row_normed(tsr_row_moments m, float x, const float *w,
                                                       const float *b, int64_t c)
{
    float y = (x - m.shift) * m.scale;
    if (w) y *= w[c];
    return b ? y + b[c] : y;
}

#endif
