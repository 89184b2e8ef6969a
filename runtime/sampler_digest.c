/* sampler_digest.c: the passes over a part of a row that its plan asks for. */
#include "runtime/sampler_digest.h"

#include "runtime/sampler_candidates.h"
#include "runtime/sampler_scan.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* A part of a row: n values, whose ids begin at first_id. */
typedef struct row_part {
    const float *x;
    int64_t n;
    int32_t first_id;
} row_part;

/* Copies the part, divides or multiplies the values of ids seen before, and adds the terms. Finite logits stay finite,
 * but for those of banned ids, whose probability becomes 0. */
static void alter(const tsr_row_plan *plan, row_part *part, float *copy)
{
    const tsr_sample_row *row = plan->row;
    float p = row->sampling.repetition_penalty;
    memcpy(copy, part->x, (size_t)part->n * sizeof *copy);
    for (int32_t i = 0; i < row->n_seen && plan->penalised; i++) {
        int64_t at = (int64_t)row->seen[i] - part->first_id;
        if (at < 0 || at >= part->n || copy[at] == -INFINITY) continue;
        float l = copy[at] > 0 ? copy[at] / p : copy[at] * p;
        copy[at] = l > FLT_MAX ? FLT_MAX : l < -FLT_MAX ? -FLT_MAX : l;
    }
    for (int32_t i = 0; i < row->n_terms; i++) {
        int64_t at = (int64_t)row->terms[i].id - part->first_id;
        if (at >= 0 && at < part->n)
            copy[at] += row->terms[i].bias; /* no term is so large that it could overflow */
    }
    for (int32_t i = 0; i < row->n_banned; i++) {
        int64_t at = (int64_t)row->banned[i] - part->first_id;
        if (at >= 0 && at < part->n) copy[at] = -INFINITY;
    }
    part->x = copy;
}

/* What drawing a token needs. max: of the part, with a finite value. */
static void digest_draw(const tsr_row_plan *plan, const row_part *part, tsr_scan_best max, tsr_row_digest *d)
{
    tsr_scan_best best = max;
    d->draw_max = max.value;
    d->score = max.value;
    if (!plan->greedy && !plan->filtered) {
        best = tsr_scan_race(part->x, part->n, max.value, plan->scale, plan->key, part->first_id);
        d->score = (double)max.value * plan->scale + best.value;
    }
    d->id = part->first_id + (int32_t)best.index;
    d->value = part->x[best.index];
    if (plan->draw_sum) d->draw_sum = tsr_scan_sum_exp(part->x, part->n, max.value, plan->scale);
}

static float target_logit(const tsr_row_plan *plan, const row_part *part)
{
    int64_t at = (int64_t)plan->row->target - part->first_id;
    bool here = plan->scored && at >= 0 && at < part->n;
    return here ? part->x[at] : -INFINITY;
}

void tsr_digest_part(const tsr_row_plan *plan, int32_t first_id, int64_t begin, int64_t n,
                     const tsr_digest_scratch *scratch, void *message)
{
    row_part part = {plan->logits + (n > 0 ? begin : 0), n, first_id + (int32_t)begin};
    tsr_row_digest *d = tsr_message_digest(message, plan);
    bool bad;
    tsr_scan_best max = tsr_scan_max(part.x, n, &bad);
    *d = (tsr_row_digest){.raw_max = max.value,
                          .draw_max = -INFINITY,
                          .score = -INFINITY,
                          .target = target_logit(plan, &part),
                          .id = -1,
                          .bad = bad};
    if (bad || max.index < 0) part.n = 0; /* nothing to find: the row fails, or this part has probability 0 */
    if (plan->raw_sum && part.n > 0) d->raw_sum = tsr_scan_sum_exp(part.x, part.n, max.value, 1);
    tsr_candidates_select(part.x, part.n, part.first_id, plan->n_top, scratch->keys,
                          tsr_message_top(message, plan));
    if (plan->altered && part.n > 0) {
        alter(plan, &part, scratch->values);
        max = tsr_scan_max(part.x, part.n, &bad);
        if (max.index < 0) part.n = 0; /* all are banned */
    }
    if (plan->draws && part.n > 0) digest_draw(plan, &part, max, d);
    tsr_candidates_select(part.x, part.n, part.first_id, plan->n_candidates, scratch->keys,
                          tsr_message_candidates(message, plan));
}
