/* call_table.h: the parameters of requests. Local to call*.c.
 *
 * P(INTERFACES, "name", KIND, FIELD, low, high). Kinds:
 *   INT, REAL, BOOL   to a field of int64_t, double, bool
 *   NEUTRAL           not supported: `low` (or null, false, "", an empty list or object) alone is accepted
 *   others            a function of call_params.c, call_prompt.c, call_chat.c or call_labels.c each
 */
#ifndef TSR_LAUNCH_SERVE_CALL_TABLE_H
#define TSR_LAUNCH_SERVE_CALL_TABLE_H

#include "launch/serve/call.h"
#include "layers/task.h"

#include <jansson.h>

#define TSR_API_OPENAI     (TSR_API_COMPLETIONS | TSR_API_CHAT)
#define TSR_API_ALL        (TSR_API_OPENAI | TSR_API_INVOCATIONS)
#define TSR_API_CLASSIFIES (TSR_API_LABELS | TSR_API_ENTITIES)

#define TSR_CALL_TABLE(P)                                                                                    \
    P(TSR_API_OPENAI, "model", MODEL, model, 0, 0)                                                           \
    P(TSR_API_COMPLETIONS, "prompt", PROMPT, prompts, 0, 0)                                                  \
    P(TSR_API_CHAT, "messages", MESSAGES, prompts, 0, 0)                                                     \
    P(TSR_API_OPENAI, "max_tokens", INT, max_tokens, 0, TSR_CALL_TOKENS)                                     \
    P(TSR_API_CHAT, "max_completion_tokens", INT, max_tokens, 1, TSR_CALL_TOKENS)                            \
    P(TSR_API_INVOCATIONS, "max_new_tokens", INT, max_tokens, 1, TSR_CALL_TOKENS)                            \
    P(TSR_API_OPENAI, "min_tokens", INT, min_tokens, 0, TSR_CALL_TOKENS)                                     \
    P(TSR_API_INVOCATIONS, "min_new_tokens", INT, min_tokens, 0, TSR_CALL_TOKENS)                            \
    P(TSR_API_OPENAI, "temperature", REAL, temperature, 0, 2)                                                \
    P(TSR_API_INVOCATIONS, "temperature", REAL, temperature, 0, 100)                                         \
    P(TSR_API_ALL, "top_p", REAL, top_p, 0, 1)                                                               \
    P(TSR_API_ALL, "top_k", TOP_K, top_k, -1, TSR_CALL_TOKENS)                                               \
    P(TSR_API_ALL, "min_p", REAL, min_p, 0, 1)                                                               \
    P(TSR_API_ALL, "repetition_penalty", REAL, repetition_penalty, 0.01, 100)                                \
    P(TSR_API_ALL, "frequency_penalty", REAL, frequency_penalty, -2, 2)                                      \
    P(TSR_API_ALL, "presence_penalty", REAL, presence_penalty, -2, 2)                                        \
    P(TSR_API_OPENAI, "logit_bias", LOGIT_BIAS, logit_bias, -100, 100)                                       \
    P(TSR_API_ALL, "no_repeat_ngram_size", INT, no_repeat_ngram, 0, 1000000)                                 \
    P(TSR_API_ALL, "seed", INT, seed, 0, 9e15)                                                               \
    P(TSR_API_OPENAI, "n", INT, n, 1, TSR_CALL_ANSWERS)                                                      \
    P(TSR_API_COMPLETIONS, "best_of", BEST_OF, n, 1, TSR_CALL_ANSWERS)                                       \
    P(TSR_API_ALL, "stop", STOP, stop, 0, 0)                                                                 \
    P(TSR_API_INVOCATIONS, "stop_sequences", STOP, stop, 0, 0)                                               \
    P(TSR_API_ALL, "ignore_eos", BOOL, ignore_eos, 0, 0)                                                     \
    P(TSR_API_COMPLETIONS, "logprobs", INT, logprobs, 0, TSR_CALL_LOGPROBS)                                  \
    P(TSR_API_CHAT, "logprobs", CHAT_LOGPROBS, logprobs, 0, 0)                                               \
    P(TSR_API_CHAT, "top_logprobs", INT, top_logprobs, 0, TSR_CALL_LOGPROBS)                                 \
    P(TSR_API_COMPLETIONS, "echo", BOOL, echo, 0, 0)                                                         \
    P(TSR_API_ALL, "stream", STREAM, stream, 0, 0)                                                           \
    P(TSR_API_OPENAI, "stream_options", STREAM_OPTIONS, include_usage, 0, 0)                                 \
    P(TSR_API_OPENAI, "user", ANY, model, 0, 0)                                                              \
    P(TSR_API_OPENAI, "metadata", ANY, model, 0, 0)                                                          \
    P(TSR_API_OPENAI, "store", ANY, model, 0, 0)                                                             \
    P(TSR_API_COMPLETIONS, "suffix", NEUTRAL, model, 0, 0)                                                   \
    P(TSR_API_CHAT, "tools", NEUTRAL, model, 0, 0)                                                           \
    P(TSR_API_CHAT, "tool_choice", ANY, model, 0, 0)                                                         \
    P(TSR_API_CHAT, "parallel_tool_calls", ANY, model, 0, 0)                                                 \
    P(TSR_API_CHAT, "response_format", RESPONSE_FORMAT, model, 0, 0)                                         \
    P(TSR_API_CHAT, "chat_template_kwargs", TEMPLATE_VARIABLES, model, 0, 0)                                 \
    P(TSR_API_INVOCATIONS, "inputs", PROMPT, prompts, 0, 0)                                                  \
    P(TSR_API_CLASSIFIES, "inputs", TEXTS, prompts, 0, 0)                                                    \
    P(TSR_API_CLASSIFIES, "stream", NEUTRAL, model, 0, 0)                                                    \
    P(TSR_API_CLASSIFIES, "output_formatter", JSON_ALONE, model, 0, 0)                                       \
    P(TSR_API_LABELS, "top_k", TOP_LABELS, top_labels, 1, TSR_MAX_LABELS)                                    \
    P(TSR_API_LABELS, "function_to_apply", SCORES, scores, 0, 0)                                             \
    P(TSR_API_ENTITIES, "aggregation_strategy", AGGREGATION, aggregation, 0, 0)                              \
    P(TSR_API_ENTITIES, "ignore_labels", IGNORED, ignored, 0, 0)                                             \
    P(TSR_API_INVOCATIONS | TSR_API_CLASSIFIES, "parameters", PARAMETERS, prompts, 0, 0)                     \
    P(TSR_API_INVOCATIONS, "do_sample", BOOL, do_sample, 0, 0)                                               \
    P(TSR_API_INVOCATIONS, "details", BOOL, details, 0, 0)                                                   \
    P(TSR_API_INVOCATIONS, "return_full_text", FULL_TEXT, full_text, 0, 0)                                   \
    P(TSR_API_INVOCATIONS, "truncate", INT, truncate, 1, TSR_CALL_TOKENS)                                    \
    P(TSR_API_INVOCATIONS, "output_formatter", FORMATTER, formatter, 0, 0)                                   \
    P(TSR_API_INVOCATIONS, "typical_p", NEUTRAL, model, 1, 0)                                                \
    P(TSR_API_INVOCATIONS, "num_beams", NEUTRAL, model, 1, 0)                                                \
    P(TSR_API_INVOCATIONS, "num_return_sequences", NEUTRAL, model, 1, 0)                                     \
    P(TSR_API_INVOCATIONS, "length_penalty", NEUTRAL, model, 1, 0)                                           \
    P(TSR_API_INVOCATIONS, "early_stopping", NEUTRAL, model, 0, 0)                                           \
    P(TSR_API_INVOCATIONS, "manual_seed", INT, seed, 0, 9e15)                                                \
    P(TSR_API_INVOCATIONS, "use_cache", ANY, model, 0, 0)

