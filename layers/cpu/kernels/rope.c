/* rope.c: rotary position embedding of each head (rotate.h has the formula). */
#include "layers/cpu/kernels/rotate.h"

/* Heads first .. last - 1 of one row. */
static void rotate_row(const tsr_call *call, const float *angles, int64_t row, int64_t first, int64_t last)
{
    int d = call->attrs.rope.rotary_dim, head_dim = call->attrs.rope.head_dim;
    for (int64_t h = first; h < last; h++) {
        const float *x = call->in[0].data + row * call->in[0].ld + h * head_dim;
        float *out = call->out[0].data + row * call->out[0].ld + h * head_dim;
        tsr_rotate(x, angles, d, call->attrs.rope.style, head_dim, out);
    }
}

TSR_KERNEL(rope)
{
    int64_t rows = tsr_rows_of(&call->out[0], step), first = 0, last = call->attrs.rope.heads, row = 0,
            end = rows;
    if (rows < worker->n_threads)
        tsr_share(last, 1, worker, &first, &last);
    else
        tsr_share(rows, 1, worker, &row, &end);
    const float *table = step->rope[call->attrs.rope.rope];
    for (; row < end; row++)
        rotate_row(call, table + tsr_token_of(&call->in[0], step, row) * call->attrs.rope.rotary_dim, row,
                   first, last);
}
