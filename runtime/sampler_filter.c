/* sampler_filter.c: how many of the best candidates stay, and which of those is drawn. */
#include "runtime/sampler_filter.h"

#include "runtime/sampler_candidates.h"
#include "runtime/sampler_scan.h"

#include <math.h>

/* Difference to the best, in units of the temperature: <= 0. */
static double gap(const tsr_row_plan *plan, const uint64_t *keys, int32_t i)
{
    return ((double)tsr_candidate_logit(keys[i]) - tsr_candidate_logit(keys[0])) * plan->scale;
}

static int32_t list_length(const uint64_t *keys, int32_t most)
{
    int32_t n = 0;
    while (n < most && keys[n] != 0) n++;
    return n;
}

/* The fewest of the n best whose mass reaches `wanted`; *reached tells whether it did. */
static int32_t nucleus(const tsr_row_plan *plan, const uint64_t *keys, int32_t n, double wanted,
                       bool *reached)
{
    double mass = 0;
    for (int32_t i = 0; i < n; i++) {
        mass += exp(gap(plan, keys, i));
        if (mass >= wanted) {
            *reached = true;
            return i + 1;
        }
    }
    return n;
}

static int32_t above_floor(const tsr_row_plan *plan, const uint64_t *keys, int32_t n, double floor,
                           bool *reached)
{
    int32_t i = 1;
    while (i < n && gap(plan, keys, i) >= floor) i++;
    *reached |= i < n;
    return i;
}

/* Length of what the filters leave, or 0 if the list ends before it does. */
static int32_t filter(const tsr_row_plan *plan, const tsr_row_digest *digest, const uint64_t *keys,
                      int32_t vocabulary)
{
    const tsr_sampling *s = &plan->row->sampling;
    int32_t n = list_length(keys, plan->n_candidates);
    bool all = n < plan->n_candidates || n >= vocabulary; /* the list holds every candidate there is */
    bool top_k = s->top_k > 0 && s->top_k < vocabulary;   /* then the list was made that long */
    if (top_k && n >= s->top_k) {
        n = s->top_k;
        all = true; /* what comes after does not count */
    }
    if (s->top_p < 1) {
        double mass = digest->draw_sum;
        if (top_k) {
            mass = 0;
            for (int32_t i = 0; i < n; i++) mass += exp(gap(plan, keys, i));
        }
        n = nucleus(plan, keys, n, s->top_p * mass, &all);
    }
    if (s->min_p > 0) n = above_floor(plan, keys, n, log(s->min_p), &all);
    return all ? n : 0;
}

bool tsr_filter_draw(const tsr_row_plan *plan, const tsr_row_digest *digest, const uint64_t *keys,
                     int32_t vocabulary, uint64_t *key)
{
    int32_t n = filter(plan, digest, keys, vocabulary);
    double best = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        double score = gap(plan, keys, i) + tsr_scan_noise(plan->key, tsr_candidate_id(keys[i]));
        if (score > best) {
            best = score;
            *key = keys[i];
        }
    }
    return n > 0;
}
