/* add.cu: out = a + b. */
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/elementwise.cuh"

namespace {

template <typename T, int N> struct sum_of_two {
    const T *a, *b;
    T *out;
    int64_t a_ld, b_ld, out_ld;
    __device__ __forceinline__ void operator()(int64_t row, int64_t c) const
    {
        tsr_run<T, N> x, y;
        x.load(a + row * a_ld + c);
        y.load(b + row * b_ld + c);
#pragma unroll
        for (int i = 0; i < N; i++) x.x[i] = tsr_round<T>(tsr_float(x.x[i]) + tsr_float(y.x[i]));
        x.store(out + row * out_ld + c);
    }
};

template <typename T, int N> tsr_status launch(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *a = &call->in[0], *b = &call->in[1], *out = &call->out[0];
    return tsr_each<N>(step, "add", tsr_cuda_bound_rows(out, step), out->cols,
                       sum_of_two<T, N>{(const T *)a->data, (const T *)b->data, (T *)out->data, a->ld, b->ld, out->ld});
}

} /* namespace */

tsr_status tsr_cuda_add(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    if (tsr_cuda_bound_rows(&call->out[0], step) == 0) return TSR_OK;
    bool vectors = tsr_vector_operand(&call->in[0]) && tsr_vector_operand(&call->in[1]) &&
                   tsr_vector_operand(&call->out[0]);
    return TSR_CUDA_BY_DTYPE(call->out[0].dtype, T,
                             return vectors ? launch<T, tsr_vector<T>::N>(call, step) : launch<T, 1>(call, step));
}
