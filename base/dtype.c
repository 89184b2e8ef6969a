/* dtype.c: the dtype table and plain conversions; the loaders' bulk conversions use these same functions. */
#include "base/dtype.h"

#include <strings.h>

static const struct {
    const char *option, *file;
    int bytes;
} table[] = {
#define TSR_DTYPE_ROW(name, option, file, bytes) {option, file, bytes},
    TSR_DTYPE_TABLE(TSR_DTYPE_ROW)
#undef TSR_DTYPE_ROW
};

static const struct {
    const char *alias;
    tsr_dtype dtype;
} aliases[] = {{"fp32", TSR_F32}, {"f32", TSR_F32},  {"float", TSR_F32}, {"fp16", TSR_F16},
               {"f16", TSR_F16},  {"half", TSR_F16}, {"bf16", TSR_BF16}};

int tsr_dtype_bytes(tsr_dtype t)
{
    return table[t].bytes;
}

const char *tsr_dtype_name(tsr_dtype t)
{
    return table[t].option;
}

const char *tsr_dtype_label(tsr_dtype t)
{
    return table[t].file;
}

bool tsr_dtype_from_option(const char *text, tsr_dtype *out)
{
    for (int i = 0; i < TSR_DTYPE_COUNT; i++)
        if (strcasecmp(text, table[i].option) == 0) {
            *out = (tsr_dtype)i;
            return true;
        }
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcasecmp(text, aliases[i].alias) == 0) {
            *out = aliases[i].dtype;
            return true;
        }
    return false;
}

bool tsr_dtype_from_safetensors(const char *text, tsr_dtype *out)
{
    for (int i = 0; i < TSR_DTYPE_COUNT; i++)
        if (strcmp(text, table[i].file) == 0) {
            *out = (tsr_dtype)i;
            return true;
        }
    return false;
}

float tsr_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24 is exact in float32 */
        float f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    bits =
        exponent == 31 ? sign | 0x7F800000 | mantissa << 13 : sign | (exponent + 112) << 23 | mantissa << 13;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

uint16_t tsr_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00);
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* rounds to 65536 or more */
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 makes the FPU round to a multiple of 2^-24 */
        float a;
        memcpy(&a, &magnitude, 4);
        a += 0.5f;
        memcpy(&magnitude, &a, 4);
        return (uint16_t)(sign | (magnitude - 0x3F000000));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xFFF + odd) >> 13);
}

bool tsr_to_f32(tsr_dtype from, const void *in, float *out, int64_t n)
{
    const uint16_t *h = in;
    switch (from) {
    case TSR_F32:
        memcpy(out, in, (size_t)n * 4);
        return true;
    case TSR_BF16:
        for (int64_t i = 0; i < n; i++) out[i] = tsr_bf16_to_f32(h[i]);
        return true;
    case TSR_F16:
        for (int64_t i = 0; i < n; i++) out[i] = tsr_f16_to_f32(h[i]);
        return true;
    case TSR_F64:
        for (int64_t i = 0; i < n; i++) out[i] = (float)((const double *)in)[i];
        return true;
    default:
        return false;
    }
}

bool tsr_from_f32(tsr_dtype to, const float *in, void *out, int64_t n)
{
    uint16_t *h = out;
    switch (to) {
    case TSR_F32:
        memcpy(out, in, (size_t)n * 4);
        return true;
    case TSR_BF16:
        for (int64_t i = 0; i < n; i++) h[i] = tsr_f32_to_bf16(in[i]);
        return true;
    case TSR_F16:
        for (int64_t i = 0; i < n; i++) h[i] = tsr_f32_to_f16(in[i]);
        return true;
    case TSR_F64:
        for (int64_t i = 0; i < n; i++) ((double *)out)[i] = in[i];
        return true;
    default:
        return false;
    }
}
