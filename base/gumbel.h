/* gumbel.h: exp, log and standard Gumbel noise in single precision, the same formulas on CPUs and GPUs.
 *
 * Noise is a function of (key, id) alone (rng.h), so that a choice by it is the same wherever it is made. All functions
 * are pure and without branches, so that compilers turn loops over them into vector code. Compilers may contract a
 * multiplication and an addition; two machines then differ in the last bit.
 */
#ifndef TSR_BASE_GUMBEL_H
#define TSR_BASE_GUMBEL_H

#include "base/rng.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TSR_GUMBEL TSR_ANYWHERE static inline __attribute__((always_inline))

TSR_GUMBEL float tsr_bits_to_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

TSR_GUMBEL uint32_t tsr_float_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

/* c ? a : b without a branch, which strict floating point rules would keep from becoming vector code. */
TSR_GUMBEL float tsr_either(bool c, float a, float b)
{
    uint32_t mask = -(uint32_t)c;
    return tsr_bits_to_float((tsr_float_to_bits(a) & mask) | (tsr_float_to_bits(b) & ~mask));
}

/* exp(x) for x <= 0: x = n ln 2 + r, |r| <= ln 2 / 2, the Taylor series of exp(r) to r^7 (rest below 1e-8),
 * times 2^n. Below -87 the result is about 1e-38 instead of less: nothing beside the 1 of the largest value. */
TSR_GUMBEL float tsr_exp_of(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the integer in the low bits */
    x = tsr_either(x > -87.0f, x, -87.0f);
    float shifted = x * 1.44269504f + round;
    float n = shifted - round;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts, the first exact times n */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    return p * tsr_bits_to_float((tsr_float_to_bits(shifted) - tsr_float_to_bits(round) + 127) << 23);
}

/* log(x) for normal x > 0: x = 2^e m, m within [1/sqrt 2, sqrt 2), log m = 2 artanh(s), s = (m - 1) / (m + 1). */
TSR_GUMBEL float tsr_log_of(float x)
{
    const uint32_t root_half = 0x3F3504F3;
    uint32_t bits = tsr_float_to_bits(x) - root_half;
    float e = (float)((int32_t)bits >> 23);
    float m = tsr_bits_to_float((bits & 0x007FFFFF) + root_half);
    float s = (m - 1) / (m + 1), z = s * s;
    float p = 1.0f / 9;
    p = p * z + 1.0f / 7;
    p = p * z + 1.0f / 5;
    p = p * z + 1.0f / 3;
    return e * 0.693147181f + 2 * (s + s * z * p);
}

/* Uniform in (0, 1]. */
TSR_GUMBEL float tsr_uniform_of(uint64_t key, uint32_t id)
{
    return ((float)(int32_t)(tsr_noise32(key, id) >> 1) + 0.5f) * 0x1p-31f;
}

/* -log(E), E = -log(1 - u). Small u, which make the large values that win, keep their full relative precision. At most
 * 22.3. */
TSR_GUMBEL float tsr_gumbel_of(uint64_t key, uint32_t id)
{
    float u = tsr_uniform_of(key, id), rest = 1 - u;
    float series = u * (1 + u * (0.5f + u * (1.0f / 3 + u * 0.25f)));
    float exact = -tsr_log_of(tsr_either(rest > 1e-8f, rest, 1e-8f)); /* u rounds to 1 at its upper end */
    return -tsr_log_of(tsr_either(u < 1.0f / 64, series, exact));
}

#endif
