/* executor.h: a rank's graph as a flat list of bound kernel calls.
 *
 * Creation loads the weights, plans the activations (runtime/memory_plan.h), allocates the pages of the
 * cache, and binds each node to a kernel of the device. Running a step runs the list in order: on the CPU on all
 * threads of the pool, on a GPU on one stream, where steps that only decode are replayed from captured graphs. The
 * executor never asks which model, op or rank it runs. Running is collective over the ranks of the
 * communicator (the graph's all-reduces); everything else is local.
 *
 * There are two ways to run a step. tsr_executor_run gives its output to the host. tsr_executor_start, on devices that
 * can (tsr_executor_samples), enqueues it together with the choice of its tokens (runtime/sampler.h) and returns;
 * tsr_executor_finish waits for it. A step started before the one before it is finished refers to that one's tokens by
 * TSR_TOKEN_OF_ROW (step_record.h) and finds them on the device.
 */
#ifndef TSR_RUNTIME_EXECUTOR_H
#define TSR_RUNTIME_EXECUTOR_H

#include "base/pool.h"
#include "checkpoint/source.h"
#include "layers/graph.h"
#include "layers/kernel.h"
#include "runtime/sampler.h"
#include "runtime/stage.h"
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
        *gpu; /* NULL: on the CPU. Else runtime/cuda/gpu.h: this rank's GPU, with its communicator */
    bool plain_kernels;  /* on a GPU: the simplest kernel of each op */
    bool no_graphs;      /* enqueue every step of a GPU call by call */
    int max_sequences;   /* of one step, and */
    int64_t max_context; /* tokens of one sequence: what the buffers of a GPU's steps are sized by */
    bool profile;        /* measure the time of each stage of a step (stage.h) */
} tsr_executor_options;

/* Borrows the model, pool and comm; `source` and `cache` are needed during the call only. */
tsr_status tsr_executor_create(const tsr_model *local, const tsr_executor_options *options,
                               tsr_executor **out);
void tsr_executor_destroy(tsr_executor **e);

/* Runs one step. TSR_ERR_RANK_LOST, TSR_ERR_DEADLINE from the collectives. Steps that were started may be under way. */
tsr_status tsr_executor_run(tsr_executor *e, const tsr_step *step);

/* The graph's output of the last step: [n_rows, *cols] floats, rows *ld apart; valid until the next step. */
const float *tsr_executor_output(const tsr_executor *e, int64_t *ld, int64_t *cols);

enum { TSR_STEPS_UNDER_WAY = 2 };

/* Whether tokens can be chosen for such rows where the step runs; the same answer on every rank. */
bool tsr_executor_samples(const tsr_executor *e, const tsr_sample_row *rows, int32_t n_rows);
/* Enqueues one step whose rows the executor samples; at most TSR_STEPS_UNDER_WAY are not finished. `step` and `rows`
 * are not needed after the call. */
tsr_status tsr_executor_start(tsr_executor *e, const tsr_step *step, const tsr_sample_row *rows);
/* Waits for the oldest step that was started; results: [its n_rows]. TSR_ERR_RANK_LOST, TSR_ERR_DEADLINE. */
tsr_status tsr_executor_finish(tsr_executor *e, tsr_sample_result *results);

typedef struct tsr_executor_sizes {
    int64_t weight_bytes, streamed_bytes; /* all weights; those that one decode step reads */
    int64_t activation_bytes, cache_bytes;
    const char *isa;
} tsr_executor_sizes;
tsr_executor_sizes tsr_executor_get_sizes(const tsr_executor *e);

/* Bytes of cache that one token takes on this rank. */
int64_t tsr_cache_bytes_per_token(const tsr_model *local, tsr_dtype dtype);

/* Where the time of steps went since creation or the last reset: [TSR_PROFILE_KINDS]; NULL without a profile. */
const tsr_profile *tsr_executor_profile(const tsr_executor *e);
void tsr_executor_reset_profile(tsr_executor *e);

#endif
