/* step_profile.h: where the time of a step goes on a GPU.
 *
 * Of the steps of a kind (prefill, decode) every other one is measured stage by stage: call by call, without graphs and
 * overlap, with an event behind each call, behind a delay that lets the host enqueue it all; the others run as they
 * always do, with an event before and behind. All ranks see the same steps and so measure the same ones. Local.
 */
#ifndef TSR_RUNTIME_CUDA_STEP_PROFILE_H
#define TSR_RUNTIME_CUDA_STEP_PROFILE_H

#include "layers/cuda/cuda_kernel.h"
#include "runtime/stage.h"

typedef struct tsr_step_profile tsr_step_profile;

/* graph: whose nodes are the calls. alone: there is one rank. */
tsr_status tsr_step_profile_create(const tsr_graph *graph, int value_bytes, bool alone,
                                   tsr_step_profile **out);
void tsr_step_profile_destroy(tsr_step_profile **profile);

/* Before anything of a step is enqueued. *staged: it is to be enqueued call by call, with a mark behind each. */
tsr_status tsr_step_profile_begin(tsr_step_profile *p, const tsr_step *step, cudaStream_t stream,
                                  bool *staged);
/* Of a staged step: call i is enqueued (-1: the first comes now); n_calls: so is the sampling. */
tsr_status tsr_step_profile_mark(tsr_step_profile *p, int64_t i, cudaStream_t stream);
/* The step is enqueued. */
tsr_status tsr_step_profile_end(tsr_step_profile *p, cudaStream_t stream);
/* It has run: its times are added up. No other has begun. */
tsr_status tsr_step_profile_add(tsr_step_profile *p);

const tsr_profile *tsr_step_profile_get(const tsr_step_profile *p); /* [TSR_PROFILE_KINDS] */
void tsr_step_profile_reset(tsr_step_profile *p);

#endif
