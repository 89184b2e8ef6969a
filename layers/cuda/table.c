/* table.c: the kernel of each op on a GPU, and the words of failures. */
#include "layers/cuda/cuda_kernel.h"
#include "layers/cuda/kernels.h"

const tsr_cuda_kernel tsr_cuda_kernels[TSR_OP_COUNT] = {
#define TSR_KERNEL_ROW(NAME, name, i0, i1, w0, w1, phases, shard) [TSR_OP_##NAME] = tsr_cuda_##name,
    TSR_OP_TABLE(TSR_KERNEL_ROW)
#undef TSR_KERNEL_ROW
};

tsr_status tsr_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return TSR_OK;
    return tsr_fail(error == cudaErrorMemoryAllocation ? TSR_ERR_MEMORY : TSR_ERR_DEVICE, "%s: %s", what,
                    cudaGetErrorString(error));
}
