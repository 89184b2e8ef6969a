/* sampler_candidates.h: the best ids of a row as sorted lists of keys.
 *
 * A key holds a logit and its id in 64 bits, made so that comparing keys as numbers orders by logit, and
 * equal logits by id, the lowest first. No two keys of a row are equal, and 0 is no key: it pads lists that
 * are shorter than asked for. The C best of a whole are among the C best of each of its parts, so a list of
 * parts, threads or ranks is merged from theirs, and exact. Local.
 */
#ifndef TSR_RUNTIME_SAMPLER_CANDIDATES_H
#define TSR_RUNTIME_SAMPLER_CANDIDATES_H

#include <stdint.h>
#include <string.h>

static inline uint64_t tsr_candidate(float logit, int32_t id)
{
    uint32_t bits;
    logit += 0.0f; /* -0 becomes +0, which it equals */
    memcpy(&bits, &logit, 4);
    bits ^= bits >> 31 ? UINT32_MAX : UINT32_C(1) << 31;
    return (uint64_t)bits << 32 | (UINT32_MAX - (uint32_t)id);
}

static inline int32_t tsr_candidate_id(uint64_t key)
{
    return (int32_t)(UINT32_MAX - (uint32_t)key);
}

static inline float tsr_candidate_logit(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float logit;
    bits ^= bits >> 31 ? UINT32_C(1) << 31 : UINT32_MAX;
    memcpy(&logit, &bits, 4);
    return logit;
}

/* Keys that tsr_candidates_select needs room for. */
static inline int64_t tsr_candidates_scratch(int64_t count)
{
    return 2 * count + 1;
}

/* The `count` best of x [n], whose ids begin at first_id, into list [count], best first, padded with 0.
 * Values of -infinity are left out; there must be no NaN. scratch: [tsr_candidates_scratch(count)]. */
void tsr_candidates_select(const float *x, int64_t n, int32_t first_id, int64_t count, uint64_t *scratch,
                           uint64_t *list);

/* Merges sorted lists [count], list i at lists + i*stride bytes, into out [count]. at: scratch [n_lists]. */
void tsr_candidates_merge(const void *lists, int64_t stride, int n_lists, int64_t count, int64_t *at,
                          uint64_t *out);

#endif
