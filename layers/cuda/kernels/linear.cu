/* linear.cu: out = x W^T + b; chooses among the ways of product.cuh by rows, dtype and alignment. */
#include "layers/cuda/gemm.h"
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/product.cuh"

tsr_weight_product tsr_product_of(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *x = &call->in[0], *out = &call->out[0];
    const tsr_cuda_weight *w = call->weight[0], *b = call->weight[1];
    tsr_weight_product p = {};
    p.x = x->data;
    p.w = w->data;
    p.bias = b ? static_cast<const float *>(b->data) : nullptr;
    p.out = out->data;
    p.x_ld = x->ld;
    p.out_ld = out->ld;
    p.n = out->cols;
    p.k = w->cols;
    p.rows = tsr_cuda_bound_rows(out, step);
    p.dtype = w->dtype;
    p.out_dtype = out->dtype;
    return p;
}

template <typename T>
static __global__ void add_bias(void *out, int64_t ld, int64_t n, const float *bias, bool wide)
{
    int64_t row = blockIdx.x, c = (int64_t)blockIdx.y * blockDim.x + threadIdx.x;
    tsr_grid_release();
    tsr_grid_wait();
    if (c >= n) return;
    int64_t at = row * ld + c;
    float value = wide ? static_cast<float *>(out)[at] : tsr_float(static_cast<T *>(out)[at]);
    tsr_store_as<T>(out, wide, at, value + bias[c]);
}

tsr_status tsr_product_many(const tsr_weight_product *p, struct tsr_cuda_gemm *gemm, const tsr_cuda_step *step)
{
    tsr_cuda_gemm_shape shape = {p->rows, p->n, p->k, p->x_ld, p->out_ld, p->dtype, p->out_dtype};
    bool done = false;
    if (gemm) TSR_TRY(tsr_cuda_gemm_run(gemm, &shape, p->x, p->w, p->out, step->stream, &done));
    if (!done) return p->rows <= TSR_GEMV_ROWS ? tsr_product_gemv(p, step) : tsr_product_tiled(p, step);
    if (!p->bias) return TSR_OK;
    dim3 grid((unsigned)p->rows, (unsigned)((p->n + 255) / 256));
    return TSR_CUDA_BY_DTYPE(p->dtype, T,
                             return tsr_launch(step, "the bias", grid, dim3(256), 0, add_bias<T>, p->out, p->out_ld,
                                               p->n, p->bias, p->out_dtype == TSR_F32));
}

tsr_status tsr_cuda_linear(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    tsr_weight_product p = tsr_product_of(call, step);
    if (p.rows == 0 || p.n == 0) return TSR_OK;
    if (step->plain) return p.rows <= TSR_GEMV_ROWS ? tsr_product_gemv(&p, step) : tsr_product_tiled(&p, step);
    if (tsr_product_stream_takes(&p)) return tsr_product_stream(&p, step);
    if (tsr_product_vector_takes(&p)) return tsr_product_vector(&p, step);
    if (p.rows == 1) return tsr_product_gemv(&p, step);
    return tsr_product_many(&p, call->gemm, step);
}
