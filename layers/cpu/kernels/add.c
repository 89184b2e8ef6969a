/* add.c: out = a + b. */
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/row_norm.h"

TSR_KERNEL(add)
{
    tsr_block block = tsr_share_block(tsr_rows_of(&call->out[0], step), call->out[0].cols, worker);
    for (int64_t r = block.row; r < block.row_end; r++)
        tsr_row_add(call->in[0].data + r * call->in[0].ld + block.col,
                    call->in[1].data + r * call->in[1].ld + block.col,
                    call->out[0].data + r * call->out[0].ld + block.col, block.col_end - block.col);
}
