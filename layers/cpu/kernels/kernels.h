/* kernels.h: naming and work sharing of the op kernels.
 *
 * Every file of this directory is compiled once for each instruction set, so nothing in it may have a global
 * name of its own: TSR_LOCAL(name) is name_<instruction set>, TSR_KERNEL(op) begins the kernel of an op.
 * table.c collects them.
 */
#ifndef TSR_LAYERS_CPU_KERNELS_KERNELS_H
#define TSR_LAYERS_CPU_KERNELS_KERNELS_H

#include "base/checked.h"
#include "layers/kernel.h"

#define TSR_PASTE_(a, b) a##_##b
#define TSR_PASTE(a, b)  TSR_PASTE_(a, b)
#define TSR_LOCAL(name)  TSR_PASTE(name, TSR_ISA)
#define TSR_KERNEL(op)                                                                                       \
    void TSR_LOCAL(tsr_cpu_##op)(const tsr_call *call, const tsr_step *step, tsr_worker *worker)

#define TSR_KERNEL_DECLARE(NAME, name, i0, i1, w0, w1, phases, shard) TSR_KERNEL(name);
TSR_OP_TABLE(TSR_KERNEL_DECLARE)
#undef TSR_KERNEL_DECLARE

/* What a thread does of an elementwise op: rows row .. row_end - 1, columns col .. col_end - 1. */
typedef struct tsr_block {
    int64_t row, row_end, col, col_end;
} tsr_block;

/* Many rows are dealt out whole; of a few, each thread takes a range of columns; small work is left to thread
 * 0. */
static inline tsr_block tsr_share_block(int64_t rows, int64_t cols, const tsr_worker *worker)
{
    enum { WORTH_SHARING = 4096, LINE = 16 };
    tsr_block b = {0, rows, 0, cols};
    if (rows * cols < WORTH_SHARING) {
        if (worker->thread != 0) b.row_end = 0;
    } else if (rows >= 4 * worker->n_threads) {
        tsr_share(rows, 1, worker, &b.row, &b.row_end);
    } else {
        tsr_share(cols, LINE, worker, &b.col, &b.col_end);
    }
    return b;
}

/* The token whose value row r of v is. */
static inline int64_t tsr_token_of(const tsr_operand *v, const tsr_step *step, int64_t r)
{
    return v->selected ? step->rows[r] : r;
}

#endif
