/* gpu_internal.h: what the files of runtime/cuda/ know of a GPU. */
#ifndef TSR_RUNTIME_CUDA_GPU_INTERNAL_H
#define TSR_RUNTIME_CUDA_GPU_INTERNAL_H

#include "layers/cuda/cuda_kernel.h"
#include "parallel/cuda/wait_pace.h"
#include "runtime/gpu.h"

struct tsr_gpu {
    tsr_gpu_info info;
    char name[256];
    int n_processors;
    bool overlaps; /* knows programmatic dependent launch */
    cudaStream_t stream;
    struct tsr_cuda_gemm *gemm;
    tsr_cuda_comm *comm; /* NULL on one rank */
    double deadline;     /* seconds of one wait */
    tsr_wait_pace pace;
    bool lost; /* a step did not end: what it uses must not be freed, which would wait for it */
};

/* Waits until what was enqueued on the GPU's stream has run, looking after the other ranks meanwhile. `event` has been
 * recorded behind it. TSR_ERR_DEVICE, TSR_ERR_RANK_LOST, TSR_ERR_DEADLINE. */
tsr_status tsr_gpu_wait(tsr_gpu *gpu, cudaEvent_t event);

#endif
