/* fill.cu: made-up weights, a thread per element. */
#include "layers/cuda/fill.h"
#include "layers/cuda/device.cuh"

namespace {

enum { THREADS = 256, MOST_BLOCKS = 1 << 16 };

__device__ __forceinline__ uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

template <typename T> __global__ void random_fill(T *data, int64_t first, int64_t n, uint64_t seed)
{
    for (int64_t k = (int64_t)blockIdx.x * THREADS + threadIdx.x; k < n; k += (int64_t)gridDim.x * THREADS) {
        float unit = (float)(mix(seed ^ (uint64_t)(first + k)) >> 40) * 0x1p-23f;
        data[k] = tsr_round<T>((unit - 1) * 0.0346f);
    }
}

__global__ void constant_fill(float *data, float value, int64_t n)
{
    for (int64_t k = (int64_t)blockIdx.x * THREADS + threadIdx.x; k < n; k += (int64_t)gridDim.x * THREADS)
        data[k] = value;
}

unsigned blocks_for(int64_t n)
{
    int64_t blocks = (n + THREADS - 1) / THREADS;
    return (unsigned)(blocks < (int64_t)MOST_BLOCKS ? blocks : (int64_t)MOST_BLOCKS);
}

} /* namespace */

tsr_status tsr_cuda_random_fill(void *data, tsr_dtype dtype, int64_t first, int64_t n, uint64_t seed, int64_t weight,
                                cudaStream_t stream)
{
    if (n == 0) return TSR_OK;
    uint64_t salted = seed ^ (uint64_t)weight << 40;
    return TSR_CUDA_BY_DTYPE(dtype, T, {
        random_fill<<<blocks_for(n), THREADS, 0, stream>>>(static_cast<T *>(data), first, n, salted);
        return tsr_cuda_check(cudaGetLastError(), "made-up weights");
    });
}

tsr_status tsr_cuda_constant_fill(float *data, float value, int64_t n, cudaStream_t stream)
{
    if (n == 0) return TSR_OK;
    constant_fill<<<blocks_for(n), THREADS, 0, stream>>>(data, value, n);
    return tsr_cuda_check(cudaGetLastError(), "made-up weights");
}
