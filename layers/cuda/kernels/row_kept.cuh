/* row_kept.cuh: norm of a row by one block that keeps the row in registers, so that memory is read once: norm, add_norm. */
#ifndef TSR_LAYERS_CUDA_KERNELS_ROW_KEPT_CUH
#define TSR_LAYERS_CUDA_KERNELS_ROW_KEPT_CUH

#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/elementwise.cuh"
#include "layers/cuda/kernels/row_norm.cuh"

typedef struct tsr_norm_rows {
    const void *a, *b; /* b: NULL, or added to a */
    void *sum, *out;   /* sum: NULL, or a + b rounded; may be a or b */
    int64_t a_ld, b_ld, sum_ld, out_ld, cols;
    const float *weight, *bias; /* or NULL */
    tsr_norm_kind kind;
    float eps;
} tsr_norm_rows;

enum { TSR_NORM_FEW = 256, TSR_NORM_MOST = 1024 }; /* threads */

/* N neighbours of a vector of the model, 1 where there is none. */
template <int N> static __device__ __forceinline__ void tsr_load_weight(float *to, const float *weight, bool inside)
{
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = 1;
    if (!weight || !inside) return;
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4) *reinterpret_cast<float4 *>(to + i) = *reinterpret_cast<const float4 *>(weight + i);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = weight[i];
    }
}

/* A thread keeps runs threadIdx.x, + blockDim.x, ... of N elements, PER of them; cols <= blockDim.x * N * PER, and N divides
 * cols. What is normed is the sum as it is stored, so that the result is that of add and norm one after the other. Where a
 * thread has the registers, the weight is read before the values that the kernel before this one makes are waited for. Few
 * threads, that the block fits on a multiprocessor beside one of a product. */
template <typename T, int N, int PER, int THREADS>
static __global__ void __launch_bounds__(THREADS) tsr_norm_kept(const __grid_constant__ tsr_norm_rows d)
{
    constexpr bool early = THREADS == TSR_NORM_FEW;
    __shared__ float scratch[TSR_WARP];
    float x[PER * N];
    alignas(16) float weight[early ? PER * N : N];
    if (early) {
#pragma unroll
        for (int k = 0; k < PER; k++) {
            int64_t c = ((int64_t)k * blockDim.x + threadIdx.x) * N;
            tsr_load_weight<N>(weight + k * N, d.weight ? d.weight + c : nullptr, c < d.cols);
        }
    }
    tsr_grid_release();
    tsr_grid_wait();
    float total = 0;
#pragma unroll
    for (int k = 0; k < PER; k++) {
        int64_t c = ((int64_t)k * blockDim.x + threadIdx.x) * N;
        tsr_run<T, N> v = {}, w = {};
        if (c < d.cols) {
            v.load((const T *)d.a + blockIdx.x * d.a_ld + c);
            if (d.b) w.load((const T *)d.b + blockIdx.x * d.b_ld + c);
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (d.b) v.x[i] = tsr_round<T>(tsr_float(v.x[i]) + tsr_float(w.x[i]));
            x[k * N + i] = tsr_float(v.x[i]);
            total += x[k * N + i];
        }
        if (d.sum && c < d.cols) v.store((T *)d.sum + blockIdx.x * d.sum_ld + c);
    }
    float mean = d.kind == TSR_NORM_LAYER ? tsr_block_sum(total, scratch) / (float)d.cols : 0, squares = 0;
#pragma unroll
    for (int k = 0; k < PER; k++)
#pragma unroll
        for (int i = 0; i < N; i++) {
            bool inside = ((int64_t)k * blockDim.x + threadIdx.x) * N < d.cols;
            float y = inside ? x[k * N + i] - mean : 0;
            squares = fmaf(y, y, squares);
        }
    squares = tsr_block_sum(squares, scratch) / (float)d.cols;
    tsr_row_moments m = {mean, rsqrtf(squares + d.eps)};
#pragma unroll
    for (int k = 0; k < PER; k++) {
        int64_t c = ((int64_t)k * blockDim.x + threadIdx.x) * N;
        if (c >= d.cols) break;
        const int at = early ? k * N : 0;
        if (!early) tsr_load_weight<N>(weight, d.weight ? d.weight + c : nullptr, true);
        tsr_run<T, N> v;
#pragma unroll
        for (int i = 0; i < N; i++)
            v.x[i] = tsr_round<T>(tsr_row_normed(m, x[k * N + i], nullptr, nullptr, 0) * weight[at + i] +
                                  (d.bias ? d.bias[c + i] : 0));
        v.store((T *)d.out + blockIdx.x * d.out_ld + c);
    }
}

