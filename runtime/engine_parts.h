/* engine_parts.h: the insides of an engine, shared by the engine_*.c files alone. */
#ifndef TSR_RUNTIME_ENGINE_PARTS_H
#define TSR_RUNTIME_ENGINE_PARTS_H

#include "base/digest.h"
#include "base/json.h"
#include "base/text.h"
#include "layers/fuse.h"
#include "layers/model.h"
#include "parallel/affinity.h"
#include "parallel/comm.h"
#include "parallel/shard.h"
#include "runtime/engine.h"
#include "runtime/generation_config.h"
#include "runtime/gpu.h"
#include "runtime/row_outputs.h"
#include "runtime/scheduler.h"
#include "runtime/slot_table.h"
#include "runtime/step_builder.h"
#include "runtime/tokenizer/tokenizer.h"

/* A request of rank 0, from submission until it is released. */
typedef struct engine_request {
    int64_t id;
    tsr_request *request;
    tsr_detokenizer *detokenizer; /* NULL without a tokenizer */
    tsr_text text;                /* all text so far */
    int64_t shown;                /* bytes of it that were streamed */
    int32_t n_read;               /* new tokens already turned into text */
    bool closed;                  /* everything has been streamed */
    char **stop;
    int64_t n_stop;
    tsr_on_text on_text;
    void *user;
    double submitted, first_token, ended; /* seconds on tsr_now's clock; 0: not yet */
    int32_t *top_ids;                     /* [n_top] copies for the result */
    float *top_logprobs;
    int64_t n_top;
    float *scores; /* [n_label_rows][labels] once it is finished */
} engine_request;

/* A step that was carried out, or is under way on a GPU, and whose results were not taken. */
typedef struct engine_flight {
    tsr_sample_result *results; /* [n_rows] of [max_rows] */
    int32_t n_rows;
    bool on_device; /* the executor chooses its tokens: results come by tsr_executor_finish */
    double began;   /* when it was begun to be planned, on rank 0 */
    double seconds; /* that it took, if it was not on a device */
} engine_flight;

struct tsr_engine {
    tsr_engine_options options; /* its strings are copied into `arena` */
    tsr_arena *arena;
    tsr_world *world;
    bool owns_world, dismissed;
    bool goes_ahead;   /* steps are planned ahead of results where that changes nothing (scheduler.h) */
    tsr_status broken; /* the failure after which no step may run */

    tsr_model *model, *local;
    tsr_sharding *sharding;
    tsr_source *source;
    tsr_weights_cache *cache; /* NULL: none was asked for */
    tsr_digest config;        /* of config.json */
    tsr_dtype dtype;
    tsr_generation_config generation;
    tsr_fuse_report fused;
    bool plain_kernels;

    tsr_gpu *gpu; /* NULL: on the CPU */
    tsr_affinity *affinity;
    tsr_pool *pool;
    tsr_comm *comm; /* of CPUs; NULL on a GPU, which brings its own */
    tsr_executor *executor;

    tsr_step_limits limits;
    tsr_step_record *record;
    void *record_bytes; /* [record_capacity] */
    int64_t record_capacity;
    tsr_slot_table *slots;
    tsr_step_builder *builder;
    tsr_sampler *sampler;                       /* of a language model, */
    tsr_row_outputs *row_outputs;               /* or of one that classifies; the other one is NULL */
    engine_flight flights[TSR_STEPS_UNDER_WAY]; /* [n_flights] the oldest first */
    int n_flights;

    /* rank 0 only */
    tsr_scheduler *scheduler;
    tsr_step_pace *pace; /* NULL: none is kept */
    tsr_tokenizer *tokenizer;
    engine_request **requests; /* [n_requests] in order of submission */
    int64_t n_requests, requests_capacity, next_id;

    tsr_host_times times;
    double lap;   /* when what is being timed began */
    double began; /* when the latest step was begun to be planned, on rank 0 */
    double ended; /* when the latest step on a device had ended */
    double took;  /* seconds of the step whose results were taken last */
    tsr_engine_info info;
};

/* engine_cache.c */
/* With --cache: the handle to load the weights by. */
tsr_status engine_cache_create(tsr_engine *e);
/* Collective, after loading: rank 0 says in one line what was wrong with the cache, on whichever rank. */
tsr_status engine_cache_settle(tsr_engine *e);

/* engine_classify.c */
/* What is wanted of a prompt, whose ids the spec has. */
void engine_classify_spec(const tsr_engine *e, tsr_request_spec *spec);
/* The scores of one that is finished. */
tsr_status engine_classify_finish(const tsr_engine *e, engine_request *r);

/* engine_request.c */
void engine_requests_free(tsr_engine *e);
/* Turns what the last step brought into text, streams it, and ends requests at stop texts. */
tsr_status engine_requests_update(tsr_engine *e);
/* Ends all requests; what they had so far is shown and kept. */
tsr_status engine_requests_cancel_all(tsr_engine *e);

#endif
