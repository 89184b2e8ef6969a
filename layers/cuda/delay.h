/* delay.h: keeping a GPU busy with nothing, so that what is enqueued meanwhile then runs without gaps: for measuring. */
#ifndef TSR_LAYERS_CUDA_DELAY_H
#define TSR_LAYERS_CUDA_DELAY_H

#include "layers/cuda/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Enqueues a kernel that ends after so many seconds. */
tsr_status tsr_cuda_delay(double seconds, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
