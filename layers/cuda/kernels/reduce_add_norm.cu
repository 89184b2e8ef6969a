/* reduce_add_norm.cu: sum = residual + the sum of x over the ranks (output 1), out = norm(sum) (output 0): in one
 * kernel where the communicator has one, else as the two ops it is made of. Input 0 is x, input 1 the residual. */
#include "layers/cuda/kernels.h"
#include "layers/cuda/kernels/reduce_peers.h"

tsr_reduce_rows tsr_reduce_rows_of(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *x = &call->in[0], *residual = &call->in[1];
    tsr_reduce_rows a = {};
    a.dtype = x->dtype;
    a.rows = tsr_cuda_bound_rows(x, step);
    a.cols = a.last_cols = x->cols;
    a.x = x->data;
    a.x_ld = x->ld;
    a.residual = residual->data;
    a.residual_ld = residual->ld;
    a.sum = call->out[1].data;
    a.sum_ld = call->out[1].ld;
    a.normed = call->out[0].data;
    a.normed_ld = call->out[0].ld;
    a.w = call->weight[0] ? (const float *)call->weight[0]->data : NULL;
    a.b = call->weight[1] ? (const float *)call->weight[1]->data : NULL;
    a.norm = call->attrs.norm.kind;
    a.eps = call->attrs.norm.eps;
    return a;
}

/* x becomes its own sum: it is a partial one, of which nobody else makes use. */
tsr_status tsr_cuda_reduce_then_add_norm(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const tsr_cuda_operand *x = &call->in[0];
    int64_t rows = tsr_cuda_bound_rows(x, step), at_once = x->ld == x->cols ? rows : 1;
    for (int64_t row = 0; call->comm && row < rows; row += at_once)
        TSR_TRY(call->comm->ops->all_reduce(call->comm,
                                            (char *)x->data + row * x->ld * tsr_dtype_bytes(x->dtype), x->dtype,
                                            at_once * x->cols, step));
    tsr_cuda_call add_norm = *call;
    add_norm.op = TSR_OP_ADD_NORM;
    return tsr_cuda_add_norm(&add_norm, step);
}

tsr_status tsr_cuda_reduce_add_norm(const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    if (call->comm && call->comm->ops->reduce_add_norm)
        return call->comm->ops->reduce_add_norm(call->comm, call, step);
    return tsr_cuda_reduce_then_add_norm(call, step);
}
