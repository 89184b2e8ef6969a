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

/* What tsr_cuda_workspace_bytes answers for an attention call: room for partial results of its splits, bounded by the
 * number of processors and not by the steps. */
int64_t tsr_cuda_attention_workspace_bytes(const tsr_cuda_call *call, int64_t tokens, int64_t rows,
                                           int n_processors);

#ifdef __cplusplus
}
#endif

#endif
