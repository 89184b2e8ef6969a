/* request.h: one prompt and what is to be made of it: what the scheduler schedules.
 *
 * The caller fills a tsr_request_spec (from TSR_REQUEST_DEFAULTS), creates the request (checked,
 * everything copied), submits it to the scheduler, reads its output after each commit, and destroys it once
 * it is finished. The fields of tsr_request are for reading; only the scheduler writes them. Rank 0 only,
 * local, not thread-safe.
 *
 * Two uses, which may be combined:
 *   generate  max_new_tokens > 0: tokens are chosen one after another until an end
 *   score     prompt_logprobs: the log-probability of each prompt token given those before it. With
 *             max_new_tokens = 0 the row after the last prompt token still gives its n_top best tokens.
 * and one that stands alone, of models whose rows are not about tokens:
 *   outputs   the output of the last prompt token's row, or of every row, as it is
 *
 * How it ends (tsr_finish, tessera.h). EOS: an id of eos_ids was chosen; STOP: one of stop_ids, or a stop
 * string that the caller found in the text; LENGTH: max_new_tokens; ERROR: its logits were not numbers.
 */
#ifndef TSR_RUNTIME_REQUEST_H
#define TSR_RUNTIME_REQUEST_H

#include "runtime/sampler.h"
#include "runtime/step_limits.h"
#include "tessera.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_MAX_STOP_IDS = 256 }; /* most eos_ids, and most stop_ids */

typedef enum tsr_output_rows { TSR_OUTPUTS_NONE, TSR_OUTPUTS_LAST, TSR_OUTPUTS_EVERY } tsr_output_rows;

typedef struct tsr_request_spec {
    const int32_t *prompt; /* [n_prompt] */
    int32_t n_prompt;
    int32_t prefix_length,
        mask_position; /* of a prompt that begins with a prefix (layers/prefix.h), else 0 */
    int32_t max_new_tokens;
    tsr_sampling sampling;
    int32_t n_top;          /* best tokens to list beside each new one */
    bool prompt_logprobs;   /* score the prompt */
    int32_t n_prompt_top;   /* best tokens to list beside each scored prompt token */
    const int32_t *eos_ids; /* [n_eos] */
    int32_t n_eos;
    bool ignore_eos;         /* go on past eos_ids; stop_ids still count */
    const int32_t *stop_ids; /* [n_stop] */
    int32_t n_stop;
    tsr_output_rows outputs; /* rows of outputs to keep, of `output_cols` values each */
    int32_t output_cols;
    const tsr_logit_bias *biases; /* [n_biases] each id once; a request's own are by ascending id */
    int32_t n_biases;
} tsr_request_spec;

#define TSR_REQUEST_DEFAULTS ((tsr_request_spec){.max_new_tokens = 16, .sampling = TSR_SAMPLING_GREEDY})

/* TSR_ERR_USAGE (a parameter out of range, an id outside the vocabulary, nothing asked for) or
 * TSR_ERR_CAPACITY (longer than the context), with one line for the user. */
tsr_status tsr_request_check(const tsr_request_spec *spec, const tsr_step_limits *limits);

typedef enum tsr_request_state {
    TSR_REQUEST_NEW,     /* not submitted */
    TSR_REQUEST_WAITING, /* for a slot or for pages */
    TSR_REQUEST_RUNNING,
    TSR_REQUEST_FINISHED
} tsr_request_state;

typedef struct tsr_request {
    tsr_request_spec spec; /* its arrays are the request's own copies */
    void *user;            /* the caller's */

    tsr_request_state state;
    tsr_finish finish;

    int32_t n_generated;
    int32_t *generated; /* [n_generated]; an eos or stop id that ended it is included */
    float *logprobs;    /* [n_generated]; NaN without spec.sampling.logprobs */
    int32_t n_scored;
    float *prompt_logprobs; /* [n_scored] of token i given those before; [0] is NaN; NULL if not asked */

    /* Lists of the best tokens: beside new token i [n_generated][n_top]; beside prompt token i
     * [n_scored][n_prompt_top], nothing at 0; after a prompt from which nothing is generated [n_top].
     * Short lists are padded with id -1. NULL until the first is there. */
    tsr_token_logprob *top, *prompt_top, *final_top;
    int32_t n_outputs;
    float *outputs; /* [n_outputs][output_cols], in the order of the prompt's tokens; NULL if not asked */

    /* The scheduler's. */
    int32_t n_computed; /* tokens of prompt and generated that are in the cache */
    int32_t n_shared;   /* pages of the cache that it did not compute itself */
    int32_t n_noted;    /* its first pages that stand in the prefix cache */
    bool notes_no_more; /* none of its further pages will */
    int32_t slot;       /* -1 unless running */
    int32_t reserved;   /* pages promised and not taken yet */
    int32_t chosen_row; /* row of the step planned last that chooses a token for it */
    bool updated;       /* in the list of the last commit */
    int64_t top_capacity, prompt_top_capacity;
    struct tsr_request *previous, *next; /* waiting queue */
} tsr_request;

tsr_status tsr_request_create(const tsr_request_spec *spec, const tsr_step_limits *limits, tsr_request **out);
/* The request must not be waiting or running. */
void tsr_request_destroy(tsr_request **request);

/* For the scheduler: keeps what the row of the token at `position` gave. How that ends the request, or NONE; ERROR if the
 * row failed, or a list could not grow. */
tsr_finish tsr_request_take(tsr_request *request, tsr_row_kind kind, int32_t position,
                            const tsr_sample_result *result);

/* Tokens the cache must hold at the worst: the last new token is never fed back. */
int64_t tsr_request_cached_tokens(const tsr_request_spec *spec);

#endif
