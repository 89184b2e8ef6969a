/* gated_linear.cu: out = act(x Wg^T + bg) * (x Wu^T + bu), W = gate rows then up rows. For a few rows one kernel; for many a
 * product into the workspace, [rows][2 cols], and the gate after it. */
#include "base/checked.h"
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/activation.cuh"
#include "layers/cuda/kernels/elementwise.cuh"
#include "layers/cuda/kernels/product.cuh"

namespace {

/* N neighbours of a row of `both`: gate at c, up at cols + c. */
template <typename T, int N> struct gate_both {
    const T *both;
    int64_t cols;
    tsr_activation kind;
    T *out;
    int64_t out_ld;
    __device__ __forceinline__ void operator()(int64_t row, int64_t c) const
    {
        tsr_run<T, N> gate, up, result;
        gate.load(both + row * 2 * cols + c);
        up.load(both + row * 2 * cols + cols + c);
#pragma unroll
        for (int i = 0; i < N; i++)
            result.x[i] = tsr_round<T>(tsr_activate(kind, tsr_float(gate.x[i])) * tsr_float(up.x[i]));
        result.store(out + row * out_ld + c);
    }
};

template <typename T> tsr_status gate(const tsr_weight_product *p, const void *both, const tsr_cuda_step *step)
{
    enum { N = tsr_vector<T>::N };
    bool vectors = p->n % N == 0 && tsr_aligned16(both, p->n, p->dtype) && tsr_aligned16(p->out, p->out_ld, p->dtype);
    const T *from = static_cast<const T *>(both);
    T *out = static_cast<T *>(p->out);
    if (vectors)
        return tsr_each<N>(step, "gated_linear", p->rows, p->n, gate_both<T, N>{from, p->n, p->activation, out, p->out_ld});
    return tsr_each<1>(step, "gated_linear", p->rows, p->n, gate_both<T, 1>{from, p->n, p->activation, out, p->out_ld});
}

} /* namespace */

tsr_status tsr_cuda_gated_linear(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    tsr_weight_product p = tsr_product_of(call, step);
    p.gated = true;
    p.activation = call->attrs.act.kind;
    if (p.rows == 0 || p.n == 0) return TSR_OK;
    if (tsr_product_stream_takes(&p)) return tsr_product_stream(&p, step);
    if (tsr_product_vector_takes(&p)) return tsr_product_vector(&p, step);
    if (p.rows == 1) return tsr_product_gemv(&p, step);
    int64_t bytes = (int64_t)p.rows * 2 * p.n * tsr_dtype_bytes(p.dtype);
    if (bytes > call->workspace_bytes)
        return tsr_fail(TSR_ERR_INTERNAL, "gated_linear needs %lld bytes of workspace and has %lld", (long long)bytes,
                        (long long)call->workspace_bytes);
    tsr_weight_product product = p;
    product.gated = false;
    product.out = call->workspace;
    product.n = product.out_ld = 2 * p.n;
    product.out_dtype = p.dtype;
    TSR_TRY(tsr_product_many(&product, call->gemm, step));
    return TSR_CUDA_BY_DTYPE(p.dtype, T, return gate<T>(&p, call->workspace, step));
}
