/* add_norm.c: sum = a + b (output 1), out = norm(sum) (output 0). The sum may lie over a or b. */
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/row_norm.h"

TSR_KERNEL(add_norm)
{
    int64_t row, end, cols = call->out[0].cols;
    tsr_share(tsr_rows_of(&call->out[0], step), 1, worker, &row, &end);
    for (; row < end; row++) {
        const float *a = call->in[0].data + row * call->in[0].ld,
                    *b = call->in[1].data + row * call->in[1].ld;
        float *sum = call->out[1].data + row * call->out[1].ld;
        tsr_row_add(a, b, sum, cols);
        tsr_row_norm(call->attrs.norm.kind, call->attrs.norm.eps, sum, tsr_vector_of(call->weight[0]),
                     tsr_vector_of(call->weight[1]), call->out[0].data + row * call->out[0].ld, cols);
    }
}
