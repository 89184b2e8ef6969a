/* embed.cu: out[t] = scale * W[index[t]], index the token ids or, plus an offset, the positions or one of their rows
 * (layers/prefix.h). Rows that W, which begins at first_row, does not hold give zeros; the ranks' outputs then add up to the
 * embedding. */
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/elementwise.cuh"

namespace {

template <typename T, int N> struct table_row {
    const T *w;
    int64_t w_rows, cols;
    T *out;
    int64_t out_ld;
    const int32_t *index;       /* [T] */
    const int32_t *tokens;      /* what a negative index refers to (cuda_kernel.h); NULL: nothing */
    const int32_t *rows;        /* token of each row; NULL: the row itself */
    const tsr_cuda_counts *counts;
    int64_t shift;
    float scale;
    __device__ __forceinline__ void operator()(int64_t row, int64_t c) const
    {
        if (row >= (rows ? counts->n_rows : counts->n_tokens)) return;
        int32_t which = index[rows ? rows[row] : row];
        if (which < 0 && tokens) which = tokens[-1 - which];
        int64_t at = which + shift;
        tsr_run<T, N> v;
        if (at >= 0 && at < w_rows) {
            v.load(w + at * cols + c);
#pragma unroll
            for (int i = 0; i < N; i++) v.x[i] = tsr_round<T>(scale * tsr_float(v.x[i]));
        } else {
#pragma unroll
            for (int i = 0; i < N; i++) v.x[i] = tsr_round<T>(0);
        }
        v.store(out + row * out_ld + c);
    }
};

const int32_t *indices_of(tsr_embed_index index, const tsr_cuda_step *step)
{
    switch (index) {
    case TSR_EMBED_POSITIONS:
        return step->positions;
    case TSR_EMBED_FIRST_ROW:
        return step->position_rows[0];
    case TSR_EMBED_SECOND_ROW:
        return step->position_rows[1];
    default:
        return step->ids;
    }
}

template <typename T, int N> tsr_status launch(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *out = &call->out[0];
    const tsr_cuda_weight *w = call->weight[0];
    const auto *a = &call->attrs.embed;
    table_row<T, N> body = {(const T *)w->data,
                            w->rows,
                            w->cols,
                            (T *)out->data,
                            out->ld,
                            indices_of(a->index, step),
                            a->index == TSR_EMBED_IDS ? step->tokens : nullptr,
                            out->selected ? step->rows : nullptr,
                            step->counts,
                            (a->index == TSR_EMBED_IDS ? 0 : (int64_t)a->offset) - a->first_row,
                            a->scale};
    return tsr_each<N>(step, "embed", tsr_cuda_bound_rows(out, step), out->cols, body);
}

} /* namespace */

tsr_status tsr_cuda_embed(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *out = &call->out[0];
    if (call->weight[0]->dtype != out->dtype)
        return tsr_fail(TSR_ERR_INTERNAL, "embed: the table is %s and its output %s",
                        tsr_dtype_name(call->weight[0]->dtype), tsr_dtype_name(out->dtype));
    if (tsr_cuda_bound_rows(out, step) == 0) return TSR_OK;
    bool vectors = tsr_vector_operand(out) && (uintptr_t)call->weight[0]->data % 16 == 0;
    return TSR_CUDA_BY_DTYPE(out->dtype, T,
                             return vectors ? launch<T, tsr_vector<T>::N>(call, step) : launch<T, 1>(call, step));
}
