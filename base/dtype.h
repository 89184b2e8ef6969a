/* dtype.h: the number formats of tensors, one table, and the scalar conversions between them. Local, thread-safe. */
#ifndef TSR_BASE_DTYPE_H
#define TSR_BASE_DTYPE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* X(name, option spelling, safetensors spelling, bytes per element) */
#define TSR_DTYPE_TABLE(X)                                                                                   \
    X(F32, "float32", "F32", 4)                                                                              \
    X(F16, "float16", "F16", 2)                                                                              \
    X(BF16, "bfloat16", "BF16", 2)                                                                           \
    X(F64, "float64", "F64", 8)                                                                              \
    X(I64, "int64", "I64", 8)                                                                                \
    X(I32, "int32", "I32", 4)                                                                                \
    X(I16, "int16", "I16", 2)                                                                                \
    X(I8, "int8", "I8", 1)                                                                                   \
    X(U8, "uint8", "U8", 1)                                                                                  \
    X(BOOL, "bool", "BOOL", 1)

typedef enum tsr_dtype {
#define TSR_DTYPE_ENUM(name, option, file, bytes) TSR_##name,
    TSR_DTYPE_TABLE(TSR_DTYPE_ENUM)
#undef TSR_DTYPE_ENUM
        TSR_DTYPE_COUNT
} tsr_dtype;

int tsr_dtype_bytes(tsr_dtype t);
const char *tsr_dtype_name(tsr_dtype t);                      /* "bfloat16" */
const char *tsr_dtype_label(tsr_dtype t);                     /* "BF16", as safetensors files spell it */
bool tsr_dtype_from_option(const char *text, tsr_dtype *out); /* "bfloat16", "bf16", "float16", "fp16", ... */
bool tsr_dtype_from_safetensors(const char *text, tsr_dtype *out);

static inline float tsr_bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* Rounds to nearest, ties to even; NaN stays NaN. */
static inline uint16_t tsr_f32_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float tsr_f16_to_f32(uint16_t h);
uint16_t tsr_f32_to_f16(float f); /* nearest, ties to even; overflow gives infinity */

/* Converts n elements of a floating dtype (F32, F16, BF16, F64) to or from float32. Returns false for others. */
bool tsr_to_f32(tsr_dtype from, const void *in, float *out, int64_t n);
bool tsr_from_f32(tsr_dtype to, const float *in, void *out, int64_t n);

#endif
