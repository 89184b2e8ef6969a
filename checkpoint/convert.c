/* convert.c: the float formats of weights, converted in bulk. No branches and no calls in the loops. */
#include "checkpoint/convert.h"
#include "base/checked.h"

bool tsr_convert_from_ok(tsr_dtype from)
{
    return from == TSR_F32 || from == TSR_F16 || from == TSR_BF16 || from == TSR_F64;
}

bool tsr_convert_to_ok(tsr_dtype to)
{
    return to == TSR_F32 || to == TSR_F16 || to == TSR_BF16;
}

static inline float as_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline uint32_t as_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

/* All ones if the condition holds: selections by mask stay vector code everywhere. */
static inline uint32_t mask(int condition)
{
    return (uint32_t)-condition;
}

/* Exponent and mantissa move to their float32 places; one multiplication by 2^112 corrects the bias and makes
 * subnormals normal. Infinity and NaN have their exponent filled up. */
static inline float f16_to_f32(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7FFF) << 13;
    uint32_t bits = as_bits(as_float(magnitude) * 0x1p112f);
    uint32_t special = mask(magnitude >= 0x0F800000) & (magnitude | 0x7F800000);
    bits = (bits & mask(magnitude < 0x0F800000)) | special;
    return as_float(bits | (uint32_t)(h & 0x8000) << 16);
}

/* Normal results round in integer arithmetic; subnormal ones by adding 0.5, whose last bit is worth 2^-24. */
static inline uint16_t f32_to_f16(float f)
{
    uint32_t bits = as_bits(f), magnitude = bits & 0x7FFFFFFF;
    uint32_t normal = (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    uint32_t tiny = as_bits(as_float(magnitude & mask(magnitude < 0x38800000)) + 0.5f) - 0x3F000000;
    uint32_t is_tiny = mask(magnitude < 0x38800000), is_huge = mask(magnitude >= 0x477FF000);
    uint32_t is_nan = mask(magnitude > 0x7F800000);
    uint32_t h = (normal & ~is_tiny) | (tiny & is_tiny);
    h = (h & ~is_huge) | (0x7C00 & is_huge) | (0x0200 & is_nan);
    return (uint16_t)(h | (bits >> 16 & 0x8000));
}

static inline uint16_t f32_to_bf16(float f)
{
    uint32_t bits = as_bits(f), is_nan = mask((bits & 0x7FFFFFFF) > 0x7F800000);
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((rounded & ~is_nan) | ((bits >> 16 | 0x40) & is_nan));
}

/* Of F16, BF16 or F64. */
static void to_f32(tsr_dtype from, const void *restrict in, float *restrict out, int64_t n)
{
    const uint16_t *h = in;
    const double *d = in;
    if (from == TSR_BF16)
        for (int64_t i = 0; i < n; i++) out[i] = as_float((uint32_t)h[i] << 16);
    else if (from == TSR_F16)
        for (int64_t i = 0; i < n; i++) out[i] = f16_to_f32(h[i]);
    else
        for (int64_t i = 0; i < n; i++) out[i] = (float)d[i];
}

/* To F16 or BF16. */
static void from_f32(const float *restrict in, tsr_dtype to, uint16_t *restrict out, int64_t n)
{
    if (to == TSR_BF16)
        for (int64_t i = 0; i < n; i++) out[i] = f32_to_bf16(in[i]);
    else
        for (int64_t i = 0; i < n; i++) out[i] = f32_to_f16(in[i]);
}

void tsr_convert(tsr_dtype from, const void *in, tsr_dtype to, void *out, int64_t n)
{
    enum { BLOCK = 2048 };
    float block[BLOCK];
    int in_bytes = tsr_dtype_bytes(from);
    if (from == to)
        memcpy(out, in, (size_t)(n * in_bytes));
    else if (to == TSR_F32)
        to_f32(from, in, out, n);
    else if (from == TSR_F32)
        from_f32(in, to, out, n);
    else
        for (int64_t i = 0; i < n; i += BLOCK) {
            int64_t m = tsr_min(BLOCK, n - i);
            to_f32(from, (const char *)in + i * in_bytes, block, m);
            from_f32(block, to, (uint16_t *)out + i, m);
        }
}
