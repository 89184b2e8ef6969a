/* product_gemv.cu: products of a few rows for every dtype, size and alignment: a warp per output, float32 multiply-adds. */
#include "layers/cuda/kernels/activation.cuh"
#include "layers/cuda/kernels/product.cuh"

namespace {

enum { THREADS = 256, WARPS = THREADS / TSR_WARP };

/* sum[r] += row of w times row r of x, this lane's columns: vectors of N where `vectors` allows, the rest one by one. */
template <typename T, int ROWS>
__device__ __forceinline__ void sum_row(const tsr_weight_product &p, const T *w, bool vectors, float (&sum)[ROWS])
{
    enum { N = tsr_vector<T>::N };
    const T *x = static_cast<const T *>(p.x);
    int lane = threadIdx.x % TSR_WARP;
    int64_t whole = vectors ? p.k / N * N : 0;
#pragma unroll 4
    for (int64_t c = lane * N; c < whole; c += TSR_WARP * N) {
        tsr_vector<T> a = tsr_load_vector(w + c);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (r >= p.rows) break;
            tsr_vector<T> b = tsr_load_vector(x + r * p.x_ld + c);
#pragma unroll
            for (int i = 0; i < N; i++) sum[r] = fmaf(tsr_float(a.x[i]), tsr_float(b.x[i]), sum[r]);
        }
    }
    for (int64_t c = whole + lane; c < p.k; c += TSR_WARP) {
        float a = tsr_float(w[c]);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (r < p.rows) sum[r] = fmaf(a, tsr_float(x[r * p.x_ld + c]), sum[r]);
    }
}

template <typename T, int ROWS> __global__ void gemv(const __grid_constant__ tsr_weight_product p, bool vectors)
{
    int64_t n = (int64_t)blockIdx.x * WARPS + threadIdx.x / TSR_WARP;
    const T *w = static_cast<const T *>(p.w);
    tsr_grid_release();
    tsr_grid_wait();
    if (n >= p.n) return;
    float sum[ROWS] = {}, up[ROWS] = {};
    sum_row<T, ROWS>(p, w + n * p.k, vectors, sum);
    if (p.gated) sum_row<T, ROWS>(p, w + (p.n + n) * p.k, vectors, up);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (r >= p.rows) break;
        float value = tsr_warp_sum(sum[r]) + (p.bias ? p.bias[n] : 0);
        if (p.gated) {
            float u = tsr_warp_sum(up[r]) + (p.bias ? p.bias[p.n + n] : 0);
            value = tsr_activate(p.activation, value) * u;
        }
        if (threadIdx.x % TSR_WARP == 0) tsr_store_as<T>(p.out, p.out_dtype == TSR_F32, r * p.out_ld + n, value);
    }
}

template <typename T> tsr_status launch(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    bool vectors = tsr_aligned16(p->w, p->k, p->dtype) && tsr_aligned16(p->x, p->x_ld, p->dtype);
    dim3 grid((unsigned)((p->n + WARPS - 1) / WARPS)), block(THREADS);
    const char *what = "a matrix-vector product";
    if (p->rows == 1) return tsr_launch(step, what, grid, block, 0, gemv<T, 1>, *p, vectors);
    if (p->rows == 2) return tsr_launch(step, what, grid, block, 0, gemv<T, 2>, *p, vectors);
    if (p->rows <= 4) return tsr_launch(step, what, grid, block, 0, gemv<T, 4>, *p, vectors);
    return tsr_launch(step, what, grid, block, 0, gemv<T, TSR_GEMV_ROWS>, *p, vectors);
}

} /* namespace */

tsr_status tsr_product_gemv(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    return TSR_CUDA_BY_DTYPE(p->dtype, T, return launch<T>(p, step));
}
