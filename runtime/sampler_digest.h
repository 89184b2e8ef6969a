/* sampler_digest.h: what a part of a rank's logits says about a row. Local. */
#ifndef TSR_RUNTIME_SAMPLER_DIGEST_H
#define TSR_RUNTIME_SAMPLER_DIGEST_H

#include "runtime/sampler_message.h"

/* Of one thread. */
typedef struct tsr_digest_scratch {
    uint64_t *keys; /* [tsr_candidates_scratch(max(n_top, n_candidates))] */
    float *values;  /* [n] an altered copy */
} tsr_digest_scratch;

/* Writes the row's share of a message from its values [begin, begin + n), whose ids begin at first_id +
 * begin. */
void tsr_digest_part(const tsr_row_plan *plan, int32_t first_id, int64_t begin, int64_t n,
                     const tsr_digest_scratch *scratch, void *message);

#endif
