/* linear.c: out = x W^T + b, W packed in panels (pack.h); chooses among the ways of gemm.h by dtype and
 * number of rows. */
#include "layers/cpu/kernels/gemm.h"

/* With up to this many rows, float32 multiply-adds keep up with memory. */
enum { FEW_ROWS = 6 };

static const tsr_gemm *choose(const tsr_call *call, int64_t rows)
{
#ifdef __AMX_BF16__
    if (call->weight[0]->dtype == TSR_BF16 && rows > FEW_ROWS) return &TSR_LOCAL(tsr_gemm_amx);
#endif
    (void)call;
    (void)rows;
    return &TSR_LOCAL(tsr_gemm_fma);
}

int64_t TSR_LOCAL(tsr_linear_shared_bytes)(const tsr_call *call, int64_t rows)
{
    int64_t few = tsr_min(rows, FEW_ROWS);
    return tsr_max(choose(call, few)->shared_bytes(call, few), choose(call, rows)->shared_bytes(call, rows));
}

TSR_KERNEL(linear)
{
    int64_t rows = tsr_rows_of(&call->out[0], step);
    if (rows == 0) return;
    const tsr_gemm *gemm = choose(call, rows);
    if (worker->phase == 0)
        gemm->prepare(call, rows, worker);
    else
        gemm->multiply(call, rows, worker);
}

void TSR_LOCAL(tsr_gemm_thread_init)(void)
{
#ifdef __AMX_BF16__
    TSR_LOCAL(tsr_amx_thread_init)();
#endif
}
