/* sampler_scan.h: passes over a part of a row of logits: the loops where the sampler's time goes.
 *
 * Written as loops over blocks of TSR_SCAN_BLOCK values that compilers turn into vector code, and compiled
 * for the instruction sets of the machine's family; the best one is chosen at run time. exp and log are
 * accurate to about 1e-7. x: [n] floats without NaN or +infinity (max tells); -infinity is a logit of
 * probability 0. n may be 0. Local, pure.
 */
#ifndef TSR_RUNTIME_SAMPLER_SCAN_H
#define TSR_RUNTIME_SAMPLER_SCAN_H

#include <stdbool.h>
#include <stdint.h>

enum { TSR_SCAN_BLOCK = 256 };

typedef struct tsr_scan_best {
    float value;   /* -infinity where nothing is finite */
    int64_t index; /* the first that has it; -1 where nothing is finite */
} tsr_scan_best;

/* The largest value. *bad: some value is NaN or +infinity. */
tsr_scan_best tsr_scan_max(const float *x, int64_t n, bool *bad);

/* Sum of exp((x - shift) * scale), where shift is at least the largest value and scale > 0; accumulated in
 * double. */
double tsr_scan_sum_exp(const float *x, int64_t n, float shift, float scale);

/* The largest of (x - shift) * scale + noise(key, first_id + i). */
tsr_scan_best tsr_scan_race(const float *x, int64_t n, float shift, float scale, uint64_t key,
                            int32_t first_id);

/* Standard Gumbel noise of an id: -log(-log(u)), u uniform from tsr_noise32(key, id). At most 22.3. */
float tsr_scan_noise(uint64_t key, int32_t id);

/* n <= TSR_SCAN_BLOCK. */
bool tsr_scan_any_above(const float *x, int64_t n, float threshold);

/* Tests: whether to use the portable loops even where better ones would run. Not while scans run. */
void tsr_scan_force_portable(bool force);

#endif
