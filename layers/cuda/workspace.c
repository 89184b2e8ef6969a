/* workspace.c: how much workspace each op's kernel asks for; ops without a row need none. */
#include "layers/cuda/cuda_kernel.h"
#include "layers/cuda/kernels.h"

/* The gate and up rows side by side, before the gate (many rows). */
static int64_t gated_linear_bytes(const tsr_cuda_call *call, int64_t tokens, int64_t rows, int n_processors)
{
    (void)n_processors;
    int64_t n = call->out[0].selected ? rows : tokens;
    return n * 2 * call->out[0].cols * tsr_dtype_bytes(call->in[0].dtype);
}

typedef int64_t (*bytes_of)(const tsr_cuda_call *call, int64_t tokens, int64_t rows, int n_processors);

static const bytes_of table[TSR_OP_COUNT] = {
    [TSR_OP_GATED_LINEAR] = gated_linear_bytes,
    [TSR_OP_ATTENTION] = tsr_cuda_attention_workspace_bytes,
};

int64_t tsr_cuda_workspace_bytes(const tsr_cuda_call *call, int64_t tokens, int64_t rows, int n_processors)
{
    return table[call->op] ? table[call->op](call, tokens, rows, n_processors) : 0;
}