/* Any width: each thread reads its own columns again. */
template <typename T> static __global__ void tsr_norm_reread(const __grid_constant__ tsr_norm_rows d)
{
    __shared__ float scratch[TSR_WARP];
    const T *from = (const T *)(d.sum ? d.sum : d.a) + blockIdx.x * (d.sum ? d.sum_ld : d.a_ld);
    T *to = (T *)d.out + blockIdx.x * d.out_ld;
    tsr_grid_release();
    tsr_grid_wait();
    if (d.sum) {
        const T *a = (const T *)d.a + blockIdx.x * d.a_ld, *b = (const T *)d.b + blockIdx.x * d.b_ld;
        T *sum = (T *)d.sum + blockIdx.x * d.sum_ld;
        for (int64_t c = threadIdx.x; c < d.cols; c += blockDim.x)
            sum[c] = tsr_round<T>(tsr_float(a[c]) + tsr_float(b[c]));
    }
    tsr_row_moments m =
        tsr_row_measure(d.kind, d.eps, d.cols, scratch, [&](int64_t c) { return tsr_float(from[c]); });
    for (int64_t c = threadIdx.x; c < d.cols; c += blockDim.x)
        to[c] = tsr_round<T>(tsr_row_normed(m, tsr_float(from[c]), d.weight, d.bias, c));
}

template <typename T, int N, int PER, int THREADS>
static tsr_status tsr_norm_kept_launch(const tsr_norm_rows &d, int32_t rows, const tsr_cuda_step *step, const char *what)
{
    int64_t threads = (d.cols + N * PER - 1) / (N * PER);
    dim3 block((unsigned)((threads + TSR_WARP - 1) / TSR_WARP * TSR_WARP));
    return tsr_launch(step, what, dim3((unsigned)rows), block, 0, tsr_norm_kept<T, N, PER, THREADS>, d);
}

template <typename T, int N>
static tsr_status tsr_norm_launch(const tsr_norm_rows &d, int32_t rows, const tsr_cuda_step *step, const char *what)
{
    enum { FEW = TSR_NORM_FEW, MOST = TSR_NORM_MOST };
    int64_t runs = (d.cols + N - 1) / N;
    if (runs <= FEW) return tsr_norm_kept_launch<T, N, 1, FEW>(d, rows, step, what);
    if (runs <= 2 * FEW) return tsr_norm_kept_launch<T, N, 2, FEW>(d, rows, step, what);
    if (runs <= 4 * FEW) return tsr_norm_kept_launch<T, N, 4, FEW>(d, rows, step, what);
    if (runs <= 4 * MOST) return tsr_norm_kept_launch<T, N, 4, MOST>(d, rows, step, what);
    return tsr_launch(step, what, dim3((unsigned)rows), dim3(MOST), 0, tsr_norm_reread<T>, d);
}

static inline tsr_status tsr_norm_by_dtype(const tsr_norm_rows &d, int32_t rows, tsr_dtype dtype, bool vectors,
                                           const tsr_cuda_step *step, const char *what)
{
    if (rows == 0) return TSR_OK;
    return TSR_CUDA_BY_DTYPE(dtype, T,
                             return vectors ? tsr_norm_launch<T, tsr_vector<T>::N>(d, rows, step, what)
                                            : tsr_norm_launch<T, 1>(d, rows, step, what));
}

#endif
