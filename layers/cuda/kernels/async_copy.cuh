/* async_copy.cuh: copies of 16 bytes from global to shared memory that run while the thread goes on. */
#ifndef TSR_LAYERS_CUDA_KERNELS_ASYNC_COPY_CUH
#define TSR_LAYERS_CUDA_KERNELS_ASYNC_COPY_CUH

#include <stdint.h>

/* What is read once a step and should not drive what is read again out of the cache: weights. */
static __device__ __forceinline__ uint64_t tsr_read_once(void)
{
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* `bytes`: 16, or 0 to fill the place with zeros (`from` is then not read). `policy`: tsr_read_once(). */
static __device__ __forceinline__ void tsr_copy_async(void *shared, const void *from, int bytes, uint64_t policy)
{
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(to), "l"(from),
                 "r"(bytes), "l"(policy)
                 : "memory");
}

/* Ends a group of copies, which may be empty. */
static __device__ __forceinline__ void tsr_copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most `pending` of this thread's latest groups are under way. */
template <int pending> static __device__ __forceinline__ void tsr_copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

#endif
