/* fuse.h: kernel injection: rewrites patterns of a graph to fused ops, whatever model they stand in.
 *
 * Runs on a rank's model after sharding. Patterns:
 *
 *   linears   several linears of one input (q, k, v; gate and up; all of them in a parallel block) become one
 *             linear whose weight is the concatenation; their outputs become windows of its output
 *   add_norm  residual addition and the norm that reads the sum become one op with two outputs
 *   ropes     the rotation of q and of k becomes part of the attention that alone reads them
 *   reduce    an all_reduce that an add_norm alone reads becomes one op with it (fuse_reduce.h)
 *
 * The result computes the same function, on the CPU bitwise the same. Local.
 * Errors: TSR_ERR_MEMORY.
 */
#ifndef TSR_LAYERS_FUSE_H
#define TSR_LAYERS_FUSE_H

#include "layers/graph.h"

typedef enum tsr_kernels_choice {
    TSR_KERNELS_AUTO,   /* every pattern that has a kernel */
    TSR_KERNELS_INJECT, /* the same; for users of the word */
    TSR_KERNELS_REFERENCE /* nothing is fused, and on GPUs the simplest kernel of each op runs: for finding errors */
} tsr_kernels_choice;

/* By its name, "auto", "inject" or "reference"; else TSR_ERR_USAGE. */
tsr_status tsr_kernels_choice_of(const char *name, tsr_kernels_choice *out);

/* How often each pattern was found: for `plan`. */
typedef struct tsr_fuse_report {
    int linears, add_norms, ropes; /* ropes: attentions that do their own */
    int gated_linears;             /* on GPUs */
    int reductions;                /* those of add_norms that became one with an all_reduce */
} tsr_fuse_report;

/* A pattern of GPUs, after tsr_fuse: a merged gate and up projection and the gate that alone reads it become one op, whose
 * [gate | up] never goes to memory when rows are few. */
tsr_status tsr_fuse_gated_linears(tsr_model *local, int *count);

tsr_status tsr_fuse(tsr_model *local, tsr_kernels_choice choice, tsr_fuse_report *report);

#endif
