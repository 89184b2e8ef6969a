/* gated_linear.c: out = f(x Wg^T + bg) * (x Wu^T + bu), W = [Wg; Wu]: linear into scratch, then gated on its halves. */
#include "layers/cpu/kernels/gemm.h"

static int64_t both_bytes(const tsr_call *call, int64_t rows)
{
    return tsr_round_up(rows * 2 * call->out[0].cols * (int64_t)sizeof(float), 64);
}

/* The linear inside: its result [rows][2 cols] comes first in the scratch of the call, its own scratch behind. */
static tsr_call inner_linear(const tsr_call *call, int64_t rows)
{
    tsr_call linear = *call;
    linear.op = TSR_OP_LINEAR;
    linear.out[0].data = call->shared;
    linear.out[0].ld = linear.out[0].cols = 2 * call->out[0].cols;
    linear.shared = call->shared ? (char *)call->shared + both_bytes(call, rows) : NULL;
    return linear;
}

int64_t TSR_LOCAL(tsr_gated_linear_shared_bytes)(const tsr_call *call, int64_t rows)
{
    tsr_call linear = inner_linear(call, rows);
    return both_bytes(call, rows) + TSR_LOCAL(tsr_linear_shared_bytes)(&linear, rows);
}

TSR_KERNEL(gated_linear)
{
    int64_t cols = call->out[0].cols;
    tsr_call linear = inner_linear(call, tsr_rows_of(&call->out[0], step));
    if (worker->phase < 2) {
        TSR_LOCAL(tsr_cpu_linear)(&linear, step, worker);
        return;
    }
    tsr_call gated = *call;
    gated.op = TSR_OP_GATED;
    gated.in[0] = gated.in[1] = linear.out[0];
    gated.in[0].cols = gated.in[1].cols = cols;
    gated.in[1].data += cols;
    TSR_LOCAL(tsr_cpu_gated)(&gated, step, worker);
}
