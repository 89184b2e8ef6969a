/* tuning.h: choices that the CPU kernels make by timing on the machine they run on, open to tests. */
#ifndef TSR_LAYERS_CPU_TUNING_H
#define TSR_LAYERS_CPU_TUNING_H

/* The avx512bf16 set multiplies many rows by bf16 weights either by bf16 dot products (TSR_DOT) or by float32
 * multiply-adds: processors differ fourfold in which is faster. Timed when the first thread is prepared,
 * unless a test has set it; not to be changed while kernels run. */
typedef enum tsr_dot_choice { TSR_DOT_UNTIMED, TSR_DOT, TSR_DOT_NOT } tsr_dot_choice;
extern tsr_dot_choice tsr_cpu_dot_choice;

#endif
