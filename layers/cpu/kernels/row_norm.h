/* row_norm.h: layer norm and RMS norm of one row, and a sum of two: norm, add and add_norm.
 *
 *   layer: (x - mean) / sqrt(var + eps) * w + b, var the biased variance, in two passes over the row
 *   RMS:   x / sqrt(mean(x^2) + eps) * w + b
 * w [cols] or NULL (ones), b [cols] or NULL (zeros); out may be x.
 */
#ifndef TSR_LAYERS_CPU_KERNELS_ROW_NORM_H
#define TSR_LAYERS_CPU_KERNELS_ROW_NORM_H

#include "layers/cpu/kernels/simd.h"
#include "layers/kernel.h"

#include <math.h>

/* Sum of (x - center)^power over the row, power 1 or 2. Four chains hide the latency of the additions. */
TSR_INLINE float tsr_row_moment(const float *x, int64_t n, float center, int power)
{
    vf sum[4] = {{0}};
    int64_t c = 0;
    for (; c + 4 * TSR_VL <= n; c += 4 * TSR_VL) {
        TSR_EACH (j, 4) {
            vf d = v_load(x + c + j * TSR_VL) - center;
            sum[j] = power == 1 ? sum[j] + d : v_fma(d, d, sum[j]);
        }
    }
    vf total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (; c + TSR_VL <= n; c += TSR_VL) {
        vf d = v_load(x + c) - center;
        total = power == 1 ? total + d : v_fma(d, d, total);
    }
    float tail = 0;
    for (; c < n; c++) tail += power == 1 ? x[c] - center : (x[c] - center) * (x[c] - center);
    return v_sum(total) + tail;
}

/* Vectors written out: out may be x, which the compiler's own vectorisation would have to rule out. */
static inline void tsr_row_norm(tsr_norm_kind kind, float eps, const float *x, const float *w, const float *b,
                                float *out, int64_t n)
{
    float mean = kind == TSR_NORM_LAYER ? tsr_row_moment(x, n, 0, 1) / (float)n : 0;
    float scale = 1.0f / sqrtf(tsr_row_moment(x, n, mean, 2) / (float)n + eps);
    for (int64_t c = 0; c < n; c += TSR_VL) {
        int64_t m = n - c < TSR_VL ? n - c : TSR_VL;
        vf v = ((m == TSR_VL ? v_load(x + c) : v_load_n(x + c, m)) - mean) * scale;
        if (w) v *= m == TSR_VL ? v_load(w + c) : v_load_n(w + c, m);
        if (b) v += m == TSR_VL ? v_load(b + c) : v_load_n(b + c, m);
        if (m == TSR_VL)
            v_store(out + c, v);
        else
            v_store_n(out + c, v, m);
    }
}

/* out = a + b; out may be either. */
static inline void tsr_row_add(const float *a, const float *b, float *out, int64_t n)
{
    int64_t c = 0;
    for (; c + TSR_VL <= n; c += TSR_VL) v_store(out + c, v_load(a + c) + v_load(b + c));
    for (; c < n; c++) out[c] = a[c] + b[c];
}

static inline const float *tsr_vector_of(const tsr_weight_data *w)
{
    return w ? w->data : NULL;
}

#endif
