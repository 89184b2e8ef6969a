/* linear.c: out = x W^T + b, W packed in panels (pack.h); chooses among the ways of gemm.h by dtype and rows.
 */
#include "layers/cpu/kernels/gemm.h"
#include "layers/cpu/tuning.h"

static const tsr_gemm *choose(const tsr_call *call, int64_t rows)
{
    (void)rows;
    if (call->weight[0]->dtype != TSR_BF16) return &TSR_LOCAL(tsr_gemm_fma);
#if defined(TSR_ISA_amx)
    return rows <= TSR_FEW_ROWS ? &TSR_LOCAL(tsr_gemm_amx_few) : &TSR_LOCAL(tsr_gemm_amx);
#elif defined(TSR_ISA_avx512bf16)
    if (tsr_cpu_dot_choice == TSR_DOT) return &TSR_LOCAL(tsr_gemm_dot);
#endif
    return &TSR_LOCAL(tsr_gemm_fma);
}

/* Fewer rows may need more than many. May be asked before the choice of dot is made. */
int64_t TSR_LOCAL(tsr_linear_shared_bytes)(const tsr_call *call, int64_t rows)
{
    int64_t most = 0;
    for (int64_t r = 1; r <= tsr_min(rows, 8); r++)
        most = tsr_max(most, choose(call, r)->shared_bytes(call, r));
    most = tsr_max(most, choose(call, rows)->shared_bytes(call, rows));
#if defined(TSR_ISA_avx512bf16)
    most = tsr_max(most, TSR_LOCAL(tsr_gemm_dot).shared_bytes(call, rows));
#endif
    return most;
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
#if defined(TSR_ISA_amx)
    TSR_LOCAL(tsr_amx_thread_init)();
#elif defined(TSR_ISA_avx512bf16)
    TSR_LOCAL(tsr_gemm_dot_choose)();
#endif
}
