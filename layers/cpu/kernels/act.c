/* act.c: out = f(x), f an activation. */
#include "layers/cpu/kernels/activation.h"
#include "layers/cpu/kernels/kernels.h"

TSR_INLINE void apply(tsr_activation kind, const float *x, float *out, int64_t n)
{
    int64_t c = 0;
    for (; c + TSR_VL <= n; c += TSR_VL) v_store(out + c, v_activation(kind, v_load(x + c)));
    if (c < n) v_store_n(out + c, v_activation(kind, v_load_n(x + c, n - c)), n - c);
}

static void apply_row(tsr_activation kind, const float *x, float *out, int64_t n)
{
    switch (kind) {
#define TSR_ACT_CASE(NAME, names, formula)                                                                   \
    case TSR_ACT_##NAME:                                                                                     \
        apply(TSR_ACT_##NAME, x, out, n);                                                                    \
        break;
        TSR_ACTIVATION_TABLE(TSR_ACT_CASE)
#undef TSR_ACT_CASE
    default:
        break;
    }
}

TSR_KERNEL(act)
{
    tsr_block block = tsr_share_block(tsr_rows_of(&call->out[0], step), call->out[0].cols, worker);
    for (int64_t r = block.row; r < block.row_end; r++)
        apply_row(call->attrs.act.kind, call->in[0].data + r * call->in[0].ld + block.col,
                  call->out[0].data + r * call->out[0].ld + block.col, block.col_end - block.col);
}
