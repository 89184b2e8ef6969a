/* fill.h: made-up weights, written on the device.
 *
 * The numbers are those that runtime/weights.c makes on the CPU for the same seed: element k of the matrix with index
 * `weight` is (u - 1) * 0.0346, u in [0, 2) the upper 24 bits of a hash of seed, weight and k; rounded to nearest. Both
 * enqueue on `stream` and return; `data` is device memory.
 */
#ifndef TSR_LAYERS_CUDA_FILL_H
#define TSR_LAYERS_CUDA_FILL_H

#include "layers/cuda/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Elements first .. first + n - 1 of the weight go to data[0 .. n - 1]; dtype float32, float16 or bfloat16. */
tsr_status tsr_cuda_random_fill(void *data, tsr_dtype dtype, int64_t first, int64_t n, uint64_t seed,
                                int64_t weight, cudaStream_t stream);

/* n times the same number: norm scales (1) and biases (0) of made-up weights. */
tsr_status tsr_cuda_constant_fill(float *data, float value, int64_t n, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
