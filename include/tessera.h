/* tessera.h: the public interface of Tessera, an inference runtime for transformer models over many ranks.
 *
 * A program on one rank, or the same program started by `mpirun -n N` or `srun --mpi=pmix`:
 *
 *     tsr_engine *engine;
 *     tsr_engine_options options = TSR_ENGINE_OPTIONS_INIT;
 *     options.model = "path/to/model";
 *     if (tsr_engine_create(&options, &engine) != TSR_OK) return fprintf(stderr, "%s\n", tsr_last_error()),
 * 1; if (tsr_engine_rank(engine) == 0) { tsr_request_options request = TSR_REQUEST_OPTIONS_INIT;
 *         request.prompt = "Once upon a time";
 *         request.on_text = print_it;
 *         tsr_engine_submit(engine, &request, NULL);
 *         tsr_engine_run(engine);
 *     } else {
 *         tsr_engine_follow(engine);
 *     }
 *     tsr_engine_destroy(&engine);
 *
 * An engine is a model, loaded: each rank holds its shard. Rank 0 submits requests and steps; the other ranks
 * follow until rank 0 destroys its engine. Requests are batched continuously: a step advances every running
 * request by a token and reads parts of waiting prompts, under a token budget.
 *
 * Ownership: what goes in is copied before the call returns; what a callback or a result points to belongs to
 * the engine. Threads: one thread uses an engine at a time. "Collective": every rank must call. Functions
 * return a status; the one line that explains the last failure of this thread is tsr_last_error(). Nothing
 * here ends the process.
 */
#ifndef TESSERA_H
#define TESSERA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef TSR_BASE_STATUS_H
typedef int tsr_status; /* TSR_OK, or a failure; tsr_status_message() has its sentence */
enum { TSR_OK = 0 };
const char *tsr_status_name(tsr_status s);
const char *tsr_status_message(tsr_status s);
int tsr_status_exit_code(tsr_status s); /* what a program should exit with */
int tsr_status_http(tsr_status s);      /* what a server should answer */
#endif

const char *tsr_version(void);    /* "0.1.0" */
const char *tsr_last_error(void); /* one line, or ""; valid until this thread's next failure */

typedef struct tsr_engine tsr_engine;

typedef struct tsr_engine_options {
    size_t size;          /* sizeof(tsr_engine_options): lets the struct grow */
    const char *model;    /* folder with config.json, weights, tokenizer; required */
    const char *dtype;    /* "auto" (the checkpoint's), "float32", "bfloat16", "float16" */
    const char *kernels;  /* "auto", "inject", "reference" */
    int threads;          /* of each rank; 0: the rank's share of the node's cores */
    int step_tokens;      /* token budget of a step, up to 65536; 0: 512 on CPUs, 2048 on GPUs */
    int max_sequences;    /* requests running at once, 1 .. 4096 */
    int64_t context;      /* longest prompt + answer in tokens; 0: the model's own */
    int64_t cache_bytes;  /* for keys and values, on each rank; 0: what the running requests can need at most,
                             within a  quarter of the free memory */
    double deadline;      /* seconds a step may take before the job is ended; 0: 60 */
    bool random_weights;  /* no weights are read: for benchmarks */
    bool needs_tokenizer; /* fail at once if the model has no tokenizer; else requests by ids alone work
                             without */
    bool profile;         /* measure the time of each stage of a step */
    bool quiet;           /* no progress lines on stderr */
    const char *device;   /* "auto" (the GPUs if every rank sees one), "cpu", "cuda": one GPU a rank */
    double gpu_memory_fraction; /* of a GPU's free memory, for weights, values, keys and values; 0: 0.9 */
    bool no_cuda_graph;         /* enqueue decode steps call by call instead of as captured graphs */
    const char *checkpoint; /* file or folder with the weights, relative to `model`; NULL: what lies there */
    const char *cache; /* private folder where the weights are kept as this rank holds them, for a faster next
                               start; NULL: none */
    const char *task;  /* "auto" (what "architectures" in config.json says), "text-generation",
                               "text-classification", "token-classification" */
    int training_mp_size; /* the tensor-parallel degree at which the checkpoint was trained; 0: whatever it says.
                             A checkpoint of another one is refused */
    const char *
        plan_ahead; /* "on": the next step is planned and enqueued before the results of this one are there, as
                               far as it does not depend on them; "off"; "auto": on for GPUs. Tokens are the same */
    bool
        prefix_cache; /* requests that begin alike share the keys and values of their beginning, which stay for
                           later ones for as long as there is room */
    bool
        pace; /* steps are kept even, for those who read along: beside texts that are being written, prompts are
                           read in pieces that the time for a usual step allows. Tokens are the same */
} tsr_engine_options;
#define TSR_ENGINE_OPTIONS_INIT                                                                              \
    {                                                                                                        \
        sizeof(tsr_engine_options), NULL, "auto", "auto", 0, 0, 64, 0, 0, 0, false, false, false, false,     \
            "auto", 0, false, NULL, NULL, "auto", 0, "auto", true, false                                     \
    }

