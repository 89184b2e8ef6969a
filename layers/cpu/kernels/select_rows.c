/* select_rows.c: out[r] = x[rows[r]], the rows of the step whose outputs are wanted. */
#include "layers/cpu/kernels/kernels.h"

#include <string.h>

TSR_KERNEL(select_rows)
{
    int64_t row, end;
    tsr_share(step->n_rows, 1, worker, &row, &end);
    for (; row < end; row++)
        memcpy(call->out[0].data + row * call->out[0].ld, call->in[0].data + step->rows[row] * call->in[0].ld,
               (size_t)call->out[0].cols * 4);
}
