/* simd.h: one vector type, so that a kernel is written once and compiled for every instruction set.
 *
 * vf holds TSR_VL float32 lanes, vi the same number of int32 lanes, as GCC vector extensions: + - * / & | <<
 * and comparisons (all ones where true) work on them directly. Memory may be unaligned everywhere. The _n
 * forms touch the first n lanes only, 0 <= n <= TSR_VL; lanes beyond are zero.
 */
#ifndef TSR_LAYERS_CPU_SIMD_H
#define TSR_LAYERS_CPU_SIMD_H

#include "base/dtype.h"

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define TSR_VL 16
#elif defined(__AVX2__)
#define TSR_VL 8
#else
#define TSR_VL 4
#endif

/* TSR_UNROLL in front of a loop with a constant count of at most 16 unrolls it, so that arrays of vectors become registers;
 * TSR_EACH is such a loop. Under a sanitizer, which instruments every access, neither this nor inlining is forced: the
 * code would take minutes to compile. */
#if defined(__has_feature)
#define TSR_SANITIZED                                                                                        \
    (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                                  \
     __has_feature(undefined_behavior_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TSR_SANITIZED 1
#else
#define TSR_SANITIZED 0
#endif
#if TSR_SANITIZED
#define TSR_INLINE static inline
#define TSR_UNROLL
#else
#define TSR_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define TSR_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TSR_UNROLL _Pragma("GCC unroll 16")
#endif
#endif
#define TSR_EACH(i, n) TSR_UNROLL for (int i = 0; i < (n); i++)

typedef float vf __attribute__((vector_size(TSR_VL * 4)));
typedef int32_t vi __attribute__((vector_size(TSR_VL * 4)));
typedef uint32_t vu __attribute__((vector_size(TSR_VL * 4)));
typedef uint16_t vh __attribute__((vector_size(TSR_VL * 2)));

TSR_INLINE vf v_set1(float x)
{
    return x - (vf){0};
}

TSR_INLINE vf v_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

TSR_INLINE void v_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

TSR_INLINE vf v_load_n(const float *p, int64_t n)
{
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    vf v = {0};
    memcpy(&v, p, (size_t)n * 4);
    return v;
#endif
}

TSR_INLINE void v_store_n(float *p, vf v, int64_t n)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    memcpy(p, &v, (size_t)n * 4);
#endif
}

/* a * b + c */
TSR_INLINE vf v_fma(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* mask ? a : b, lane by lane; mask comes from a comparison */
TSR_INLINE vf v_if(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

/* For numbers that are not NaN. */
TSR_INLINE vf v_max(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_if(a > b, a, b);
#endif
}

TSR_INLINE vf v_abs(vf a)
{
    return (vf)((vi)a & 0x7FFFFFFF);
}

/* --- Half-precision formats --- */

/* Compilers take detours where they are left to widen and narrow vectors of 16 bits by themselves. */
TSR_INLINE vu v_widen(vh h)
{
#if defined(__AVX512F__)
    return (vu)_mm512_cvtepu16_epi32((__m256i)h);
#elif defined(__AVX2__)
    return (vu)_mm256_cvtepu16_epi32((__m128i)h);
#else
    return __builtin_convertvector(h, vu);
#endif
}

/* Each lane below 2^16 */
TSR_INLINE vh v_narrow(vu v)
{
#if defined(__AVX512F__)
    return (vh)_mm512_cvtepi32_epi16((__m512i)v);
#elif defined(__AVX2__)
    __m256i packed = _mm256_packus_epi32((__m256i)v, (__m256i)v);
    return (vh)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
    return __builtin_convertvector(v, vh);
#endif
}

TSR_INLINE vh v_load_halves_n(const uint16_t *p, int64_t n)
{
#if defined(__AVX512F__)
    return (vh)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p);
#else
    vh h = {0};
    memcpy(&h, p, (size_t)n * 2);
    return h;
#endif
}

TSR_INLINE vf v_from_bf16(vh h)
{
    return (vf)(v_widen(h) << 16);
}

/* Nearest, ties to even; NaN stays NaN. */
TSR_INLINE vh v_to_bf16(vf v)
{
    vu bits = (vu)v;
    vu rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    vu nan = (vu)((vi)(bits & 0x7FFFFFFF) > 0x7F800000);
    return v_narrow((nan & (bits >> 16 | 0x40)) | (~nan & rounded));
}

TSR_INLINE vf v_from_f16(vh h)
{
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps((__m256i)h);
#elif defined(__AVX2__)
    return (vf)_mm256_cvtph_ps((__m128i)h);
#else
    /* exponent and mantissa in float32 places are the number times 2^-112; what lands at 2^16 was infinity or
     * NaN */
    vu bits = v_widen(h);
    vf magnitude = (vf)((bits & 0x7FFF) << 13) * 0x1p112f;
    vu special = (vu)(magnitude >= 65536.0f) & 0x7F800000;
    return (vf)((vu)magnitude | special | (bits & 0x8000) << 16);
#endif
}

TSR_INLINE vh v_to_f16(vf v)
{
#if defined(__AVX512F__)
    return (vh)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
    return (vh)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    vh h;
    for (int i = 0; i < TSR_VL; i++) h[i] = tsr_f32_to_f16(v[i]);
    return h;
#endif
}

/* Elements base[index ..] of an array of F32, F16 or BF16 as float32. `dtype` is a constant where it is
 * called. */
TSR_INLINE vf v_load_as(tsr_dtype dtype, const void *base, int64_t index)
{
    if (dtype == TSR_F32) return v_load((const float *)base + index);
    vh h;
    memcpy(&h, (const uint16_t *)base + index, sizeof h);
    return dtype == TSR_BF16 ? v_from_bf16(h) : v_from_f16(h);
}

TSR_INLINE vf v_load_as_n(tsr_dtype dtype, const void *base, int64_t index, int64_t n)
{
    if (dtype == TSR_F32) return v_load_n((const float *)base + index, n);
    vh h = v_load_halves_n((const uint16_t *)base + index, n);
    return dtype == TSR_BF16 ? v_from_bf16(h) : v_from_f16(h);
}

TSR_INLINE void v_store_as_n(tsr_dtype dtype, void *base, int64_t index, vf v, int64_t n)
{
    if (dtype == TSR_F32) {
        v_store_n((float *)base + index, v, n);
        return;
    }
    vh h = dtype == TSR_BF16 ? v_to_bf16(v) : v_to_f16(v);
#if defined(__AVX512F__)
    _mm256_mask_storeu_epi16((uint16_t *)base + index, (__mmask16)((1u << n) - 1), (__m256i)h);
#else
    memcpy((uint16_t *)base + index, &h, (size_t)n * 2);
#endif
}

/* --- Reductions --- */

#if TSR_VL == 16
#define TSR_LOW_8(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define TSR_HIGH_8(a, b)                                                                                     \
    __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define TSR_LOW_4(a, b)                                                                                      \
    __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define TSR_HIGH_4(a, b)                                                                                     \
    __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#define TSR_LOW_2(a, b)                                                                                      \
    __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29)
#define TSR_HIGH_2(a, b)                                                                                     \
    __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31)
