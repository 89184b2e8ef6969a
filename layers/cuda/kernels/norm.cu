/* norm.cu: layer norm and RMS norm of each row (formulas: layers/ops.h, tsr_norm_kind). A block per row. */
#include "layers/cuda/kernels/row_kept.cuh"

tsr_status tsr_cuda_norm(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *x = &call->in[0], *out = &call->out[0];
    tsr_norm_rows d = {};
    d.a = x->data;
    d.a_ld = x->ld;
    d.out = out->data;
    d.out_ld = out->ld;
    d.cols = out->cols;
    d.weight = call->weight[0] ? (const float *)call->weight[0]->data : nullptr;
    d.bias = call->weight[1] ? (const float *)call->weight[1]->data : nullptr;
    d.kind = call->attrs.norm.kind;
    d.eps = call->attrs.norm.eps;
    bool vectors = tsr_vector_operand(x) && tsr_vector_operand(out);
    return tsr_norm_by_dtype(d, tsr_cuda_bound_rows(out, step), out->dtype, vectors, step, "norm");
}
