/* async_copy.cuh: copies of 16 bytes from global to shared memory that run while the thread goes on. */
#ifndef TSR_LAYERS_CUDA_KERNELS_ASYNC_COPY_CUH
#define TSR_LAYERS_CUDA_KERNELS_ASYNC_COPY_CUH

#include <stdint.h>

/* `bytes`: 16, or 0 to fill the place with zeros (`from` is then not read). */
static __device__ __forceinline__ void tsr_copy_async(void *shared, const void *from, int bytes)
{
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
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
