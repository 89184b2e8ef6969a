/* cpu_kernels.h: the kernel sets of the CPU backend, one for each instruction set, chosen when the program
 * runs.
 *
 * layers/cpu/kernels/ is compiled once per instruction set; each compilation exports one table.
 * tsr_cpu_kernels_best() asks the processor (and, for AMX, the kernel's permission) and returns the best set
 * that runs here; the environment variable TESSERA_ISA (portable, avx2, avx512, avx512bf16, amx) forces a
 * lesser one, for tests. Local, thread-safe.
 */
#ifndef TSR_LAYERS_CPU_KERNELS_H
#define TSR_LAYERS_CPU_KERNELS_H

#include "base/status.h"
#include "layers/kernel.h"

typedef struct tsr_cpu_kernels {
    const char *isa;
    tsr_cpu_kernel kernel[TSR_OP_COUNT];
    /* Bytes of tsr_call.shared that a call of this op needs for steps of up to `rows` rows. */
    int64_t (*shared_bytes)(const tsr_call *call, int64_t rows);
    /* Called once on every worker thread before its first kernel (AMX tile state); may be NULL. */
    void (*thread_init)(void);
} tsr_cpu_kernels;

const tsr_cpu_kernels *tsr_cpu_kernels_best(void);
/* NULL if the name is unknown, not compiled in, or does not run on this processor. */
const tsr_cpu_kernels *tsr_cpu_kernels_named(const char *isa);

#endif
