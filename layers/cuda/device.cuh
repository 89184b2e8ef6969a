/* device.cuh: what all CUDA kernels share: number formats, reductions, launches that overlap. */
#ifndef TSR_LAYERS_CUDA_DEVICE_CUH
#define TSR_LAYERS_CUDA_DEVICE_CUH

#include "layers/cuda/cuda_kernel.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

enum { TSR_WARP = 32 };

/* --- Number formats --- */

static __device__ __forceinline__ float tsr_float(float x)
{
    return x;
}
static __device__ __forceinline__ float tsr_float(__half x)
{
    return __half2float(x);
}
static __device__ __forceinline__ float tsr_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

template <typename T> __device__ __forceinline__ T tsr_round(float x);
template <> __device__ __forceinline__ float tsr_round<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ __half tsr_round<__half>(float x)
{
    return __float2half_rn(x);
}
template <> __device__ __forceinline__ __nv_bfloat16 tsr_round<__nv_bfloat16>(float x)
{
    return __float2bfloat16_rn(x);
}

/* 16 bytes of T: the widest load. */
template <typename T> struct alignas(16) tsr_vector {
    enum { N = 16 / sizeof(T) };
    T x[N];
};

template <typename T> static __device__ __forceinline__ tsr_vector<T> tsr_load_vector(const T *p)
{
    return *reinterpret_cast<const tsr_vector<T> *>(p);
}
template <typename T> static __device__ __forceinline__ void tsr_store_vector(T *p, const tsr_vector<T> &v)
{
    *reinterpret_cast<tsr_vector<T> *>(p) = v;
}

/* Calls f<T>() for the C++ type of a dtype of values; the function evaluates to its result. */
#define TSR_CUDA_BY_DTYPE(dtype, T, ...)                                                                     \
    [&]() -> tsr_status {                                                                                    \
        switch (dtype) {                                                                                     \
        case TSR_F32: {                                                                                      \
            using T = float;                                                                                 \
            __VA_ARGS__;                                                                                     \
        }                                                                                                    \
        case TSR_F16: {                                                                                      \
            using T = __half;                                                                                \
            __VA_ARGS__;                                                                                     \
        }                                                                                                    \
        case TSR_BF16: {                                                                                     \
            using T = __nv_bfloat16;                                                                         \
            __VA_ARGS__;                                                                                     \
        }                                                                                                    \
        default:                                                                                             \
            return tsr_fail(TSR_ERR_INTERNAL, "no CUDA kernel for %s", tsr_dtype_name(dtype));               \
        }                                                                                                    \
    }()

/* --- Reductions --- */

static __device__ __forceinline__ float tsr_warp_sum(float x)
{
    for (int k = TSR_WARP / 2; k > 0; k /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, k);
    return x;
}

static __device__ __forceinline__ float tsr_warp_max(float x)
{
    for (int k = TSR_WARP / 2; k > 0; k /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, k));
    return x;
}

/* Sum over the block, on every thread. `scratch`: TSR_WARP floats of shared memory, free again after the call's second
 * barrier; the block has whole warps. */
static __device__ __forceinline__ float tsr_block_sum(float x, float *scratch)
{
    int lane = threadIdx.x % TSR_WARP, warp = threadIdx.x / TSR_WARP, warps = blockDim.x / TSR_WARP;
    x = tsr_warp_sum(x);
    __syncthreads(); /* an earlier use of scratch has ended */
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    return tsr_warp_sum(lane < warps ? scratch[lane] : 0);
}

/* --- Overlap (cuda_kernel.h) --- */

static __device__ __forceinline__ void tsr_grid_wait(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

static __device__ __forceinline__ void tsr_grid_release(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

/* Launches kernel<<<grid, block, shared>>>(args...) on the step's stream, overlapping if the step says so. */
template <typename... Parameters, typename... Arguments>
static tsr_status tsr_launch(const tsr_cuda_step *step, const char *what, dim3 grid, dim3 block,
                             size_t shared, void (*kernel)(Parameters...), Arguments... arguments)
{
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = step->stream;
    config.attrs = &overlap;
    config.numAttrs = step->overlap ? 1 : 0;
    return tsr_cuda_check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), what);
}

#endif
