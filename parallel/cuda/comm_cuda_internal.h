/* comm_cuda_internal.h: what the communicators of GPUs have in common. */
#ifndef TSR_PARALLEL_CUDA_COMM_CUDA_INTERNAL_H
#define TSR_PARALLEL_CUDA_COMM_CUDA_INTERNAL_H

#include "parallel/cuda/comm_cuda.h"
#include "parallel/cuda/wait_pace.h"
#include "parallel/world_internal.h"

enum { TSR_CUDA_FAILURE_BYTES = 512 };

/* Each implementation's object begins with this one. */
typedef struct tsr_cuda_comm_base {
    tsr_cuda_comm comm;
    tsr_world *world;
    double deadline, next_look;
    tsr_wait_pace pace;
    tsr_status failed; /* what ended this comm, with its text */
    char text[TSR_CUDA_FAILURE_BYTES];
    tsr_status (*check)(struct tsr_cuda_comm_base *self); /* a failure that is known already; cheap */
    void (*let_go)(struct tsr_cuda_comm_base *self); /* the GPU waits no longer, soon; may be called again */
    /* Which collective the GPU was let go from; 0: unknown. May take some milliseconds. */
    unsigned long long (*number)(struct tsr_cuda_comm_base *self);
    void (*destroy)(struct tsr_cuda_comm_base *self); /* frees the object itself */
} tsr_cuda_comm_base;

void tsr_cuda_comm_base_init(tsr_cuda_comm_base *base, const tsr_cuda_comm_ops *ops, tsr_world *world,
                             const tsr_cuda_comm_options *options);

/* Keeps `status` and this thread's error record as the end of the comm. Returns `status`. */
tsr_status tsr_cuda_comm_fail(tsr_cuda_comm_base *base, tsr_status status);
/* Has a rank of this node been lost? Reads /proc; the GPU is let go if so. */
tsr_status tsr_cuda_comm_look(tsr_cuda_comm_base *base);
/* As _look, for a few seconds: a rank that is being killed takes its time. */
tsr_status tsr_cuda_comm_look_hard(tsr_cuda_comm_base *base);

/* Collective, all ranks alike. ipc: *out == NULL with TSR_OK where the ranks cannot do it, and *why says why. */
tsr_status tsr_cuda_comm_ipc_create(tsr_world *world, const tsr_cuda_comm_options *options,
                                    tsr_cuda_comm **out, const char **why);
tsr_status tsr_cuda_comm_nccl_create(tsr_world *world, const tsr_cuda_comm_options *options,
                                     tsr_cuda_comm **out);

#endif
