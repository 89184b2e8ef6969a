/* sampler_message.h: what is known of rows of logits over a range of ids, and how ranges are put together.
 *
 * A message describes some rows over a part of the vocabulary: for each row, back to back, a tsr_row_digest,
 * n_top keys of the best raw logits, n_candidates keys of the best logits to draw from
 * (sampler_candidates.h). The messages of two disjoint ranges merge into that of their union, so a message of
 * a thread's part, of a rank, and of the whole vocabulary have one layout, and one function merges threads
 * into a rank and ranks into the whole. Local.
 */
#ifndef TSR_RUNTIME_SAMPLER_MESSAGE_H
#define TSR_RUNTIME_SAMPLER_MESSAGE_H

#include "runtime/sampler.h"

#include <stdint.h>

/* Raw: the logits as they are. Draw: after penalties and biases. A sum belongs to its maximum. */
typedef struct tsr_row_digest {
    double raw_sum;  /* of exp(l - raw_max); 0 where not wanted */
    double draw_sum; /* of exp((l - draw_max) / temperature); 0 where not wanted */
    double score;    /* of `id`: of the draw, or its logit if greedy */
    float raw_max, draw_max;
    float target; /* raw logit of the target where it is in the range, else -infinity */
    float value;  /* logit of `id` */
    int32_t id;   /* the best by score; -1: none */
    int32_t bad;  /* 1: NaN or +infinity among the logits */
} tsr_row_digest;

/* What to find out about a row: derived from a tsr_sample_row, the same on every rank. */
typedef struct tsr_row_plan {
    const tsr_sample_row *row;
    const float *logits; /* of this rank: [n_local] */
    bool scored;         /* the logit of the target is wanted */
    bool draws;          /* a token is to be chosen */
    bool greedy, penalised;
    bool altered;  /* penalised, or some ids have terms or are banned */
    bool filtered; /* top_k, top_p or min_p: draw from candidates */
    bool raw_sum;  /* wanted */
    bool draw_sum; /* wanted */
    float scale;   /* 1 / temperature, 1 if greedy */
    uint64_t key;  /* of the noise */
    int32_t n_top, n_candidates;
    int64_t offset; /* of the row in a message, bytes */
} tsr_row_plan;

int64_t tsr_message_row_bytes(const tsr_row_plan *plan);
tsr_row_digest *tsr_message_digest(void *message, const tsr_row_plan *plan);
uint64_t *tsr_message_top(void *message, const tsr_row_plan *plan);
uint64_t *tsr_message_candidates(void *message, const tsr_row_plan *plan);

/* Merges n_messages, `stride` bytes apart, into out. The ranges need no order. at: scratch [n_messages]. */
void tsr_message_merge(const void *messages, int64_t stride, int n_messages, const tsr_row_plan *const *plans,
                       int32_t n_rows, int64_t *at, void *out);

#endif