typedef struct tsr_call_row tsr_call_row;
typedef tsr_status tsr_call_reader(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                   tsr_refusal *why);

struct tsr_call_row {
    int apis;
    const char *name;
    tsr_call_reader *read;
    size_t field;
    double low, high;
};

/* Reads every member of an object, except those that `skip` names. */
tsr_status tsr_call_read_object(const json_t *object, const char *skip, tsr_api_call *call, tsr_refusal *why);

/* call_prompt.c */
tsr_call_reader tsr_call_read_prompt;
void tsr_prompt_free(tsr_prompt *prompt);
/* Adds a prompt that is the string `value`. */
tsr_status tsr_call_add_text(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                             tsr_refusal *why);
/* call_labels.c */
tsr_call_reader tsr_call_read_texts, tsr_call_read_top_labels, tsr_call_read_scores,
    tsr_call_read_aggregation, tsr_call_read_ignored, tsr_call_read_json_alone;
/* call_chat.c */
tsr_call_reader tsr_call_read_messages, tsr_call_read_template_variables;
/* What was read of a conversation, as JSON in call->conversation_text. */
tsr_status tsr_call_print_conversation(tsr_api_call *call, tsr_refusal *why);

/* call_csv.c: the prompts of a CSV body. */
tsr_status tsr_call_read_csv(const char *body, int64_t n, tsr_api_call *call, tsr_refusal *why);

/* A copy of n bytes and a NUL, owned by the caller. */
tsr_status tsr_call_copy(const char *bytes, size_t n, char **out, tsr_refusal *why);

#endif
