/* cuda_kernel.h: what a bound kernel call looks like on a GPU, and the step it works on.
 *
 * The counterpart of layers/kernel.h. The CUDA executor binds each node once into a tsr_cuda_call and then enqueues
 * the calls in order on one stream. A kernel function here is host code: it chooses a launch and enqueues it; it never
 * waits, allocates or copies to the host, so that a step can be captured as a graph.
 *
 * Geometry and truth. A captured graph is replayed for steps of different sizes, so the host knows bounds only
 * (bound_tokens, bound_sequences, bound_rows), from which launches are sized; the exact counts are read on the device
 * (step->counts). Rows from the count up to the bound hold garbage that nobody may rely on and any kernel may
 * compute on, but memory that lives on (cache pages) is written for true tokens alone.
 *
 * Overlap. Where step->overlap is set, kernels are launched with programmatic stream serialization: a kernel may begin
 * while its predecessor ends. Each kernel therefore calls tsr_grid_wait() (device.cuh) before it reads or writes anything
 * but weights, and tsr_grid_release() as soon as its successor may be loaded beside it.
 * The step's own record (counts, sequences, pages) may be read earlier: an ordinary copy in the stream brings it before the
 * first kernel of the step begins. Attention of decode steps relies on that. A kernel whose blocks may have nothing to do
 * still waits: it may not end before its predecessor.
 *
 * Values have the dtype of the weights (float32, float16, bfloat16); the graph's output is float32. Sums, norms and
 * softmax are taken in float32.
 */
#ifndef TSR_LAYERS_CUDA_KERNEL_H
#define TSR_LAYERS_CUDA_KERNEL_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" { /* kernels are C++, all else is C */
#endif

#include "base/dtype.h"
#include "base/status.h"
#include "layers/kernel.h"
#include "layers/ops.h"

typedef struct tsr_cuda_counts {
    int32_t n_tokens, n_sequences, n_rows;
} tsr_cuda_counts;

/* One sequence of a step; as tsr_step_sequence, with its pages as an index into step->pages. */
typedef struct tsr_cuda_sequence {
    int32_t first_token, n_tokens, position, first_page;
    int32_t prefix;
} tsr_cuda_sequence;

typedef struct tsr_cuda_step {
    cudaStream_t stream;
    bool overlap; /* launch with programmatic stream serialization */
    bool plain;   /* of several kernels for an op take the simplest: for finding errors */
    bool decode;  /* every sequence has one token, and each is wanted: token t = sequence t = row t */
    int32_t bound_tokens, bound_sequences, bound_rows; /* at least the counts; what launches are sized by */
    int32_t bound_context; /* no sequence of any step has more tokens than this, cached and new together */
    int n_processors;      /* of the device: streaming multiprocessors */
    /* All below in device memory. */
    const tsr_cuda_counts *counts;
    const int32_t *ids;                 /* [T]; -1 - r: what row r of the step before chose, tokens[r] */
    const int32_t *tokens;              /* [R] of the step before; NULL where no id refers to it */
    const int32_t *positions;           /* [T] */
    const int32_t *position_rows[2];    /* [T] each, those of prefix.h */
    const int32_t *sequence;            /* [T] index into sequences */
    const int32_t *rows;                /* [R] token indices, ascending */
    const tsr_cuda_sequence *sequences; /* [S] */
    const int32_t *pages;               /* page tables of all sequences: token p of s is in page
                                           pages[s.first_page + p / page_tokens] */
    const float *const *rope; /* [tables], this array in host memory: each [T][dims]: dims/2 cosines,
                                           dims/2 sines */
} tsr_cuda_step;

/* A weight lies in rows, [rows][cols] or [rows] of a vector: as the checkpoint has it. Vectors are float32. */
typedef struct tsr_cuda_weight {
    tsr_dtype dtype;
    int64_t rows, cols;
    const void *data; /* 256-byte aligned */
} tsr_cuda_weight;

/* A value: row r begins at data + r*ld elements. Windows of fused values have ld > cols; ld and data are multiples of
 * 16 bytes only where the model's sizes make them so: kernels that read vectors check that first. */
typedef struct tsr_cuda_operand {
    void *data;
    int64_t ld, cols;
    tsr_dtype dtype;
    bool selected; /* false: its rows are the step's tokens; true: the step's selected rows */
} tsr_cuda_operand;

typedef struct tsr_cuda_call tsr_cuda_call;

/* The collectives of a graph on GPUs, declared here and filled by parallel/. Every rank of the job enqueues the same
 * calls in the same order. Failures that only show while the stream runs are found by whoever waits for the step. */
typedef struct tsr_cuda_comm tsr_cuda_comm;
typedef struct tsr_cuda_comm_ops {
    const char *name; /* "nccl", "ipc" */
    /* data[i] = sum over the ranks, n elements of `dtype`; the same bits on every rank. */
    tsr_status (*all_reduce)(tsr_cuda_comm *comm, void *data, tsr_dtype dtype, int64_t n,
                             const tsr_cuda_step *step);
    /* The op reduce_add_norm (layers/ops.h) in one; NULL where the communicator has no better way than all_reduce
     * followed by add_norm. */
    tsr_status (*reduce_add_norm)(tsr_cuda_comm *comm, const tsr_cuda_call *call, const tsr_cuda_step *step);
} tsr_cuda_comm_ops;
struct tsr_cuda_comm {
    const tsr_cuda_comm_ops *ops;
    int rank, size;
};

typedef tsr_status (*tsr_cuda_kernel)(const tsr_cuda_call *call, const tsr_cuda_step *step);

struct tsr_cuda_call {
    tsr_cuda_kernel kernel;
    tsr_op op;
    int n_inputs;
    tsr_cuda_operand in[3], out[2];
    const tsr_cuda_weight *weight[2]; /* NULL where absent */
    tsr_attrs attrs;
    const tsr_cache_data *cache; /* attention: pointers in device memory, layout as in layers/kernel.h */
    tsr_cuda_comm *comm;         /* collectives; NULL on one rank */
    void *workspace;             /* device memory, shared by all calls one after another */
    int64_t workspace_bytes;
    struct tsr_cuda_gemm *gemm; /* library handle and tuned choices of this device: layers/cuda/gemm.h */
};

static inline int32_t tsr_cuda_bound_rows(const tsr_cuda_operand *v, const tsr_cuda_step *step)
{
    return v->selected ? step->bound_rows : step->bound_tokens;
}

/* The kernels, by op. */
extern const tsr_cuda_kernel tsr_cuda_kernels[TSR_OP_COUNT];

/* Bytes of workspace that this call needs for steps within these bounds. Local; asked once, at binding. */
int64_t tsr_cuda_workspace_bytes(const tsr_cuda_call *call, int64_t tokens, int64_t rows, int n_processors);

/* TSR_OK, or a failure naming `what` and CUDA's own words: TSR_ERR_MEMORY for lack of memory, else TSR_ERR_DEVICE. */
tsr_status tsr_cuda_check(cudaError_t error, const char *what);

#ifdef __cplusplus
}
#endif

#endif
