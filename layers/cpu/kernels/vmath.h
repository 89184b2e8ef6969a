/* vmath.h: exp, tanh, the logistic function and the normal distribution on vectors of simd.h.
 *
 * Polynomials are near-minimax fits of our own (Chebyshev, 40 digits, rounded to float32); each function's
 * relative error is about 2e-7 over the whole range, NaN stays NaN, and overflow and underflow end in
 * infinity and zero.
 */
#ifndef TSR_LAYERS_CPU_VMATH_H
#define TSR_LAYERS_CPU_VMATH_H

#include "layers/cpu/kernels/simd.h"

/* x 2^n for whole-numbered n in -126 .. 128; in two steps, since 2^128 alone is not a float32 */
TSR_INLINE vf v_scale_by_power(vf x, vf n)
{
#if defined(__AVX512F__)
    return (vf)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    vi k = __builtin_convertvector(n, vi);
    vi half = k >> 1;
    return x * (vf)((vu)(half + 127) << 23) * (vf)((vu)(k - half + 127) << 23);
#endif
}

/* e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln(2) / 2, e^r = 1 + r + r^2 q(r). Results below the least
 * normal number are 0: subnormal ones would cost a hundred times as much as others, and hidden attention
 * scores are all of that kind. */
TSR_INLINE vf v_exp(vf x)
{
    const float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const float round =
        12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest whole number in the low bits */
    vi tiny = x < -87.33654f;
    x = v_if(x > 89.0f, v_set1(89.0f), v_if(tiny, v_set1(0), x));
    vf n = v_fma(x, v_set1(log2e), v_set1(round)) - round;
    vf r = v_fma(n, v_set1(-ln2_low), v_fma(n, v_set1(-ln2_high), x));
    vf q = v_set1(0.001392625083f);
    q = v_fma(q, r, v_set1(0.008363232884f));
    q = v_fma(q, r, v_set1(0.04166655421f));
    q = v_fma(q, r, v_set1(0.1666657667f));
    q = v_fma(q, r, v_set1(0.5f));
    return (vf)(~tiny & (vi)v_scale_by_power(v_fma(q, r * r, r) + 1.0f, n));
}

/* 1 / (1 + e^-x) */
TSR_INLINE vf v_sigmoid(vf x)
{
    return 1.0f / (1.0f + v_exp(-x));
}

/* x + x^3 p(x^2) near zero, where 1 - 2 / (e^2x + 1) would cancel */
TSR_INLINE vf v_tanh(vf x)
{
    vf z = x * x;
    vf p = v_set1(-0.006045165097f);
    p = v_fma(p, z, v_set1(0.02096132911f));
    p = v_fma(p, z, v_set1(-0.05384326318f));
    p = v_fma(p, z, v_set1(0.1333271885f));
    p = v_fma(p, z, v_set1(-0.3333332843f));
    vf near = v_fma(p * z, x, x);
    vf far = 1.0f - 2.0f / (v_exp(x + x) + 1.0f);
    return v_if(z < 0.4f, near, far);
}

/* Phi(x) = erfc(-x / sqrt 2) / 2. With t = |x| / sqrt 2, erfc(t) = e^-t^2 u h(u), u = 1 / (1 + 0.32 t): no
 * cancellation in the lower tail, where x Phi(x) is wanted to full relative accuracy. */
TSR_INLINE vf v_normal_cdf(vf x)
{
    vf t = v_abs(x) * 0.707106781f;
    vf u = 1.0f / v_fma(t, v_set1(0.32f), v_set1(1.0f));
    vf h = v_set1(0.05857113272f);
    h = v_fma(h, u, v_set1(-0.3581095195f));
    h = v_fma(h, u, v_set1(0.7841598465f));
    h = v_fma(h, u, v_set1(-0.7825613698f));
    h = v_fma(h, u, v_set1(0.6954656667f));
    h = v_fma(h, u, v_set1(-0.1538675779f));
    h = v_fma(h, u, v_set1(0.2389354531f));
    h = v_fma(h, u, v_set1(0.1545489229f));
    h = v_fma(h, u, v_set1(0.182407485f));
    h = v_fma(h, u, v_set1(0.1804499586f));
    vf tail = 0.5f * v_exp(x * x * -0.5f) * (u * h);
    return v_if(x > 0.0f, 1.0f - tail, tail);
}

#endif
