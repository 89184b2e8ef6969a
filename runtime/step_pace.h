/* step_pace.h: how many tokens of prompts a step may take beside sequences that decode, so that these go on evenly.
 *
 * Whoever waits for tokens sees the steps: the time between two tokens of a text is what a step takes. So while anything
 * decodes a step may take, by prediction (step_cost.h),
 *
 *     limit = max(TSR_STEP_PACE_MOST * max(usual, bare), TSR_STEP_PACE_SLACK * least)
 *
 *     usual   what steps take in which something decodes: TSR_STEP_PACE_PART of the tokens of the last
 *             TSR_STEP_PACE_STEPS such steps came after that time or earlier. A quantile of their seconds, that is, each
 *             counted as often as it had sequences that decode; of the seconds that their work takes by prediction, as
 *             this was when they had been measured, since what else held them up says nothing of the prompts' part
 *     bare    the prediction for the sequences that decode in this step, with no prompt
 *     least   the prediction with TSR_STEP_PACE_LEAST tokens of prompts, which may always be had
 *
 * Where prompts are rare, what is usual is steps without them, and prompts are read in small pieces. Where they keep
 * coming, most steps are at the limit; what is usual rises and with it the limit, up to the whole budget of tokens: what
 * is done in all is then what is done without pacing. A quantile somewhat below the median is taken because where about
 * half of the steps have prompts the median itself jumps between short and long ones. Many steps are looked at because
 * what comes and goes faster than a limit can follow is what it is to smooth. Where the smallest piece already breaks the
 * limit, few steps that do so are better than many, so it is raised a little.
 *
 * Without a history (fewer than TSR_STEP_PACE_FEWEST steps) or with nothing that decodes there is no limit.
 *
 *     tsr_step_pace_begin(pace, work);                what decodes in the step to be planned
 *     n = tsr_step_pace_allows(pace, work, ...);      for each prompt in turn; the work grows by what is taken
 *     tsr_step_pace_measured(pace, work, seconds);    what a step took, perhaps after the next was planned
 *
 * Local to rank 0; no clock of its own; not thread-safe; create alone allocates.
 */
#ifndef TSR_RUNTIME_STEP_PACE_H
#define TSR_RUNTIME_STEP_PACE_H

#include "runtime/step_cost.h"

#include <stdbool.h>

enum {
    TSR_STEP_PACE_STEPS = 512,
    TSR_STEP_PACE_FEWEST = 8,
    TSR_STEP_PACE_LEAST = 16, /* tokens of prompts in a step */
    TSR_STEP_PACE_TILE = 16   /* kernels work on so many tokens at a time */
};
#define TSR_STEP_PACE_MOST  1.7
#define TSR_STEP_PACE_PART  0.4
#define TSR_STEP_PACE_SLACK 1.2

typedef struct tsr_step_pace tsr_step_pace;

tsr_status tsr_step_pace_create(tsr_step_pace **out);
void tsr_step_pace_destroy(tsr_step_pace **pace);

/* A step is to be planned in which these sequences decode: `work` has no tokens of prompts. */
void tsr_step_pace_begin(tsr_step_pace *pace, const tsr_step_work *work);

/* Of `wanted` tokens of a prompt from a position on, how many the step may take beside its work so far; every_row: each
 * has a row. All, or so many that the step's tokens are a multiple of TSR_STEP_PACE_TILE, where that takes away little. */
int32_t tsr_step_pace_allows(const tsr_step_pace *pace, const tsr_step_work *work, int32_t position,
                             int32_t wanted, bool every_row);

void tsr_step_pace_measured(tsr_step_pace *pace, const tsr_step_work *work, double seconds);

/* Seconds that the step begun last may take; INFINITY: as many as it likes. */
double tsr_step_pace_limit(const tsr_step_pace *pace);

#endif
