/* step_sampler.h: choosing the tokens of a step on this rank's GPU (layers/cuda/sample.h), and how they come back.
 *
 * Enqueued behind the step on its stream. At most two steps are under way: `turn` alternates between what each needs
 * on the host. The tokens chosen last also stay on the device, where the step after finds them.
 * Local but for what is enqueued; buffers are made at creation, except those for ids seen, biased and banned, which grow.
 */
#ifndef TSR_RUNTIME_CUDA_STEP_SAMPLER_H
#define TSR_RUNTIME_CUDA_STEP_SAMPLER_H

#include "layers/cuda/cuda_kernel.h"
#include "runtime/sampler.h"

typedef struct tsr_step_sampler tsr_step_sampler;

typedef struct tsr_step_sampler_limits {
    int32_t max_rows, vocabulary;
    int32_t first_id, n_local; /* of this rank's logits; n_local 0: other ranks have them all */
    tsr_cuda_comm *comm;       /* NULL: one rank */
} tsr_step_sampler_limits;

tsr_status tsr_step_sampler_create(const tsr_step_sampler_limits *limits, tsr_step_sampler **out);
void tsr_step_sampler_destroy(tsr_step_sampler **sampler);

/* Bytes that it takes on the GPU. */
int64_t tsr_step_sampler_bytes(const tsr_step_sampler_limits *limits);

/* Whether it can serve all of these rows: those that choose a token or score one, and ask for no list of others. */
bool tsr_step_sampler_takes(const tsr_sample_row *rows, int32_t n_rows);

/* logits: device memory [n_rows][ld], may be changed. Of the step, stream and n_processors count. `turn`: 0 or 1; what
 * was enqueued with it before has ended. */
tsr_status tsr_step_sampler_enqueue(tsr_step_sampler *sampler, float *logits, int64_t ld,
                                    const tsr_sample_row *rows, int32_t n_rows, int turn,
                                    const tsr_cuda_step *step);

/* Of what was enqueued with this turn and has ended; results: [n_rows], as many as there were. */
void tsr_step_sampler_results(const tsr_step_sampler *sampler, int turn, tsr_sample_result *results);

/* Device memory: [max_rows] the tokens chosen last, by row. */
const int32_t *tsr_step_sampler_tokens(const tsr_step_sampler *sampler);

#endif
