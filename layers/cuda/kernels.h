/* kernels.h: the kernels of layers/cuda/kernels/, one file each: tsr_cuda_NAME enqueues op NAME (cuda_kernel.h). */
#ifndef TSR_LAYERS_CUDA_KERNELS_H
#define TSR_LAYERS_CUDA_KERNELS_H

#include "layers/cuda/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSR_KERNEL_DECLARE(NAME, name, i0, i1, w0, w1, phases, shard)                                        \
    tsr_status tsr_cuda_##name(const tsr_cuda_call *call, const tsr_cuda_step *step);
TSR_OP_TABLE(TSR_KERNEL_DECLARE)
#undef TSR_KERNEL_DECLARE

#ifdef __cplusplus
}
#endif

#endif