/* Collective. Starts MPI if a launcher started this process. On failure all ranks get the same status. */
tsr_status tsr_engine_create(const tsr_engine_options *options, tsr_engine **out);
/* Collective; on rank 0 it sends the others home. Accepts NULL. */
void tsr_engine_destroy(tsr_engine **engine);
int tsr_engine_rank(const tsr_engine *engine);
int tsr_engine_ranks(const tsr_engine *engine);
/* Ranks other than 0: works until rank 0 destroys its engine (TSR_OK), or the job breaks. */
tsr_status tsr_engine_follow(tsr_engine *engine);

typedef enum tsr_finish {
    TSR_FINISH_NONE, /* still running */
    TSR_FINISH_EOS,
    TSR_FINISH_LENGTH,
    TSR_FINISH_STOP, /* a stop text was found */
    TSR_FINISH_CANCELLED,
    TSR_FINISH_ERROR /* the model gave no numbers (NaN or infinity) for this request */
} tsr_finish;
const char *tsr_finish_name(tsr_finish reason); /* "eos", "length", "stop", "cancelled", "error" */

/* A new piece of a request's text: whole characters only, `length` bytes. Called from tsr_engine_step and
 * tsr_engine_cancel; it may cancel requests, but not release them. */
typedef void (*tsr_on_text)(void *user, int64_t request, const char *text, size_t length);

enum { TSR_MAX_LOGIT_BIASES = 300 };

/* What is added to the logit of a token. */
typedef struct tsr_logit_bias {
    int32_t id;
    float bias;
} tsr_logit_bias;

typedef struct tsr_request_options {
    size_t size;        /* sizeof(tsr_request_options) */
    const char *prompt; /* UTF-8 text, or NULL: use ids */
    const int32_t *ids;
    int64_t n_ids;
    int64_t max_new_tokens;
    double temperature; /* 0: greedy; negative: what the model's generation_config.json says, else 1 */
    /* What is negative here is what generation_config.json says, and neutral where it says nothing: */
    int64_t top_k;             /* 0: all */
    double top_p;              /* 1: all */
    double min_p;              /* 0: all */
    double repetition_penalty; /* 1: none */
    int64_t no_repeat_ngram;   /* no n tokens stand twice in the same order, prompt included; 0: they may */
    int64_t min_new_tokens;    /* no end of sequence before; 0: no matter */
    uint64_t seed;
    const char *const *stop; /* [n_stop] texts that end the answer; they are not part of it */
    int64_t n_stop;
    bool ignore_eos;
    bool logprobs;       /* of the new tokens */
    bool score;          /* log-probabilities of the prompt's tokens too */
    int64_t top;         /* how many best next tokens to list after the last token, 0 .. 1000 */
    tsr_on_text on_text; /* NULL: no streaming */
    void *user;
    bool classify; /* of models that classify, and of no others: labels instead of tokens; of the fields above
                      prompt and ids alone matter */
    int64_t
        alternatives; /* how many best tokens to list beside each new token and, with score, each token of the
                             prompt, 0 .. 1000 */
    /* A token that stands c times among the new ones so far gets c * frequency_penalty, and if c > 0 presence_penalty
     * too, taken off its logit; tokens of the prompt do not count. -2 .. 2; 0: none. */
    double frequency_penalty, presence_penalty;
    const tsr_logit_bias *logit_bias; /* [n_logit_bias] of ids each named once; -100 .. 100 */
    int64_t n_logit_bias;             /* 0 .. TSR_MAX_LOGIT_BIASES */
} tsr_request_options;
#define TSR_REQUEST_OPTIONS_INIT                                                                             \
    {                                                                                                        \
        sizeof(tsr_request_options), NULL, NULL, 0, 128, 0, -1, -1, -1, -1, -1, -1, 0, NULL, 0, false,       \
            false, false, 0, NULL, NULL, false, 0, 0, 0, NULL, 0                                             \
    }

