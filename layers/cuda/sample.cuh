/* sample.cuh: what the sampling kernels share: order of candidates, and the best of a block. */
#ifndef TSR_LAYERS_CUDA_SAMPLE_CUH
#define TSR_LAYERS_CUDA_SAMPLE_CUH

#include "base/gumbel.h"
#include "layers/cuda/device.cuh"
#include "layers/cuda/sample.h"

/* A candidate: the higher score wins, then the lower id. */
struct tsr_scored {
    double score;
    int32_t id; /* -1: none */
};

static __device__ __forceinline__ tsr_scored tsr_better(tsr_scored a, tsr_scored b)
{
    if (a.id < 0) return b;
    if (b.id < 0) return a;
    if (a.score != b.score) return a.score > b.score ? a : b;
    return a.id < b.id ? a : b;
}

static __device__ __forceinline__ tsr_scored tsr_warp_best(tsr_scored s)
{
    for (int k = TSR_WARP / 2; k > 0; k /= 2) {
        tsr_scored other = {__shfl_xor_sync(0xFFFFFFFFu, s.score, k), __shfl_xor_sync(0xFFFFFFFFu, s.id, k)};
        s = tsr_better(s, other);
    }
    return s;
}

/* On every thread; scratch: [TSR_WARP] of shared memory, free again after a barrier. The block has whole warps. */
static __device__ __forceinline__ tsr_scored tsr_block_best(tsr_scored s, tsr_scored *scratch)
{
    int lane = threadIdx.x % TSR_WARP, warp = threadIdx.x / TSR_WARP, warps = blockDim.x / TSR_WARP;
    s = tsr_warp_best(s);
    __syncthreads();
    if (lane == 0) scratch[warp] = s;
    __syncthreads();
    return tsr_warp_best(lane < warps ? scratch[lane] : tsr_scored{0, -1});
}

static __device__ __forceinline__ bool tsr_no_number(float x)
{
    return !(x <= 3.402823466e38f);
}

static __device__ __forceinline__ bool tsr_is_filtered(const tsr_cuda_choice &c, int32_t vocabulary)
{
    bool top_k = c.top_k > 0 && c.top_k < vocabulary;
    return c.target < 0 && c.scale > 0 && (top_k || c.top_p < 1 || c.min_p > 0);
}

/* The part of a row that falls to one of n splits. */
static __device__ __forceinline__ void tsr_split(int32_t n, int split, int splits, int32_t *begin, int32_t *end)
{
    int32_t each = (n + splits - 1) / splits;
    *begin = min(each * split, n);
    *end = min(*begin + each, n);
}

#endif
