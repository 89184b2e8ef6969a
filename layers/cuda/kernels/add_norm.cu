/* add_norm.cu: sum = a + b (output 1), out = norm(sum) (output 0). The sum may lie over a or b. A block per row. */
#include "layers/cuda/kernels/row_kept.cuh"

tsr_status tsr_cuda_add_norm(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *a = &call->in[0], *b = &call->in[1], *out = &call->out[0], *sum = &call->out[1];
    tsr_norm_rows d = {};
    d.a = a->data;
    d.a_ld = a->ld;
    d.b = b->data;
    d.b_ld = b->ld;
    d.sum = sum->data;
    d.sum_ld = sum->ld;
    d.out = out->data;
    d.out_ld = out->ld;
    d.cols = out->cols;
    d.weight = call->weight[0] ? (const float *)call->weight[0]->data : nullptr;
    d.bias = call->weight[1] ? (const float *)call->weight[1]->data : nullptr;
    d.kind = call->attrs.norm.kind;
    d.eps = call->attrs.norm.eps;
    bool vectors = tsr_vector_operand(a) && tsr_vector_operand(b) && tsr_vector_operand(out) && tsr_vector_operand(sum);
    return tsr_norm_by_dtype(d, tsr_cuda_bound_rows(out, step), out->dtype, vectors, step, "add_norm");
}
