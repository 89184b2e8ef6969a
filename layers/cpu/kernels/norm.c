/* norm.c: layer norm or RMS norm of each row. */
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/row_norm.h"

TSR_KERNEL(norm)
{
    int64_t row, end;
    tsr_share(tsr_rows_of(&call->out[0], step), 1, worker, &row, &end);
    for (; row < end; row++)
        tsr_row_norm(call->attrs.norm.kind, call->attrs.norm.eps, call->in[0].data + row * call->in[0].ld,
                     tsr_vector_of(call->weight[0]), tsr_vector_of(call->weight[1]),
                     call->out[0].data + row * call->out[0].ld, call->out[0].cols);
}
