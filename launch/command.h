/* command.h: the commands of the program, one row and one file each.
 *
 * A command runs on every rank with the same options. It prints results on rank 0 only, to stdout; progress
 * and errors go to stderr. It returns a status; main prints the error record and exits with the status' exit
 * code.
 */
#ifndef TSR_LAUNCH_COMMAND_H
#define TSR_LAUNCH_COMMAND_H

#include "base/status.h"

#include "base/text.h"
#include "launch/options.h"
#include "parallel/world.h"
#include "tessera.h"

/* X(NAME, name, "summary") */
#define TSR_COMMAND_TABLE(X)                                                                                 \
    X(GENERATE, generate, "continue prompts, as many at once as fit")                                        \
    X(SCORE, score, "log-probability of each token of a text, and the best next tokens")                     \
    X(SERVE, serve, "the model behind HTTP: the routes of OpenAI's and LMI's clients")                       \
    X(CLASSIFY, classify, "labels of texts, or of their tokens, by models that have a head for it")          \
    X(TOKENIZE, tokenize, "text to ids, or ids to text")                                                     \
    X(PLAN, plan, "how a model would be spread over N ranks")                                                \
    X(BENCH, bench, "speed of prefill and decode, bytes read, memory")                                       \
    X(CONVERT, convert, "a checkpoint of any kind into safetensors, in another number format, for N ranks")  \
    X(INSPECT, inspect, "what a checkpoint holds, and what its config finds missing: inspect DIR|FILE")      \
    X(CACHE, cache, "the weights kept for faster starts: cache list|prune --cache DIR")                      \
    X(CONFIG, config, "the options in force, and where each value came from")

#define TSR_COMMAND_DECLARE(NAME, name, summary)                                                             \
    tsr_status tsr_cmd_##name(tsr_world *world, const tsr_options *options);
TSR_COMMAND_TABLE(TSR_COMMAND_DECLARE)
#undef TSR_COMMAND_DECLARE

/* Whether requests are batched as they come (--rolling-batch), so many at once that --max-sequences and not
 * --batch-size says. */
bool tsr_cli_rolls(const tsr_options *o);

/* Engine options as the command line states them. */
tsr_engine_options tsr_cli_engine_options(const tsr_options *o);

/* The number of ranks to plan or cut for. */
int tsr_cli_ranks(const tsr_options *o, const tsr_world *world);

/* One item of the command line that stands for tokens. */
typedef struct tsr_input {
    char *text;   /* owned; NULL if ids were given */
    int32_t *ids; /* owned */
    int64_t n_ids;
    bool is_chat; /* a conversation that a template has written: no special tokens are to be added */
} tsr_input;

/* Reads --prompt, --prompt-file, --chat, --text and --ids in the order given. TSR_ERR_USAGE if there is none,
 * TSR_ERR_IO; of a chat also TSR_ERR_FORMAT and TSR_ERR_CAPACITY. */
tsr_status tsr_inputs_read(const tsr_options *o, tsr_input **out, int64_t *n);
void tsr_inputs_free(tsr_input **inputs, int64_t n);

/* Rank 0: refuses a model whose task is not the command's before its weights are read; TSR_OK where its config.json
 * does not say, which is for the engine to judge. */
tsr_status tsr_cli_check_task(const tsr_options *o);

/* Writes to stdout at once; TSR_ERR_IO if it cannot be written (a closed pipe). */
tsr_status tsr_put(const char *bytes, int64_t n);

/* JSON: "[1,2,3]"; log-probabilities with NaN as null. */
tsr_status tsr_json_ids(tsr_text *t, const int32_t *ids, int64_t n);
tsr_status tsr_json_logprobs(tsr_text *t, const float *values, int64_t n);

#endif
