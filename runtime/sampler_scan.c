/* sampler_scan.c: block loops for the sampler, in one source for every instruction set.
 *
 * Each pass is an always-inline body; TSR_SCAN_SET wraps all bodies in functions with one target attribute,
 * into which the compiler inlines and vectorises them. Loops are elementwise over a whole block, with
 * accumulators as wide as a block or integer flags, since both compilers vectorise those under strict
 * floating point rules. The tail of a row is copied into a block padded with -infinity, so that every value
 * goes through the same arithmetic wherever a row is cut.
 */
#include "runtime/sampler_scan.h"

#include "base/gumbel.h"

#include <math.h>
#include <string.h>

#define BODY static inline __attribute__((always_inline))
enum { BLOCK = TSR_SCAN_BLOCK };

/* Whether x + noise may exceed `best`. As E >= u, it needs u < exp(x - best); and 2^(n + f) <= 2^n (1 + f),
 * which is the float whose bits are (n + f + 127) 2^23. So no logarithm is needed to rule most ids out. */
BODY bool may_win(float x, float best, uint64_t key, uint32_t id)
{
    float t = (x - best) * 1.44269504f + 127.0001f; /* a little more, for rounding */
    t = tsr_either(t > 0, t, 0);
    t = tsr_either(t < 128, t, 128);
    return tsr_uniform_of(key, id) < tsr_bits_to_float((uint32_t)(int32_t)(t * 0x1p23f));
}

/* The block at x, or a padded copy where fewer than BLOCK values are left. */
BODY const float *block_at(const float *x, int64_t left, float *copy)
{
    if (left >= BLOCK) return x;
    for (int i = 0; i < BLOCK; i++) copy[i] = -INFINITY;
    memcpy(copy, x, (size_t)left * sizeof *x);
    return copy;
}

BODY bool any_above_body(const float *x, float threshold)
{
    int any = 0;
    for (int j = 0; j < BLOCK; j++) any |= x[j] > threshold;
    return any != 0;
}

BODY float max_body(const float *x, int64_t n, bool *bad)
{
    float copy[BLOCK], most[BLOCK];
    int odd = 0;
    for (int j = 0; j < BLOCK; j++) most[j] = -INFINITY;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const float *b = block_at(x + i, n - i, copy);
        for (int j = 0; j < BLOCK; j++) most[j] = b[j] > most[j] ? b[j] : most[j];
        for (int j = 0; j < BLOCK; j++) odd |= !(b[j] <= 3.402823466e38f);
    }
    float max = -INFINITY;
    for (int j = 0; j < BLOCK; j++) max = most[j] > max ? most[j] : max;
    *bad = odd != 0;
    return max;
}

BODY int64_t find_body(const float *x, int64_t n, float value)
{
    float copy[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        const float *b = block_at(x + i, n - i, copy);
        int any = 0;
        for (int j = 0; j < BLOCK; j++) any |= b[j] == value;
        for (int j = 0; any && j < BLOCK; j++)
            if (b[j] == value) return i + j;
    }
    return -1;
}

BODY double sum_exp_body(const float *x, int64_t n, float shift, float scale)
{
    float copy[BLOCK];
    double sum[BLOCK] = {0}, total = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const float *b = block_at(x + i, n - i, copy);
        for (int j = 0; j < BLOCK; j++) sum[j] += (double)tsr_exp_of((b[j] - shift) * scale);
    }
    for (int j = 0; j < BLOCK; j++) total += sum[j];
    return total;
}

BODY tsr_scan_best race_body(const float *x, int64_t n, float shift, float scale, uint64_t key,
                             int32_t first_id)
{
    float copy[BLOCK], score[BLOCK];
    tsr_scan_best best = {-INFINITY, -1};
    for (int64_t i = 0; i < n; i += BLOCK) {
        const float *b = block_at(x + i, n - i, copy);
        uint32_t id = (uint32_t)first_id + (uint32_t)i;
        int hopeful = 0;
        for (int j = 0; j < BLOCK; j++)
            hopeful |= may_win((b[j] - shift) * scale, best.value, key, id + (uint32_t)j);
        if (!hopeful) continue;
        for (int j = 0; j < BLOCK; j++)
            score[j] = (b[j] - shift) * scale + tsr_gumbel_of(key, id + (uint32_t)j);
        for (int j = 0; j < BLOCK; j++)
            if (score[j] > best.value) best = (tsr_scan_best){score[j], i + j};
    }
    return best;
}

/* ---- One function for each pass and instruction set ---- */

typedef struct scan_set {
    float (*max)(const float *, int64_t, bool *);
    int64_t (*find)(const float *, int64_t, float);
    double (*sum_exp)(const float *, int64_t, float, float);
    tsr_scan_best (*race)(const float *, int64_t, float, float, uint64_t, int32_t);
    bool (*any_above)(const float *, float);
} scan_set;

#define TSR_SCAN_SET(isa, target)                                                                            \
    target static float max_##isa(const float *x, int64_t n, bool *bad)                                      \
    {                                                                                                        \
        return max_body(x, n, bad);                                                                          \
    }                                                                                                        \
    target static int64_t find_##isa(const float *x, int64_t n, float value)                                 \
    {                                                                                                        \
        return find_body(x, n, value);                                                                       \
    }                                                                                                        \
    target static double sum_exp_##isa(const float *x, int64_t n, float shift, float scale)                  \
    {                                                                                                        \
        return sum_exp_body(x, n, shift, scale);                                                             \
    }                                                                                                        \
    target static tsr_scan_best race_##isa(const float *x, int64_t n, float shift, float scale,              \
                                           uint64_t key, int32_t first_id)                                   \
    {                                                                                                        \
        return race_body(x, n, shift, scale, key, first_id);                                                 \
    }                                                                                                        \
    target static bool any_above_##isa(const float *x, float threshold)                                      \
    {                                                                                                        \
        return any_above_body(x, threshold);                                                                 \
    }                                                                                                        \
    static const scan_set set_##isa = {max_##isa, find_##isa, sum_exp_##isa, race_##isa, any_above_##isa};

TSR_SCAN_SET(portable, )
#if defined(__x86_64__)
TSR_SCAN_SET(avx2, __attribute__((target("avx2,fma"))))
#endif

static bool force_portable;

void tsr_scan_force_portable(bool force)
{
    force_portable = force;
}

static const scan_set *best_set(void)
{
#if defined(__x86_64__)
    if (!force_portable && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &set_avx2;
#endif
    return &set_portable;
}

tsr_scan_best tsr_scan_max(const float *x, int64_t n, bool *bad)
{
    tsr_scan_best best = {best_set()->max(x, n, bad), -1};
    if (best.value > -INFINITY) best.index = best_set()->find(x, n, best.value);
    return best;
}

double tsr_scan_sum_exp(const float *x, int64_t n, float shift, float scale)
{
    if (n == 0) return 0;
    /* The padding of the last block counts about 1e-38 each. */
    return best_set()->sum_exp(x, n, shift, scale);
}

tsr_scan_best tsr_scan_race(const float *x, int64_t n, float shift, float scale, uint64_t key,
                            int32_t first_id)
{
    return best_set()->race(x, n, shift, scale, key, first_id);
}

float tsr_scan_noise(uint64_t key, int32_t id)
{
    return tsr_gumbel_of(key, (uint32_t)id);
}

bool tsr_scan_any_above(const float *x, int64_t n, float threshold)
{
    if (n == TSR_SCAN_BLOCK) return best_set()->any_above(x, threshold);
    for (int64_t i = 0; i < n; i++)
        if (x[i] > threshold) return true;
    return false;
}
