/* support_gpu.h: what the tests of the CUDA backend share: skipping where there is no GPU, device copies of arrays. */
#ifndef TSR_TESTS_GPU_SUPPORT_GPU_H
#define TSR_TESTS_GPU_SUPPORT_GPU_H

#include "layers/cpu/cpu_kernels.h"
#include "layers/cuda/cuda_kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TSR_TEST_SKIPPED = 77 };

/* Ends the test program as skipped unless there are `wanted` GPUs. */
static inline void need_gpus(int wanted)
{
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess && n >= wanted) return;
    printf("SKIPPED: this test needs %d GPU%s, found %d\n", wanted, wanted > 1 ? "s" : "", n);
    exit(TSR_TEST_SKIPPED);
}

static inline void cuda_ok(cudaError_t error)
{
    if (error != cudaSuccess) fail_msg("CUDA: %s", cudaGetErrorString(error));
}

/* What kernels are held against: those of the CPU that round nothing but what is stored. */
static inline const tsr_cpu_kernels *reference_kernels(void)
{
    const tsr_cpu_kernels *best = tsr_cpu_kernels_named("avx512");
    if (!best) best = tsr_cpu_kernels_named("avx2");
    return best ? best : tsr_cpu_kernels_named("portable");
}

/* Complete when it returns: a copy from memory that is not pinned may still be on its way when cudaMemcpy returns, and the
 * streams of tests do not wait for it. `host` NULL: filled with 0xFF, which is NaN in every number format. */
static inline void *to_device(const void *host, size_t bytes)
{
    void *p;
    cuda_ok(cudaMalloc(&p, bytes + 256));
    if (host)
        cuda_ok(cudaMemcpy(p, host, bytes, cudaMemcpyHostToDevice));
    else
        cuda_ok(cudaMemset(p, 0xFF, bytes));
    cuda_ok(cudaDeviceSynchronize());
    return p;
}

static inline void to_host(void *host, const void *device, size_t bytes)
{
    cuda_ok(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
}

#endif
