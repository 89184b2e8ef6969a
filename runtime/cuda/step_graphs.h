/* step_graphs.h: decode steps as CUDA graphs, one for each bucket of sizes.
 *
 * A step that only decodes is run at the next bucket's size. The first one of a bucket is enqueued call by call, which
 * also loads the kernels and connects the ranks; the second is captured, collectives included; from then on it is one
 * launch. All ranks see the same steps, so all capture at the same time. Local but for what is enqueued.
 */
#ifndef TSR_RUNTIME_CUDA_STEP_GRAPHS_H
#define TSR_RUNTIME_CUDA_STEP_GRAPHS_H

#include "base/status.h"

#include <cuda_runtime_api.h>
#include <stdint.h>

typedef struct tsr_step_graphs tsr_step_graphs;

tsr_status tsr_step_graphs_create(tsr_step_graphs **out);
void tsr_step_graphs_destroy(tsr_step_graphs **graphs);

enum { TSR_GRAPH_MOST = 512 }; /* sequences of the largest bucket */

/* The bucket of a decode step of n sequences: its bound, n <= bound; 0 if n is more than the largest. */
int32_t tsr_step_graphs_bound(int32_t n);

/* Runs what `enqueue` enqueues on `stream`, as described above. */
tsr_status tsr_step_graphs_run(tsr_step_graphs *graphs, int32_t bound, cudaStream_t stream,
                               tsr_status (*enqueue)(void *ctx, int32_t bound), void *ctx);

#endif
