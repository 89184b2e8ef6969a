/* gpu.h: this rank's GPU: one rank, one GPU, chosen by the rank's number on its node.
 *
 * A build without CUDA has all of this too: there is then never a GPU, and asking for one says so.
 */
#ifndef TSR_RUNTIME_GPU_H
#define TSR_RUNTIME_GPU_H

#include "layers/graph.h"
#include "parallel/world.h"
#include "runtime/executor.h"

typedef struct tsr_gpu tsr_gpu;

/* What `--device` means here. "cpu": *out NULL. "cuda": this rank's GPU, or a failure. "auto": a GPU if there is any
 * on every rank's node, else *out NULL. TSR_ERR_USAGE: no GPU, fewer GPUs than ranks on this node (one line with both
 * numbers), or not built in; TSR_ERR_DEVICE: CUDA's own words. Collective. */
tsr_status tsr_gpu_open(tsr_world *world, const char *device, tsr_gpu **out);
void tsr_gpu_close(tsr_gpu **gpu);

/* Collective: the communicator of a step of up to max_tokens rows of `cols` values, which one rank does not need, and how
 * long a step may take at most (0: 60 s) before TSR_ERR_DEADLINE. */
tsr_status tsr_gpu_connect(tsr_gpu *gpu, tsr_world *world, int64_t max_tokens, int64_t cols,
                           double deadline_seconds);

typedef struct tsr_gpu_info {
    const char *name; /* "NVIDIA H200" */
    int device;
    int64_t total_bytes, free_bytes; /* free: when it was opened */
} tsr_gpu_info;
tsr_gpu_info tsr_gpu_get_info(const tsr_gpu *gpu);

/* Bytes per second of a large copy within the GPU, read and written: the ceiling of a decode step. Local; blocking. */
tsr_status tsr_gpu_bandwidth(tsr_gpu *gpu, double *out);

/* Bytes that an executor of these options takes on the GPU beside its cache: weights, values, workspace. Local. */
tsr_status tsr_gpu_measure(const tsr_gpu *gpu, const tsr_model *local, const tsr_executor_options *options,
                           tsr_executor_sizes *out);

#endif
