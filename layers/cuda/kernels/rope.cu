/* rope.cu: rotary position embedding of each head: pairs (a, b) of a head turn by an angle of their position,
 *   a' = a cos - b sin,  b' = b cos + a sin
 * HALF: pairs (i, i + d/2); INTERLEAVED: (2i, 2i + 1); i < d/2 of the first d = rotary_dim dimensions, the rest pass.
 * Attention rotates for itself where the graph is fused; this is the op that stands alone.
 */
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/elementwise.cuh"

namespace {

/* Column c = head * head_dim + i of a row: i < d/2 turns pair i, d/2 <= i < d has been turned with it, i >= d passes. */
template <typename T> struct turn {
    const T *x;
    T *out;
    int64_t x_ld, out_ld;
    const float *table; /* [T][d]: d/2 cosines, d/2 sines */
    const int32_t *rows;
    const tsr_cuda_counts *counts;
    int head_dim, d;
    bool half;
    __device__ __forceinline__ void operator()(int64_t row, int64_t c) const
    {
        if (row >= (rows ? counts->n_rows : counts->n_tokens)) return;
        int i = (int)(c % head_dim);
        const T *from = x + row * x_ld + (c - i);
        T *to = out + row * out_ld + (c - i);
        if (i >= d) {
            if (to != from) to[i] = from[i];
            return;
        }
        if (i >= d / 2) return;
        const float *angle = table + (int64_t)(rows ? rows[row] : row) * d;
        int first = half ? i : 2 * i, second = half ? i + d / 2 : 2 * i + 1;
        float a = tsr_float(from[first]), b = tsr_float(from[second]), cosine = angle[i], sine = angle[d / 2 + i];
        to[first] = tsr_round<T>(a * cosine - b * sine);
        to[second] = tsr_round<T>(b * cosine + a * sine);
    }
};

} /* namespace */

tsr_status tsr_cuda_rope(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *x = &call->in[0], *out = &call->out[0];
    int32_t rows = tsr_cuda_bound_rows(out, step);
    if (rows == 0) return TSR_OK;
    return TSR_CUDA_BY_DTYPE(
        out->dtype, T,
        return tsr_each<1>(step, "rope", rows, out->cols,
                           turn<T>{(const T *)x->data, (T *)out->data, x->ld, out->ld,
                                   step->rope[call->attrs.rope.rope], x->selected ? step->rows : nullptr, step->counts,
                                   call->attrs.rope.head_dim, call->attrs.rope.rotary_dim,
                                   call->attrs.rope.style == TSR_ROPE_HALF}));
}
