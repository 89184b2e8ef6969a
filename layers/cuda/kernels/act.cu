/* act.cu: out = f(x), f an activation. */
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/activation.cuh"
#include "layers/cuda/kernels/elementwise.cuh"

namespace {

template <typename T, int N> struct activated {
    const T *x;
    T *out;
    int64_t x_ld, out_ld;
    tsr_activation kind;
    __device__ __forceinline__ void operator()(int64_t row, int64_t c) const
    {
        tsr_run<T, N> v;
        v.load(x + row * x_ld + c);
#pragma unroll
        for (int i = 0; i < N; i++) v.x[i] = tsr_round<T>(tsr_activate(kind, tsr_float(v.x[i])));
        v.store(out + row * out_ld + c);
    }
};

template <typename T, int N> tsr_status launch(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *x = &call->in[0], *out = &call->out[0];
    return tsr_each<N>(step, "act", tsr_cuda_bound_rows(out, step), out->cols,
                       activated<T, N>{(const T *)x->data, (T *)out->data, x->ld, out->ld, call->attrs.act.kind});
}

} /* namespace */

tsr_status tsr_cuda_act(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    if (tsr_cuda_bound_rows(&call->out[0], step) == 0) return TSR_OK;
    bool vectors = tsr_vector_operand(&call->in[0]) && tsr_vector_operand(&call->out[0]);
    return TSR_CUDA_BY_DTYPE(call->out[0].dtype, T,
                             return vectors ? launch<T, tsr_vector<T>::N>(call, step) : launch<T, 1>(call, step));
}
