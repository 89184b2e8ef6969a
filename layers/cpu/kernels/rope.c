/* rope.c: rotary position embedding of each head: pairs (a, b) of a head turn by an angle of their position,
 *   a' = a cos - b sin,  b' = b cos + a sin
 * HALF: pairs (i, i + d/2); INTERLEAVED: (2i, 2i + 1); i < d/2 of the first d = rotary_dim dimensions, the
 * rest pass.
 */
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/simd.h"

static void rotate_half(const float *x, const float *cosine, const float *sine, float *out, int half)
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

static void rotate_interleaved(const float *x, const float *cosine, const float *sine, float *out, int half)
{
    for (int i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        out[2 * i] = a * cosine[i] - b * sine[i];
        out[2 * i + 1] = b * cosine[i] + a * sine[i];
    }
}

/* Heads first .. last - 1 of one row. */
static void rotate_row(const tsr_call *call, const float *angles, int64_t row, int64_t first, int64_t last)
{
    int d = call->attrs.rope.rotary_dim, head_dim = call->attrs.rope.head_dim;
    for (int64_t h = first; h < last; h++) {
        const float *x = call->in[0].data + row * call->in[0].ld + h * head_dim;
        float *out = call->out[0].data + row * call->out[0].ld + h * head_dim;
        if (call->attrs.rope.style == TSR_ROPE_HALF)
            rotate_half(x, angles, angles + d / 2, out, d / 2);
        else
            rotate_interleaved(x, angles, angles + d / 2, out, d / 2);
        if (out != x && d < head_dim) memcpy(out + d, x + d, (size_t)(head_dim - d) * 4);
    }
}

TSR_KERNEL(rope)
{
    int64_t rows = tsr_rows_of(&call->out[0], step), first = 0, last = call->attrs.rope.heads, row = 0,
            end = rows;
    if (rows < worker->n_threads)
        tsr_share(last, 1, worker, &first, &last);
    else
        tsr_share(rows, 1, worker, &row, &end);
    const float *table = step->rope[call->attrs.rope.rope];
    for (; row < end; row++)
        rotate_row(call, table + tsr_token_of(&call->in[0], step, row) * call->attrs.rope.rotary_dim, row,
                   first, last);
}
