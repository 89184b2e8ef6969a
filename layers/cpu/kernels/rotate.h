/* rotate.h: rotary position embedding of one head's vector: pairs (a, b) turn by an angle of their position,
 *   a' = a cos - b sin,  b' = b cos + a sin
 * HALF: pairs (i, i + d/2); INTERLEAVED: (2i, 2i + 1); i < d/2 of the first d = rotary_dim dimensions, the
 * rest pass.
 */
#ifndef TSR_LAYERS_CPU_KERNELS_ROTATE_H
#define TSR_LAYERS_CPU_KERNELS_ROTATE_H

#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/simd.h"

static inline void tsr_rotate_half(const float *x, const float *cosine, const float *sine, float *out,
                                   int half)
{
    int i = 0;
    for (; i + TSR_VL <= half; i += TSR_VL) {
        vf a = v_load(x + i), b = v_load(x + half + i), c = v_load(cosine + i), s = v_load(sine + i);
        v_store(out + i, a * c - b * s);
        v_store(out + half + i, b * c + a * s);
    }
    for (; i < half; i++) {
        float a = x[i], b = x[half + i];
        out[i] = a * cosine[i] - b * sine[i];
        out[half + i] = b * cosine[i] + a * sine[i];
    }
}

static inline void tsr_rotate_interleaved(const float *x, const float *cosine, const float *sine, float *out,
                                          int half)
{
    for (int i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        out[2 * i] = a * cosine[i] - b * sine[i];
        out[2 * i + 1] = b * cosine[i] + a * sine[i];
    }
}

/* x [head_dim] to out, which may be x; angles: `dims`/2 cosines, then sines. */
static inline void tsr_rotate(const float *x, const float *angles, int dims, tsr_rope_style style,
                              int head_dim, float *out)
{
    if (style == TSR_ROPE_HALF)
        tsr_rotate_half(x, angles, angles + dims / 2, out, dims / 2);
    else
        tsr_rotate_interleaved(x, angles, angles + dims / 2, out, dims / 2);
    if (out != x && dims < head_dim) memcpy(out + dims, x + dims, (size_t)(head_dim - dims) * 4);
}

#endif
