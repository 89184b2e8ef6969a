/* linear.c: out = x W^T + b, W packed in panels (pack.h); chooses among the ways of gemm.h by dtype and rows.
 */
#include "layers/cpu/kernels/gemm.h"
#include "layers/cpu/tuning.h"

/* Up to this many rows float32 multiply-adds keep up with memory, and round nothing. */
#ifdef TSR_ISA_amx
enum { FEW_ROWS = 6 };
#else
enum { FEW_ROWS = 4 };
#endif

static const tsr_gemm *choose(const tsr_call *call, int64_t rows)
{
    if (call->weight[0]->dtype != TSR_BF16 || rows <= FEW_ROWS) return &TSR_LOCAL(tsr_gemm_fma);
#if defined(TSR_ISA_amx)
    return &TSR_LOCAL(tsr_gemm_amx);
#elif defined(TSR_ISA_avx512bf16)
    if (tsr_cpu_dot_choice == TSR_DOT) return &TSR_LOCAL(tsr_gemm_dot);
#endif
    return &TSR_LOCAL(tsr_gemm_fma);
}

/* May be asked before the choice of dot is made: what fma needs is enough for both. */
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
#if defined(TSR_ISA_amx)
    TSR_LOCAL(tsr_amx_thread_init)();
#elif defined(TSR_ISA_avx512bf16)
    TSR_LOCAL(tsr_gemm_dot_choose)();
#endif
}
