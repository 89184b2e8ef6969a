/* select_rows.cu: out[r] = x[rows[r]], the rows of the step whose outputs are wanted. */
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/elementwise.cuh"

namespace {

template <typename T, int N> struct picked {
    const T *x;
    T *out;
    int64_t x_ld, out_ld;
    const int32_t *rows;
    const tsr_cuda_counts *counts;
    __device__ __forceinline__ void operator()(int64_t row, int64_t c) const
    {
        if (row >= counts->n_rows) return;
        tsr_run<T, N> v;
        v.load(x + rows[row] * x_ld + c);
        v.store(out + row * out_ld + c);
    }
};

template <typename T, int N> tsr_status launch(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *x = &call->in[0], *out = &call->out[0];
    return tsr_each<N>(step, "select_rows", step->bound_rows, out->cols,
                       picked<T, N>{(const T *)x->data, (T *)out->data, x->ld, out->ld, step->rows, step->counts});
}

} /* namespace */

tsr_status tsr_cuda_select_rows(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    if (step->bound_rows == 0) return TSR_OK;
    bool vectors = tsr_vector_operand(&call->in[0]) && tsr_vector_operand(&call->out[0]);
    return TSR_CUDA_BY_DTYPE(call->out[0].dtype, T,
                             return vectors ? launch<T, tsr_vector<T>::N>(call, step) : launch<T, 1>(call, step));
}
