/* norm.cu: layer norm and RMS norm of each row (formulas: layers/ops.h, tsr_norm_kind). A block per row. */
#include "layers/cuda/device.cuh"
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/row_norm.cuh"

template <typename T>
static __global__ void norm_rows(const T *x, int64_t x_ld, const float *w, const float *b, T *out,
                                 int64_t out_ld, int64_t cols, tsr_norm_kind kind, float eps)
{
    __shared__ float scratch[TSR_WARP];
    tsr_grid_wait();
    tsr_grid_release();
    const T *from = x + blockIdx.x * x_ld;
    T *to = out + blockIdx.x * out_ld;
    tsr_row_moments m =
        tsr_row_measure(kind, eps, cols, scratch, [&](int64_t c) { return tsr_float(from[c]); });
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x)
        to[c] = tsr_round<T>(tsr_row_normed(m, tsr_float(from[c]), w, b, c));
}

tsr_status tsr_cuda_norm(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *in = &call->in[0], *out = &call->out[0];
    const float *w = call->weight[0] ? (const float *)call->weight[0]->data : NULL;
    const float *b = call->weight[1] ? (const float *)call->weight[1]->data : NULL;
    int rows = tsr_cuda_bound_rows(out, step);
    if (rows == 0) return TSR_OK;
    return TSR_CUDA_BY_DTYPE(out->dtype, T,
                             return tsr_launch(step, "norm", dim3(rows), dim3(256), 0, norm_rows<T>,
                                               (const T *)in->data, in->ld, w, b, (T *)out->data, out->ld,
                                               out->cols, call->attrs.norm.kind, call->attrs.norm.eps));
}