#define TSR_LOW_1(a, b)                                                                                      \
    __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define TSR_HIGH_1(a, b)                                                                                     \
    __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#elif TSR_VL == 8
#define TSR_LOW_4(a, b)  __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define TSR_HIGH_4(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#define TSR_LOW_2(a, b)  __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13)
#define TSR_HIGH_2(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15)
#define TSR_LOW_1(a, b)  __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define TSR_HIGH_1(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#else
#define TSR_LOW_2(a, b)  __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define TSR_HIGH_2(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#define TSR_LOW_1(a, b)  __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define TSR_HIGH_1(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#endif

/* One step of the tree below: a[i] and a[i + 1] become one vector, each half as many partial sums. */
#define TSR_FOLD(a, n, w)                                                                                    \
    TSR_UNROLL for (int fold_ = 0; fold_ < (n); fold_ += 2) a[fold_ / 2] =                                   \
        TSR_LOW_##w(a[fold_], a[fold_ + 1]) + TSR_HIGH_##w(a[fold_], a[fold_ + 1])

/* Lane i of the result is the sum of the lanes of a[i], i < TSR_VL: a transposing tree. Destroys a. */
TSR_INLINE vf v_sums(vf a[TSR_VL])
{
#if TSR_VL == 16
    TSR_FOLD(a, 16, 8);
    TSR_FOLD(a, 8, 4);
    TSR_FOLD(a, 4, 2);
    TSR_FOLD(a, 2, 1);
#elif TSR_VL == 8
    TSR_FOLD(a, 8, 4);
    TSR_FOLD(a, 4, 2);
    TSR_FOLD(a, 2, 1);
#else
    TSR_FOLD(a, 4, 2);
    TSR_FOLD(a, 2, 1);
#endif
    return a[0];
}

TSR_INLINE float v_sum(vf a)
{
#if TSR_VL == 16
    a = TSR_LOW_8(a, a) + TSR_HIGH_8(a, a);
#endif
#if TSR_VL >= 8
    a = TSR_LOW_4(a, a) + TSR_HIGH_4(a, a);
#endif
    a = TSR_LOW_2(a, a) + TSR_HIGH_2(a, a);
    a = TSR_LOW_1(a, a) + TSR_HIGH_1(a, a);
    return a[0];
}

TSR_INLINE float v_max_lane(vf a)
{
#if TSR_VL == 16
    a = v_max(TSR_LOW_8(a, a), TSR_HIGH_8(a, a));
#endif
#if TSR_VL >= 8
    a = v_max(TSR_LOW_4(a, a), TSR_HIGH_4(a, a));
#endif
    a = v_max(TSR_LOW_2(a, a), TSR_HIGH_2(a, a));
    a = v_max(TSR_LOW_1(a, a), TSR_HIGH_1(a, a));
    return a[0];
}

#endif
