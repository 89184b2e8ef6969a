/* table.c: the kernel set of one instruction set (TSR_ISA), as cpu_kernels.h wants it. */
#include "layers/cpu/cpu_kernels.h"
#include "layers/cpu/kernels/gemm.h"
#include "layers/cpu/kernels/kernels.h"

#define TSR_TEXT_(x) #x
#define TSR_TEXT(x)  TSR_TEXT_(x)

static int64_t shared_bytes(const tsr_call *call, int64_t rows)
{
    if (call->op == TSR_OP_GATED_LINEAR) return TSR_LOCAL(tsr_gated_linear_shared_bytes)(call, rows);
    return call->op == TSR_OP_LINEAR ? TSR_LOCAL(tsr_linear_shared_bytes)(call, rows) : 0;
}

extern const tsr_cpu_kernels TSR_LOCAL(tsr_cpu_kernels);
const tsr_cpu_kernels TSR_LOCAL(tsr_cpu_kernels) = {
    .isa = TSR_TEXT(TSR_ISA),
    .kernel =
        {
#define TSR_KERNEL_ROW(NAME, name, i0, i1, w0, w1, phases, shard) [TSR_OP_##NAME] = TSR_LOCAL(tsr_cpu_##name),
            TSR_OP_TABLE(TSR_KERNEL_ROW)
#undef TSR_KERNEL_ROW
        },
    .shared_bytes = shared_bytes,
    .thread_init = TSR_LOCAL(tsr_gemm_thread_init),
};
