/* weights_cuda.h: a rank's weights in GPU memory, streamed from a checkpoint or made at random.
 *
 * Every weight that a node uses lies in rows, as the checkpoint has it, in the wanted dtype (vectors in float32), all in
 * one block. The pool's threads read disjoint parts into pinned buffers, a few MiB each, whose copies to the GPU run
 * while the next parts are read: host memory does not grow with the model. Local; blocking. Errors name the tensor:
 * TSR_ERR_FORMAT, TSR_ERR_IO, TSR_ERR_MEMORY, TSR_ERR_DEVICE.
 */
#ifndef TSR_RUNTIME_CUDA_WEIGHTS_CUDA_H
#define TSR_RUNTIME_CUDA_WEIGHTS_CUDA_H

#include "base/pool.h"
#include "checkpoint/source.h"
#include "layers/cuda/cuda_kernel.h"
#include "layers/graph.h"
#include "runtime/weights_cache.h"

typedef struct tsr_cuda_weights tsr_cuda_weights;

typedef struct tsr_cuda_weights_sizes {
    int64_t bytes, linear_bytes; /* all; those of linears, which a decode step reads */
} tsr_cuda_weights_sizes;

/* What loading would take; nothing is read. */
tsr_status tsr_cuda_weights_measure(const tsr_model *local, tsr_dtype dtype, tsr_cuda_weights_sizes *out);

/* source NULL: the random weights of runtime/weights.h. cache NULL: none is kept. `device` must be this thread's
 * current one. */
tsr_status tsr_cuda_weights_load(const tsr_model *local, const tsr_source *source, tsr_weights_cache *cache,
                                 tsr_dtype dtype, uint64_t seed, tsr_pool *pool, int device,
                                 tsr_cuda_weights **out);
void tsr_cuda_weights_destroy(tsr_cuda_weights **w);

/* NULL for TSR_NONE, and for a weight no node uses. */
const tsr_cuda_weight *tsr_cuda_weights_get(const tsr_cuda_weights *w, tsr_weight weight);

#endif
