/* kernel.h: what a bound kernel call looks like, and the step it works on.
 *
 * The executor binds each node once: pointers, strides, weights and attributes go into a tsr_call. Running a step calls
 * the kernels of the list in order, on every thread of the rank at once: a kernel takes the part of the rows or columns
 * that falls to `worker->thread`, and the executor puts a barrier of all threads after each phase. Kernels do not fail
 * and do not allocate; all scratch comes from the worker or the call.
 */
#ifndef TSR_LAYERS_KERNEL_H
#define TSR_LAYERS_KERNEL_H

#include "base/dtype.h"
#include "layers/ops.h"

#include <stdbool.h>
#include <stdint.h>

/* One sequence of a step. Its cached tokens lie in pages: token p is in page pages[p / page_tokens]. */
typedef struct tsr_step_sequence {
    int32_t first_token;  /* index of its first token in this step */
    int32_t n_tokens;     /* tokens in this step, >= 1 */
    int32_t position;     /* position of that first token = tokens cached before this step */
    const int32_t *pages; /* page numbers, enough for position + n_tokens tokens */
    int32_t prefix;       /* keys at positions below are seen by all its tokens (prefix.h); 0: none */
    bool prompt;          /* its tokens are of its prompt, even if this step has one alone */
} tsr_step_sequence;

/* One step: T tokens of S sequences laid end to end, and R rows whose outputs are wanted. */
typedef struct tsr_step {
    int32_t n_tokens, n_sequences, n_rows;
    const int32_t *ids;                 /* [T] */
    const int32_t *positions;           /* [T] */
    const int32_t *position_rows[2];    /* [T] each, those of prefix.h */
    const int32_t *sequence;            /* [T] index into sequences */
    const int32_t *rows;                /* [R] token indices, ascending */
    const tsr_step_sequence *sequences; /* [S] */
    const float *const *rope;           /* [tables] each [T][dims]: dims/2 cosines, dims/2 sines */
} tsr_step;

/* How a weight lies in CPU memory. */
typedef enum tsr_pack {
    TSR_PACK_ROWS,  /* [rows][cols], or [rows] of a vector: always float32 for vectors */
    TSR_PACK_PANELS /* panels of TSR_PANEL rows, zero-padded: see layers/cpu/pack.h */
} tsr_pack;

typedef struct tsr_weight_data {
    tsr_dtype dtype;
    tsr_pack pack;
    int64_t rows, cols;
    const void *data;
} tsr_weight_data;

/* Where one cache layer lies: k of (page, kv head, slot) is at k + ((page*kv_heads + head)*page_tokens + slot)*head_dim
 * elements; v alike with value_dim. */
typedef struct tsr_cache_data {
    tsr_dtype dtype; /* F32, F16 or BF16 */
    void *k, *v;
    int page_tokens;
    int kv_heads, head_dim, value_dim;
} tsr_cache_data;

/* A value in memory: row r begins at data + r*ld elements. Values are float32 on the CPU. */
typedef struct tsr_operand {
    float *data;
    int64_t ld, cols;
    int selected; /* 0: its rows are the step's tokens; 1: the step's selected rows */
} tsr_operand;

/* The collectives a graph needs, declared here and filled by parallel/ (one rank: all do nothing). Every rank of the
 * job must make the same calls in the same order; within a rank every thread calls, with its number. A failure (lost
 * rank, deadline) is returned on every thread that sees it; the data is then undefined. */
typedef struct tsr_comm tsr_comm;

/* Rows that are summed over the ranks and then finished by a function of the caller's. */
typedef struct tsr_row_job {
    const float *x; /* [rows][cols], end to end: this rank's partial sums */
    int64_t rows, cols;
    bool dealt; /* a row may be finished by its owner alone; else every rank finishes every row */
    /* Finishes a row of out[0] .. out[n_out - 1] from part[q], that row of rank q's partial sums. Row `row` of x is
     * not needed after it, nor are rows of other owners after the call: outputs may lie over x. */
    void (*finish)(const struct tsr_row_job *job, int64_t row, const float *const *part);
    int n_out;
    struct tsr_row_out {
        float *data; /* [rows], ld floats apart, cols wide */
        int64_t ld;
        bool whole; /* rows of other owners are fetched from them */
    } out[2];
    const void *arg; /* finish's own */
} tsr_row_job;

typedef struct tsr_comm_ops {
    const char *name; /* "self", "mpi", "shm" */
    /* data[i] = sum over ranks; the same bits on every rank. Blocking. */
    int (*all_reduce)(tsr_comm *comm, float *data, int64_t n, int thread, int n_threads);
    /* Whether reduce_rows is the way for such a job: the same answer on every rank. NULL: it never is. */
    bool (*takes_rows)(const tsr_comm *comm, int64_t rows, int64_t cols, bool dealt);
    /* Does the job; only where takes_rows says so. Blocking; failures as of all_reduce. Every thread calls with an
     * equal job; finish runs on any of them. */
    int (*reduce_rows)(tsr_comm *comm, const tsr_row_job *job, int thread, int n_threads);
} tsr_comm_ops;
struct tsr_comm {
    const tsr_comm_ops *ops;
    int rank, size;
};

/* The rows [*begin, *end) that a rank owns where rows are dealt. */
static inline void tsr_row_owner(int64_t rows, int rank, int size, int64_t *begin, int64_t *end)
{
    *begin = rows * rank / size;
    *end = rows * (rank + 1) / size;
}

typedef struct tsr_call tsr_call;

typedef struct tsr_worker {
    int thread, n_threads;
    int phase;     /* 0 .. phases - 1 */
    void *scratch; /* of this thread, TSR_WORKER_SCRATCH bytes, 64-byte aligned */
    int failure;   /* a tsr_status other than 0: the collective failed; the executor ends the step */
} tsr_worker;

enum { TSR_WORKER_SCRATCH = 1 << 20, TSR_PAGE_TOKENS = 32 };

typedef void (*tsr_cpu_kernel)(const tsr_call *call, const tsr_step *step, tsr_worker *worker);

struct tsr_call {
    tsr_cpu_kernel kernel;
    int phases;
    tsr_op op;
    int n_inputs;
    tsr_operand in[3], out[2];
    const tsr_weight_data *weight[2]; /* NULL where absent */
    tsr_attrs attrs;
    const tsr_cache_data *cache; /* attention */
    tsr_comm *comm;              /* collectives */
    void *shared;                /* scratch of the call shared by its threads, shared_bytes(op) long */
};

static inline int32_t tsr_rows_of(const tsr_operand *v, const tsr_step *step)
{
    return v->selected ? step->n_rows : step->n_tokens;
}

/* The part [*begin, *end) of n things that falls to a thread, in multiples of `unit`. */
static inline void tsr_share(int64_t n, int64_t unit, const tsr_worker *w, int64_t *begin, int64_t *end)
{
    int64_t units = (n + unit - 1) / unit;
    *begin = units * w->thread / w->n_threads * unit;
    *end = units * (w->thread + 1) / w->n_threads * unit;
    if (*begin > n) *begin = n;
    if (*end > n) *end = n;
}

#endif
