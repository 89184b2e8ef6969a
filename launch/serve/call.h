/* call.h: a request as it was asked: the bytes of a JSON body, parsed, checked and copied.
 *
 * Three interfaces ask for the same things by different names. One table (call_table.h) has every parameter: the
 * interfaces that take it, its name, its kind, its range, the field it goes to. A name that is not in the table, a
 * value of another kind or out of its range is refused with a line that says which and what was found; a parameter
 * of theirs that is not supported is accepted at its neutral value alone. null is as good as absent.
 *
 * The body is strict JSON: UTF-8, no name twice in an object, nesting of at most TSR_CALL_DEPTH (looked at before
 * the parser is). What it takes is bounded by its bytes and launch/serve/limits.h. Local; thread-safe.
 */
#ifndef TSR_LAUNCH_SERVE_CALL_H
#define TSR_LAUNCH_SERVE_CALL_H

#include "launch/serve/limits.h"
#include "launch/serve/refusal.h"
#include "tessera.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum tsr_api {
    TSR_API_COMPLETIONS = 1, /* /v1/completions */
    TSR_API_CHAT = 2,        /* /v1/chat/completions */
    TSR_API_INVOCATIONS = 4, /* /invocations */
    TSR_API_LABELS = 8,      /* /invocations of a model that classifies texts */
    TSR_API_ENTITIES = 16    /* the same, of one that classifies tokens */
} tsr_api;

/* How answers of /invocations are written. */
typedef enum tsr_formatter {
    TSR_FORMATTER_UNSET,
    TSR_FORMATTER_JSON,
    TSR_FORMATTER_JSONLINES,
    TSR_FORMATTER_SSE,
    TSR_FORMATTER_NONE,   /* the text alone */
    TSR_FORMATTER_OUTPUTS /* no request's choice: streams without rolling batches */
} tsr_formatter;

/* False if there is none of that name; "json_chat" and "jsonlines_chat" are json and jsonlines: whether an answer is one
 * of a chat is told from its request. */
bool tsr_formatter_from_name(const char *name, tsr_formatter *out);

/* What makes scores of logits, where a request says; else the model's own rule. */
typedef enum tsr_score_choice {
    TSR_SCORES_OF_MODEL,
    TSR_SCORES_SOFTMAX,
    TSR_SCORES_SIGMOID,
    TSR_SCORES_AS_LOGITS
} tsr_score_choice;

/* How labelled tokens are put together (launch/serve/entities.h). */
typedef enum tsr_aggregation {
    TSR_AGGREGATE_NONE,
    TSR_AGGREGATE_SIMPLE,
    TSR_AGGREGATE_FIRST,
    TSR_AGGREGATE_AVERAGE,
    TSR_AGGREGATE_MAX
} tsr_aggregation;

typedef struct tsr_prompt {
    char *text; /* [length], owned; NULL if ids were given */
    int64_t length;
    int32_t *ids; /* [n_ids], owned */
    int64_t n_ids;
} tsr_prompt;

typedef struct tsr_api_call {
    tsr_api api;
    char *model; /* owned; NULL if none was named */
    tsr_prompt prompts[TSR_CALL_PROMPTS];
    int64_t n_prompts;
    bool listed;                 /* they came as a list */
    struct json_t *conversation; /* while it is read */
    char *conversation_text; /* of a chat: its messages and variables as JSON, instead of prompts; owned */
    bool by_invocation;      /* a chat that came to /invocations */
    char *stop[TSR_CALL_STOPS];
    int64_t n_stop;
    /* Negative: not stated. */
    int64_t max_tokens, min_tokens, top_k, no_repeat_ngram, seed, truncate;
    int64_t top_logprobs; /* of chats: joins logprobs */
    int64_t logprobs;     /* best tokens beside each; 0: the log-probability of each token alone */
    int64_t n;            /* answers to each prompt */
    double temperature, top_p, min_p, repetition_penalty;
    double frequency_penalty, presence_penalty; /* 0 where not stated */
    tsr_logit_bias *logit_bias;                 /* [n_logit_bias] of ids each named once, owned */
    int64_t n_logit_bias;                       /* at most TSR_MAX_LOGIT_BIASES */
    bool stream, stream_stated, include_usage, echo, ignore_eos;
    bool do_sample, details, full_text, full_text_stated;
    tsr_formatter formatter;
    /* Of texts to classify: */
    int64_t top_labels; /* -1: the best label alone, as an object; else a list of so many; 0: of all */
    tsr_score_choice scores;
    tsr_aggregation aggregation;
    char *ignored[TSR_CALL_IGNORED]; /* labels that are left out */
    int64_t n_ignored;
    bool ignored_stated;
} tsr_api_call;

/* On failure *why says what is wrong, and there is nothing to free. */
tsr_status tsr_call_parse(tsr_api api, const char *body, int64_t n, tsr_api_call *out, tsr_refusal *why);
/* The body of a text/plain request of /invocations, of one of its three kinds: one prompt, as a list. */
tsr_status tsr_call_from_text(tsr_api api, const char *body, int64_t n, tsr_api_call *out, tsr_refusal *why);
/* The same of text/csv: the texts of its column "inputs". */
tsr_status tsr_call_from_csv(tsr_api api, const char *body, int64_t n, tsr_api_call *out, tsr_refusal *why);
void tsr_call_free(tsr_api_call *call); /* accepts a zeroed struct */

#endif
