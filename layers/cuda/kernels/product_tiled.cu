/* product_tiled.cu: a plain tiled product for whatever shape, dtype and alignment; the one that others fall back on.
 *
 * A block makes 64 x 64 outputs, a thread 4 x 4, from tiles of 16 columns of x and W widened to float32 in shared memory.
 */
#include "layers/cuda/kernels/product.cuh"

namespace {

enum { TILE = 64, DEPTH = 16, EACH = 4, SIDE = TILE / EACH, THREADS = SIDE * SIDE };

/* to[column][row] = rows first .. of a matrix [rows][k], columns k0 ..; zeros outside. */
template <typename T>
__device__ __forceinline__ void load_tile(const T *from, int64_t ld, int64_t first, int64_t rows, int64_t k0, int64_t k,
                                          float (&to)[DEPTH][TILE + 1])
{
    for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
        int r = i / DEPTH, c = i % DEPTH;
        bool inside = first + r < rows && k0 + c < k;
        to[c][r] = inside ? tsr_float(from[(first + r) * ld + k0 + c]) : 0;
    }
}

template <typename T> __global__ __launch_bounds__(THREADS) void tiled_product(const __grid_constant__ tsr_weight_product p)
{
    __shared__ float x[DEPTH][TILE + 1], w[DEPTH][TILE + 1];
    int64_t row = (int64_t)blockIdx.y * TILE, col = (int64_t)blockIdx.x * TILE;
    int i = threadIdx.x / SIDE, j = threadIdx.x % SIDE;
    float sum[EACH][EACH] = {};
    tsr_grid_release();
    tsr_grid_wait();
    for (int64_t k0 = 0; k0 < p.k; k0 += DEPTH) {
        load_tile(static_cast<const T *>(p.x), p.x_ld, row, p.rows, k0, p.k, x);
        load_tile(static_cast<const T *>(p.w), p.k, col, p.n, k0, p.k, w);
        __syncthreads();
#pragma unroll
        for (int c = 0; c < DEPTH; c++)
#pragma unroll
            for (int a = 0; a < EACH; a++)
#pragma unroll
                for (int b = 0; b < EACH; b++) sum[a][b] = fmaf(x[c][i + a * SIDE], w[c][j + b * SIDE], sum[a][b]);
        __syncthreads();
    }
    for (int a = 0; a < EACH; a++)
        for (int b = 0; b < EACH; b++) {
            int64_t r = row + i + a * SIDE, n = col + j + b * SIDE;
            if (r < p.rows && n < p.n)
                tsr_store_as<T>(p.out, p.out_dtype == TSR_F32, r * p.out_ld + n, sum[a][b] + (p.bias ? p.bias[n] : 0));
        }
}

} /* namespace */

tsr_status tsr_product_tiled(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    dim3 grid((unsigned)((p->n + TILE - 1) / TILE), (unsigned)((p->rows + TILE - 1) / TILE));
    return TSR_CUDA_BY_DTYPE(p->dtype, T,
                             return tsr_launch(step, "a tiled product", grid, dim3(THREADS), 0, tiled_product<T>, *p));
}
