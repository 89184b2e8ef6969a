/* delay.cu: one thread that looks at the clock. */
#include "layers/cuda/delay.h"
#include "layers/cuda/device.cuh"

static __global__ void wait_until_late(unsigned long long nanoseconds)
{
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
    do asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    while (now - begin < nanoseconds);
}

tsr_status tsr_cuda_delay(double seconds, cudaStream_t stream)
{
    wait_until_late<<<1, 1, 0, stream>>>((unsigned long long)(seconds * 1e9));
    return tsr_cuda_check(cudaGetLastError(), "a delay");
}
