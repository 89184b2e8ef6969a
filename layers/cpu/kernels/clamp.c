/* clamp.c: out = min(max(x, -limit), limit). */
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/kernels/simd.h"

TSR_INLINE vf clamp(vf x, vf limit)
{
    return v_if(x > limit, limit, v_if(x < -limit, -limit, x));
}

TSR_KERNEL(clamp)
{
    tsr_block b = tsr_share_block(tsr_rows_of(&call->out[0], step), call->out[0].cols, worker);
    vf limit = v_set1(call->attrs.clamp.limit);
    for (int64_t r = b.row; r < b.row_end; r++) {
        const float *x = call->in[0].data + r * call->in[0].ld;
        float *out = call->out[0].data + r * call->out[0].ld;
        int64_t c = b.col;
        for (; c + TSR_VL <= b.col_end; c += TSR_VL) v_store(out + c, clamp(v_load(x + c), limit));
        if (c < b.col_end) v_store_n(out + c, clamp(v_load_n(x + c, b.col_end - c), limit), b.col_end - c);
    }
}
