/* logit_terms.h: what is added to single logits before a token is chosen: biases and counting penalties.
 *
 *     term_j = bias_j - frequency_penalty * c_j - presence_penalty * (c_j > 0)
 *
 * as OpenAI's interface has it, where c_j says how often token j stands among the new tokens of a sequence so far; its
 * prompt does not count. Computed in double and rounded once, from data that every rank has, so that it is the same on
 * every rank and device. Lists are sorted by id, each id once. Local.
 */
#ifndef TSR_RUNTIME_LOGIT_TERMS_H
#define TSR_RUNTIME_LOGIT_TERMS_H

#include "runtime/sampler.h"

typedef struct tsr_token_count {
    int32_t id, count;
} tsr_token_count;

/* Growing lists. Zero-initialize; free `items` with tsr_free. */
typedef struct tsr_token_counts {
    tsr_token_count *items; /* [n] */
    int64_t n, capacity;
} tsr_token_counts;

typedef struct tsr_term_list {
    tsr_logit_bias *items; /* [n] */
    int64_t n, capacity;
} tsr_term_list;

/* One more of this token. */
tsr_status tsr_token_counts_add(tsr_token_counts *counts, int32_t id);

/* Appends the terms of a sequence, at most one for each count and each bias. counts, biases: sorted. */
tsr_status tsr_logit_terms_append(tsr_term_list *list, const tsr_sampling *sampling,
                                  const tsr_token_count *counts, int32_t n_counts,
                                  const tsr_logit_bias *biases, int32_t n_biases);

/* Of terms [n] sorted by id: that of an id, 0 if it has none. */
float tsr_logit_term_of(const tsr_logit_bias *terms, int32_t n, int32_t id);

#endif
