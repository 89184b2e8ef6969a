/* alibi.h: attention with linear biases (ALiBi): what a head adds to the score of a key by its distance.
 *
 * Of H heads, with n the largest power of 2 not above H and m = alibi_max, head h has the slope
 *   2^(-m (h + 1) / n)  for h < n,  and 2^(-m (2 (h - n) + 1) / (2 n)) beyond: every second slope of 2n heads.
 * The bias of key j for the query at i is alibi * (r(s r(j)) - r(s r(i))), s = r(slope), where r rounds to bfloat16
 * if the model was trained so (alibi_bf16) and is nothing otherwise: alibi * slope * (j - i). What depends on i alone
 * cancels in the softmax; it is there to keep scores small. Formula: Press, Smith, Lewis 2021.
 */
#ifndef TSR_LAYERS_ALIBI_H
#define TSR_LAYERS_ALIBI_H

#include "layers/ops.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* x rounded to the nearest bfloat16, ties to even; x finite. */
static inline float tsr_alibi_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The slope of local query head h. */
static inline float tsr_alibi_slope(const tsr_attrs *a, int h)
{
    int head = a->attention.first_head + h, n = 1;
    while (n <= a->attention.model_heads / 2) n *= 2;
    double exponent = head < n ? (head + 1.0) / n : (2.0 * (head - n) + 1) / (2.0 * n);
    float slope = (float)exp2(-(double)a->attention.alibi_max * exponent);
    return a->attention.alibi_bf16 ? tsr_alibi_round(slope) : slope;
}

/* The bias of key position j for a query at position i, by the slope from above. */
static inline float tsr_alibi_bias(const tsr_attrs *a, float slope, int64_t i, int64_t j)
{
    if (!a->attention.alibi_bf16) return a->attention.alibi * slope * (float)(j - i);
    float key = tsr_alibi_round(slope * tsr_alibi_round((float)j));
    return a->attention.alibi * (key - tsr_alibi_round(slope * tsr_alibi_round((float)i)));
}

#endif
