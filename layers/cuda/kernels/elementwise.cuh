/* elementwise.cuh: kernels that visit every element of a value: the walk, and runs of elements loaded at once. */
#ifndef TSR_LAYERS_CUDA_KERNELS_ELEMENTWISE_CUH
#define TSR_LAYERS_CUDA_KERNELS_ELEMENTWISE_CUH

#include "layers/cuda/device.cuh"

/* N neighbours in registers; N = 1, or that of tsr_vector<T> where addresses are multiples of 16 bytes. */
template <typename T, int N> struct tsr_run {
    T x[N];
    __device__ __forceinline__ void load(const T *p)
    {
        if constexpr (N == 1) {
            x[0] = *p;
        } else {
            tsr_vector<T> v = tsr_load_vector(p);
#pragma unroll
            for (int i = 0; i < N; i++) x[i] = v.x[i];
        }
    }
    __device__ __forceinline__ void store(T *p) const
    {
        if constexpr (N == 1) {
            *p = x[0];
        } else {
            tsr_vector<T> v;
#pragma unroll
            for (int i = 0; i < N; i++) v.x[i] = x[i];
            tsr_store_vector(p, v);
        }
    }
};

enum { TSR_EACH_THREADS = 256 };

template <int N, typename Body> static __global__ void tsr_each_kernel(int64_t cols, const Body body)
{
    int64_t c = ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
    tsr_grid_release();
    tsr_grid_wait();
    if (c < cols) body((int64_t)blockIdx.x, c);
}

/* body(row, column) for every row and every N-th column, each on a thread of its own. N divides cols. */
template <int N, typename Body>
static tsr_status tsr_each(const tsr_cuda_step *step, const char *what, int32_t rows, int64_t cols, const Body body)
{
    int64_t per_block = TSR_EACH_THREADS * N;
    dim3 grid((unsigned)rows, (unsigned)((cols + per_block - 1) / per_block));
    return tsr_launch(step, what, grid, dim3(TSR_EACH_THREADS), 0, tsr_each_kernel<N, Body>, cols, body);
}

/* Can all these operands be read in vectors? */
static inline bool tsr_vector_operand(const tsr_cuda_operand *v)
{
    int64_t size = tsr_dtype_bytes(v->dtype);
    return (uintptr_t)v->data % 16 == 0 && v->ld * size % 16 == 0 && v->cols * size % 16 == 0;
}

#endif
