/* step_cost.h: what a step will take, learnt from what steps took.
 *
 * A step's work is told by a few numbers, and the seconds it takes are taken to be
 *
 *     seconds = w0 + w1 rows + w2 prompt tokens + w3 attended,     each w >= 0
 *
 * w0: weights are streamed, ranks meet. w1: what every sequence that decodes and every row of output is worked on. w2: what
 * is done to each token. w3: looking at keys and values. The w are those of the least sum of squared relative errors over
 * the steps so far, where a step counts TSR_STEP_COST_DECAY times as much as the one after it, so that about the last
 * hundred matter:
 *
 *     minimum over w >= 0 of  sum over steps i of  DECAY^(n - i) (1 - w . x_i / seconds_i)^2
 *
 * Errors are relative so that short steps count like long ones, and one that was held up by something else counts for
 * little. A part that would become negative is left out. What the steps do not tell apart (as many tokens as rows, always)
 * is shared out, and near to the steps that were seen the prediction is right all the same.
 *
 * Steps with and without prompt tokens have their own w each: they may take other kernels, or be a captured graph or none;
 * and what is known of prompts is not forgotten while none come.
 *
 * Local, no clock, not thread-safe; create alone allocates.
 */
#ifndef TSR_RUNTIME_STEP_COST_H
#define TSR_RUNTIME_STEP_COST_H

#include "base/status.h"

#include <stdint.h>

#define TSR_STEP_COST_DECAY 0.99

typedef struct tsr_step_work {
    int32_t decoding; /* sequences that go on by one token */
    int32_t prompt;   /* tokens of prompts */
    int32_t rows;     /* of output */
    double attended;  /* positions that the tokens look at, added up */
} tsr_step_work;

/* One token, at a position (from 0), which looks at position + 1 positions and has a row. */
void tsr_step_work_add_decoding(tsr_step_work *work, int32_t position);
/* n tokens from a position on, and the rows that some of them have. */
void tsr_step_work_add_prompt(tsr_step_work *work, int32_t position, int32_t n, int32_t rows);

typedef struct tsr_step_cost tsr_step_cost;

tsr_status tsr_step_cost_create(tsr_step_cost **out);
void tsr_step_cost_destroy(tsr_step_cost **cost);

/* Seconds below a nanosecond, or no number, are passed over. */
void tsr_step_cost_learn(tsr_step_cost *cost, const tsr_step_work *work, double seconds);

/* 0 as long as nothing was learnt. Where steps of one kind alone were seen, what is known of these is taken. */
double tsr_step_cost_predict(const tsr_step_cost *cost, const tsr_step_work *work);

#endif
