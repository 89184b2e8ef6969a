/* sampler_message.c: layout of messages, and merging them. */
#include "runtime/sampler_message.h"

#include "runtime/sampler_candidates.h"

#include <math.h>

int64_t tsr_message_row_bytes(const tsr_row_plan *plan)
{
    return (int64_t)sizeof(tsr_row_digest) +
           ((int64_t)plan->n_top + plan->n_candidates) * (int64_t)sizeof(uint64_t);
}

tsr_row_digest *tsr_message_digest(void *message, const tsr_row_plan *plan)
{
    return (tsr_row_digest *)((char *)message + plan->offset);
}

uint64_t *tsr_message_top(void *message, const tsr_row_plan *plan)
{
    return (uint64_t *)(tsr_message_digest(message, plan) + 1);
}

uint64_t *tsr_message_candidates(void *message, const tsr_row_plan *plan)
{
    return tsr_message_top(message, plan) + plan->n_top;
}

/* Adds a sum of exp((l - max) * scale) to one that belongs to another maximum. */
static void add_sum(double *sum, float *max, double more, float more_max, double scale)
{
    if (more_max > *max) {
        *sum = *max == -INFINITY ? more : more + *sum * exp(((double)*max - more_max) * scale);
        *max = more_max;
    } else if (more_max > -INFINITY) {
        *sum += more * exp(((double)more_max - *max) * scale);
    }
}

static void merge_digest(tsr_row_digest *d, const tsr_row_digest *more, const tsr_row_plan *plan)
{
    add_sum(&d->raw_sum, &d->raw_max, more->raw_sum, more->raw_max, 1);
    add_sum(&d->draw_sum, &d->draw_max, more->draw_sum, more->draw_max, plan->scale);
    if (more->target > d->target) d->target = more->target;
    if (more->id >= 0 &&
        (d->id < 0 || more->score > d->score || (more->score == d->score && more->id < d->id))) {
        d->id = more->id;
        d->score = more->score;
        d->value = more->value;
    }
    d->bad |= more->bad;
}

void tsr_message_merge(const void *messages, int64_t stride, int n_messages, const tsr_row_plan *const *plans,
                       int32_t n_rows, int64_t *at, void *out)
{
    for (int32_t r = 0; r < n_rows; r++) {
        const tsr_row_plan *plan = plans[r];
        void *first = (char *)(uintptr_t)messages;
        tsr_row_digest *digest = tsr_message_digest(out, plan);
        *digest = *tsr_message_digest(first, plan);
        for (int i = 1; i < n_messages; i++)
            merge_digest(digest, tsr_message_digest((char *)first + i * stride, plan), plan);
        tsr_candidates_merge(tsr_message_top(first, plan), stride, n_messages, plan->n_top, at,
                             tsr_message_top(out, plan));
        tsr_candidates_merge(tsr_message_candidates(first, plan), stride, n_messages, plan->n_candidates, at,
                             tsr_message_candidates(out, plan));
    }
}
