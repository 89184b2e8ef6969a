/* step_block.h: a step on its way to the GPU: one block, one copy.
 *
 * Where each array lies in the block follows from the bounds alone, so that a graph captured for those bounds finds
 * every later step of the same bounds in the same places; only the page tables, which come last, vary in length.
 * Two pinned images are filled in turn. Local. Capacity is fixed at creation.
 */
#ifndef TSR_RUNTIME_CUDA_STEP_BLOCK_H
#define TSR_RUNTIME_CUDA_STEP_BLOCK_H

#include "layers/cuda/cuda_kernel.h"
#include "layers/rope.h"

typedef struct tsr_step_block tsr_step_block;

typedef struct tsr_step_block_limits {
    int32_t max_tokens, max_sequences, max_rows;
    int64_t max_pages; /* of all sequences of a step together */
    const tsr_rope *ropes;
    int64_t n_ropes;
} tsr_step_block_limits;

tsr_status tsr_step_block_create(const tsr_step_block_limits *limits, tsr_step_block **out);
void tsr_step_block_destroy(tsr_step_block **block);

/* How large the launches of a step are made: at least the step's counts. */
typedef struct tsr_step_bounds {
    int32_t tokens, sequences, rows;
} tsr_step_bounds;

/* Sets the device pointers and bounds of *out (nothing else of it) as they are for these bounds. */
void tsr_step_block_bind(const tsr_step_block *block, tsr_step_bounds bounds, tsr_cuda_step *out);

/* Fills an image with the step and enqueues its copy. The caller waits for the step before the one after next. */
tsr_status tsr_step_block_send(tsr_step_block *block, const tsr_step *step, tsr_step_bounds bounds,
                               cudaStream_t stream);

#endif