/* Rank 0. Refuses at once what can never run (too long, out of range): the line says why. *id may be NULL. */
tsr_status tsr_engine_submit(tsr_engine *engine, const tsr_request_options *options, int64_t *id);
tsr_status tsr_engine_cancel(tsr_engine *engine, int64_t id);
/* Rank 0. One step; *more tells whether requests are left. A failure here has broken the job. */
tsr_status tsr_engine_step(tsr_engine *engine, bool *more);
/* Rank 0. Steps until no request is left, or tsr_engine_request_stop was called (then what runs is
 * cancelled). */
tsr_status tsr_engine_run(tsr_engine *engine);
/* May be called from a signal handler. */
void tsr_engine_request_stop(void);

typedef struct tsr_token_logprob {
    int32_t id; /* -1: there was no further token */
    float logprob;
} tsr_token_logprob;

typedef struct tsr_result {
    tsr_finish finish;
    const int32_t *prompt_ids; /* [n_prompt] */
    int64_t n_prompt;
    const int32_t *ids;    /* [n_ids] new tokens, an end-of-sequence token included */
    const float *logprobs; /* [n_ids] log-probability of each, before penalties, temperature and the like */
    int64_t n_ids;
    const char *text; /* of the new tokens, without a stop text; NULL without a tokenizer */
    size_t text_length;
    size_t text_shown;            /* how much of it has been streamed: the rest may still change */
    const float *prompt_logprobs; /* [n_prompt], score only; [0] is NaN: nothing precedes the first token */
    const int32_t *top_ids; /* [n_top] the best tokens after the last one of the prompt, best first; only for
                               requests with max_new_tokens 0 */
    const float *top_logprobs; /* [n_top] */
    int64_t n_top;
    double first_token_seconds, seconds; /* from submission to the first new token, and to the end */
    /* Of a request that classifies: one row for the text, or one for each prompt token, of a value for each label.
     * Scores are the softmax of the logits or, by the model's problem_type, their sigmoids or the logits themselves. */
    const float *logits, *scores; /* [n_label_rows][labels] */
    int64_t n_label_rows;
    const tsr_token_logprob
        *alternatives; /* [n_ids][as many as were asked for] best first; NULL if none were */
    const tsr_token_logprob
        *prompt_alternatives; /* [n_prompt][the same], those of token 0 nothing; of a prompt that is
                                                     scored, once it has been */
    bool waiting;             /* for room; no token has been read */
    int64_t n_cached;         /* tokens of the prompt that were in the prefix cache */
} tsr_result;

/* Rank 0. Of a finished or running request; valid until tsr_engine_release. */
tsr_status tsr_engine_result(const tsr_engine *engine, int64_t id, tsr_result *out);
void tsr_engine_release(tsr_engine *engine, int64_t id);

typedef struct tsr_engine_info {
    const char *family, *dtype, *isa;
    int ranks, threads;
    int64_t vocabulary, context, parameters;
    /* of this rank: */
    int64_t weight_bytes, streamed_bytes; /* held; read by each decode step */
    int64_t activation_bytes, cache_bytes, cache_bytes_per_token;
    int64_t bytes_read; /* of the checkpoint or, if from_cache, of the cache */
    int64_t peak_resident_bytes;
    bool from_cache;
    double load_seconds;
    const char *task;          /* as in the options, but not "auto" */
    const char *const *labels; /* [n_labels] of a model that classifies */
    int64_t n_labels;
} tsr_engine_info;
void tsr_engine_get_info(const tsr_engine *engine, tsr_engine_info *out);

#ifdef __cplusplus
}
#endif
#endif
