/* product_vector.cu: the product with one row of x, bound by reading W once.
 *
 * A warp makes two outputs (gated: the gate and the up of one), reading both rows of W in batches of 16 bytes per lane and
 * row; a batch is under way while the one before it is multiplied, and the first is asked for before the values that the
 * kernel before this one makes are waited for. x is read from the cache nearby, once for both rows.
 */
#include "layers/cuda/kernels/activation.cuh"
#include "layers/cuda/kernels/product.cuh"

namespace {

enum { WARPS = 4, THREADS = WARPS * TSR_WARP, PAIR = 2, BATCH = 4 };

/* 16-byte pieces of the two rows, this lane's, BATCH of them from column c on; zeros beyond k. */
template <typename T> struct pieces {
    tsr_vector<T> w[PAIR][BATCH];

    __device__ __forceinline__ void load(const T *const (&row)[PAIR], int64_t c, int64_t k)
    {
        enum { N = tsr_vector<T>::N };
#pragma unroll
        for (int b = 0; b < BATCH; b++)
#pragma unroll
            for (int r = 0; r < PAIR; r++) {
                int64_t at = c + b * TSR_WARP * N;
                uint4 v = {};
                if (at < k) v = __ldcs(reinterpret_cast<const uint4 *>(row[r] + at));
                w[r][b] = *reinterpret_cast<tsr_vector<T> *>(&v);
            }
    }

    __device__ __forceinline__ void multiply(const T *x, int64_t c, int64_t k, float (&sum)[PAIR]) const
    {
        enum { N = tsr_vector<T>::N };
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            int64_t at = c + b * TSR_WARP * N;
            if (at >= k) break;
            tsr_vector<T> v = tsr_load_vector(x + at);
#pragma unroll
            for (int r = 0; r < PAIR; r++)
#pragma unroll
                for (int i = 0; i < N; i++) sum[r] = fmaf(tsr_float(w[r][b].x[i]), tsr_float(v.x[i]), sum[r]);
        }
    }
};

template <typename T, bool gated>
__device__ __forceinline__ void finish(const tsr_weight_product &p, int64_t first, float (&sum)[PAIR])
{
    bool wide = p.out_dtype == TSR_F32;
#pragma unroll
    for (int r = 0; r < PAIR; r++) sum[r] = tsr_warp_sum(sum[r]);
    if (threadIdx.x % TSR_WARP != 0) return;
    if constexpr (gated) {
        float gate = sum[0] + (p.bias ? p.bias[first] : 0), up = sum[1] + (p.bias ? p.bias[p.n + first] : 0);
        tsr_store_as<T>(p.out, wide, first, tsr_activate(p.activation, gate) * up);
    } else {
#pragma unroll
        for (int r = 0; r < PAIR; r++)
            if (first + r < p.n) tsr_store_as<T>(p.out, wide, first + r, sum[r] + (p.bias ? p.bias[first + r] : 0));
    }
}

template <typename T, bool gated>
__global__ void __launch_bounds__(THREADS) vector_product(const __grid_constant__ tsr_weight_product p)
{
    enum { STRIDE = BATCH * TSR_WARP * tsr_vector<T>::N };
    const int64_t warp = (int64_t)blockIdx.x * WARPS + threadIdx.x / TSR_WARP;
    const int64_t first = gated ? warp : warp * PAIR, last = p.n - 1;
    const T *w = static_cast<const T *>(p.w), *x = static_cast<const T *>(p.x);
    const int64_t a = min(first, last), b = gated ? p.n + a : min(first + 1, last);
    const T *const row[PAIR] = {w + a * p.k, w + b * p.k};
    int64_t c = threadIdx.x % TSR_WARP * (int64_t)tsr_vector<T>::N;
    pieces<T> now, next;
    float sum[PAIR] = {};
    now.load(row, c, p.k);
    tsr_grid_release();
    tsr_grid_wait();
    for (; c < p.k; c += 2 * STRIDE) {
        next.load(row, c + STRIDE, p.k);
        now.multiply(x, c, p.k, sum);
        now.load(row, c + 2 * STRIDE, p.k);
        next.multiply(x, c + STRIDE, p.k, sum);
    }
    if (first < p.n) finish<T, gated>(p, first, sum);
}

template <typename T> tsr_status launch(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    const int64_t each = p->gated ? WARPS : WARPS * PAIR;
    dim3 grid((unsigned)((p->n + each - 1) / each)), block(THREADS);
    if (p->gated) return tsr_launch(step, "a product with one row", grid, block, 0, vector_product<T, true>, *p);
    return tsr_launch(step, "a product with one row", grid, block, 0, vector_product<T, false>, *p);
}

} /* namespace */

bool tsr_product_vector_takes(const tsr_weight_product *p)
{
    return p->rows == 1 && tsr_aligned16(p->w, p->k, p->dtype) && tsr_aligned16(p->x, p->x_ld, p->dtype);
}

tsr_status tsr_product_vector(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    return TSR_CUDA_BY_DTYPE(p->dtype, T, return launch<T>(p, step));
}
