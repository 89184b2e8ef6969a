/* sampler_filter.h: top_k, top_p and min_p, and the draw from what they leave, on a sorted list of
 * candidates. Local. */
#ifndef TSR_RUNTIME_SAMPLER_FILTER_H
#define TSR_RUNTIME_SAMPLER_FILTER_H

#include "runtime/sampler_message.h"

/* keys: [plan->n_candidates] the best of the whole vocabulary, padded with 0; at least one. digest: of the
 * whole. Returns false if the filters let pass more than the list holds (never if it holds `vocabulary` or is
 * padded). Else *key is the one drawn. */
bool tsr_filter_draw(const tsr_row_plan *plan, const tsr_row_digest *digest, const uint64_t *keys,
                     int32_t vocabulary, uint64_t *key);

#endif
