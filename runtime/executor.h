/* executor.h: a rank's graph as a flat list of bound kernel calls.
 *
 * Creation loads the weights, plans the activations (runtime/memory_plan.h), allocates the pages of the
 * cache, and binds each node to a kernel of the device. Running a step runs the list in order: on the CPU on all
 * threads of the pool, on a GPU on one stream, where steps that only decode are replayed from captured graphs. The
 * executor never asks which model, op or rank it runs. tsr_executor_run is collective over the ranks of the
 * communicator (the graph's all-reduces); everything else is local.
 */
#ifndef TSR_RUNTIME_EXECUTOR_H
#define TSR_RUNTIME_EXECUTOR_H

#include "base/pool.h"
#include "checkpoint/source.h"
#include "layers/graph.h"
#include "layers/kernel.h"
#include "runtime/weights_cache.h"

typedef struct tsr_executor tsr_executor;

typedef struct tsr_executor_options {
    const char *graph;        /* "decode" */
    int max_tokens, max_rows; /* of one step */
    int n_pages;              /* of the cache, TSR_PAGE_TOKENS tokens each */
    tsr_dtype dtype; /* of the weights; F32 also makes a float32 cache, else the cache has this dtype */
    const tsr_source *source; /* NULL: random weights from `seed` */
    tsr_weights_cache *cache; /* of the weights; NULL: none */
    uint64_t seed;
    tsr_pool *pool;
    tsr_comm *comm; /* of ranks on CPUs */
    struct tsr_gpu
        *gpu;          /* NULL: on the CPU. Else runtime/cuda/gpu.h: this rank's GPU, with its communicator */
    bool no_graphs;    /* enqueue every step of a GPU call by call */
    int max_sequences; /* of one step, and */
    int64_t max_context; /* tokens of one sequence: what the buffers of a GPU's steps are sized by */
    bool profile;        /* measure the time of each op */
} tsr_executor_options;

/* Borrows the model, pool and comm; `source` and `cache` are needed during the call only. */
tsr_status tsr_executor_create(const tsr_model *local, const tsr_executor_options *options,
                               tsr_executor **out);
void tsr_executor_destroy(tsr_executor **e);

/* Runs one step. TSR_ERR_RANK_LOST, TSR_ERR_DEADLINE from the collectives. */
tsr_status tsr_executor_run(tsr_executor *e, const tsr_step *step);

/* The graph's output of the last step: [n_rows, *cols] floats, rows *ld apart; valid until the next step. */
const float *tsr_executor_output(const tsr_executor *e, int64_t *ld, int64_t *cols);

typedef struct tsr_executor_sizes {
    int64_t weight_bytes, streamed_bytes; /* all weights; those that one decode step reads */
    int64_t activation_bytes, cache_bytes;
    const char *isa;
} tsr_executor_sizes;
tsr_executor_sizes tsr_executor_get_sizes(const tsr_executor *e);

/* Bytes of cache that one token takes on this rank. */
int64_t tsr_cache_bytes_per_token(const tsr_model *local, tsr_dtype dtype);

/* Seconds spent in each op since creation (profile only), indexed by tsr_op. */
const double *tsr_executor_profile(const tsr_executor *e);

#endif
