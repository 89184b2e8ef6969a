/* options.h: the options of the program, one table, and where their values come from.
 *
 * A row: identifier, long name, kind, default, range, the commands that take it, help. The table makes the
 * parser, its checks, --help, the manual page and docs/configuration.md; adding an option is adding a row.
 * launch/option_names.h has the further names that some rows go by.
 *
 * A value is taken from the first of these that states one:
 *     the command line     --name value or --name=value; flags take no value there
 *     the environment      OPTION_NAME, then the variables of option_names.h (HF_MODEL_ID, ...); empty ones are unset
 *     serving.properties   option.name=value, in the file of --config or else in the model's folder
 *     the table            the default
 * Every value that is stated is checked, whichever is used. Unknown names, missing values, numbers out of range
 * and options a command does not take are TSR_ERR_USAGE with one line (and the nearest name, if one is near).
 */
#ifndef TSR_LAUNCH_OPTIONS_H
#define TSR_LAUNCH_OPTIONS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum tsr_option_kind {
    TSR_OPTION_FLAG,
    TSR_OPTION_INT,
    TSR_OPTION_REAL,
    TSR_OPTION_TEXT,
    TSR_OPTION_LIST,   /* may be given many times; kept in order with all other lists; command line only */
    TSR_OPTION_BOOL,   /* as FLAG, with true or false behind it; "VALUE" is not used */
    TSR_OPTION_RANKS,  /* as INT, or "max", which is the integer 0 */
    TSR_OPTION_CHOICE, /* as TEXT; "VALUE" lists the words: "auto|float32=fp32|!int8". '=': another spelling;
                          '!': known and refused until there is code for it */
} tsr_option_kind;

enum {
    TSR_CMD_GENERATE = 1,
    TSR_CMD_SCORE = 2,
    TSR_CMD_TOKENIZE = 4,
    TSR_CMD_PLAN = 8,
    TSR_CMD_BENCH = 16,
    TSR_CMD_CONVERT = 32,
    TSR_CMD_INSPECT = 64,
    TSR_CMD_CACHE = 128,
    TSR_CMD_CLASSIFY = 256,
    TSR_CMD_CONFIG = 1 << 16, /* takes every option that can be configured */
    TSR_CMD_SERVE = 1 << 17,
    TSR_CMD_RUNS = TSR_CMD_GENERATE | TSR_CMD_SCORE | TSR_CMD_BENCH | TSR_CMD_CLASSIFY |
                   TSR_CMD_SERVE,                       /* those that run a model */
    TSR_CMD_ARGUMENT = TSR_CMD_INSPECT | TSR_CMD_CACHE, /* those that take one argument without a name */
    TSR_CMD_ALL = (1 << 18) - 1
};

/* X(ID, "name", KIND, default, low, high, "VALUE", commands, "help"). low and high bound numbers. */
#define TSR_OPTION_TABLE(X)                                                                                  \
    X(MODEL, "model", TEXT, "", 0, 0, "DIR", TSR_CMD_ALL & ~TSR_CMD_CACHE,                                   \
      "folder of the model: config.json, weights, tokenizer")                                                \
    X(CHECKPOINT, "checkpoint", TEXT, "", 0, 0, "PATH", TSR_CMD_ALL & ~TSR_CMD_CACHE,                        \
      "weights: a file, or a folder with them; relative to the model's folder; default: what lies there")    \
    X(TRAINING_MP_SIZE, "training-mp-size", INT, "0", 0, 4096, "M",                                          \
      TSR_CMD_RUNS | TSR_CMD_PLAN | TSR_CMD_CONVERT | TSR_CMD_INSPECT,                                       \
      "tensor-parallel degree the checkpoint must have been trained at; 0: whatever it says")                \
    X(PROMPT, "prompt", LIST, "", 0, 0, "TEXT", TSR_CMD_GENERATE, "a prompt; may be given many times")       \
    X(PROMPT_FILE, "prompt-file", LIST, "", 0, 0, "FILE", TSR_CMD_GENERATE,                                  \
      "a file that is one prompt; - reads stdin")                                                            \
    X(CHAT, "chat", LIST, "", 0, 0, "FILE", TSR_CMD_GENERATE | TSR_CMD_TOKENIZE,                             \
      "a conversation to answer: JSON messages, or an object with messages and tools; - reads stdin")        \
    X(CHAT_TEMPLATE, "chat-template", TEXT, "", 0, 0, "FILE",                                                \
      TSR_CMD_GENERATE | TSR_CMD_TOKENIZE | TSR_CMD_SERVE,                                                   \
      "Jinja that writes conversations as prompts; default: the model's own")                                \
    X(NO_GENERATION_PROMPT, "no-generation-prompt", FLAG, "", 0, 0, "", TSR_CMD_GENERATE | TSR_CMD_TOKENIZE, \
      "end a conversation's prompt before what begins an answer")                                            \
    X(TEXT, "text", LIST, "", 0, 0, "TEXT", TSR_CMD_SCORE | TSR_CMD_TOKENIZE | TSR_CMD_CLASSIFY,             \
      "a text; may be given many times")                                                                     \
    X(IDS, "ids", LIST, "", 0, 0, "5,17,3",                                                                  \
      TSR_CMD_GENERATE | TSR_CMD_SCORE | TSR_CMD_TOKENIZE | TSR_CMD_CLASSIFY,                                \
      "token ids instead of text; may be given many times; needs no tokenizer")                              \
    X(MAX_NEW_TOKENS, "max-new-tokens", INT, "128", 0, 1e7, "N", TSR_CMD_GENERATE,                           \
      "longest answer in tokens")                                                                            \
    X(TEMPERATURE, "temperature", REAL, "0", 0, 100, "X", TSR_CMD_GENERATE,                                  \
      "0 takes the best token; else sample")                                                                 \
    X(TOP_K, "top-k", INT, "0", 0, 1e7, "N", TSR_CMD_GENERATE, "sample among the N best tokens; 0: all")     \
    X(TOP_P, "top-p", REAL, "1", 1e-6, 1, "X", TSR_CMD_GENERATE,                                             \
      "sample among the best tokens that hold mass X; 1: all")                                               \
    X(MIN_P, "min-p", REAL, "0", 0, 1, "X", TSR_CMD_GENERATE,                                                \
      "sample among tokens at least X times as likely as the best; 0: all")                                  \
    X(SAMPLE, "sample", FLAG, "", 0, 0, "", TSR_CMD_GENERATE,                                                \
      "sample at the temperature that generation_config.json states, or 1")                                  \
    X(REPETITION_PENALTY, "repetition-penalty", REAL, "1", 0.01, 100, "X", TSR_CMD_GENERATE,                 \
      "divide (or multiply, if negative) the logits of tokens already seen; 1: no penalty")                  \
    X(FREQUENCY_PENALTY, "frequency-penalty", REAL, "0", -2, 2, "X", TSR_CMD_GENERATE,                       \
      "take X times as often as a token stands in the answer so far off its logit; 0: no penalty")           \
    X(PRESENCE_PENALTY, "presence-penalty", REAL, "0", -2, 2, "X", TSR_CMD_GENERATE,                         \
      "take X off the logit of each token that the answer has so far; 0: no penalty")                        \
    X(NO_REPEAT_NGRAM, "no-repeat-ngram", INT, "0", 0, 1e6, "N", TSR_CMD_GENERATE,                           \
      "no N tokens stand twice in the same order; 0: they may")                                              \
    X(MIN_NEW_TOKENS, "min-new-tokens", INT, "0", 0, 1e7, "N", TSR_CMD_GENERATE,                             \
      "shortest answer in tokens")                                                                           \
    X(SEED, "seed", INT, "0", 0, 9e15, "N", TSR_CMD_GENERATE | TSR_CMD_BENCH,                                \
      "of sampling, or of random weights")                                                                   \
    X(STOP, "stop", LIST, "", 0, 0, "TEXT", TSR_CMD_GENERATE,                                                \
      "end the answer before this text; may be given many times")                                            \
    X(IGNORE_EOS, "ignore-eos", FLAG, "", 0, 0, "", TSR_CMD_GENERATE,                                        \
      "go on after an end-of-sequence token")                                                                \
    X(TOP, "top", INT, "5", 0, 1000, "K", TSR_CMD_SCORE | TSR_CMD_CLASSIFY,                                  \
      "list the K best next tokens, or labels")                                                              \
    X(TP, "tp", RANKS, "max", 1, 4096, "N", TSR_CMD_RUNS | TSR_CMD_PLAN | TSR_CMD_CONVERT,                   \
      "number of ranks to plan or cut for; max: those of this job. A model that is run runs on all of "      \
      "them, "                                                                                               \
      "and another number is refused")                                                                       \
    X(OUTPUT, "output", TEXT, "", 0, 0, "DIR", TSR_CMD_CONVERT, "the new model folder")                      \
    X(FORMAT, "format", CHOICE, "", 0, 0, "safetensors|deepspeed", TSR_CMD_CONVERT,                          \
      "deepspeed: with a DeepSpeed JSON; default: safetensors, for several ranks deepspeed")                 \
    X(SHARD_MB, "shard-mb", INT, "5000", 1, 1e9, "N", TSR_CMD_CONVERT,                                       \
      "begin another file after so many millions of bytes")                                                  \
    X(VERIFY, "verify", FLAG, "", 0, 0, "", TSR_CMD_CONVERT, "read the result back and compare it")          \
    X(KEEP_MB, "keep-mb", INT, "0", 0, 1e9, "N", TSR_CMD_CACHE,                                              \
      "prune: also remove the least recently used entries until the rest takes at most N million bytes")     \
    X(PROMPT_TOKENS, "prompt-tokens", INT, "512", 1, 1e6, "N", TSR_CMD_BENCH, "length of each prompt")       \
    X(NEW_TOKENS, "new-tokens", INT, "64", 1, 1e6, "N", TSR_CMD_BENCH, "length of each answer")              \
    X(BATCH, "batch", INT, "1", 1, 4096, "N", TSR_CMD_BENCH, "requests at once")                             \
    X(REPEAT, "repeat", INT, "3", 1, 1000, "N", TSR_CMD_BENCH,                                               \
      "timed runs after a warm-up; medians are reported")                                                    \
    X(RANDOM_WEIGHTS, "random-weights", FLAG, "", 0, 0, "", TSR_CMD_BENCH,                                   \
      "needs config.json alone; weights at random")                                                          \
    X(PROFILE, "profile", FLAG, "", 0, 0, "", TSR_CMD_BENCH, "show where the time of a step goes")           \
    X(DTYPE, "dtype", CHOICE, "auto", 0, 0,                                                                  \
      "auto|float32=fp32=float=f32|bfloat16=bf16|float16=fp16=half=f16|!int8",                               \
      TSR_CMD_RUNS | TSR_CMD_PLAN | TSR_CMD_CONVERT, "number format; auto: the checkpoint's")                \
    X(TASK, "task", CHOICE, "auto", 0, 0,                                                                    \
      "auto|text-generation|text-classification|token-classification|!question-answering|!fill-mask|"        \
      "!conversational|!text2text-generation",                                                               \
      TSR_CMD_RUNS, "what the model is asked to do; auto: what config.json says")                            \
    X(KERNELS, "kernels", CHOICE, "auto", 0, 0, "auto|inject|reference", TSR_CMD_RUNS | TSR_CMD_PLAN,        \
      "inject: ops are fused; reference: nothing is, and the simplest kernels run")                          \
    X(THREADS, "threads", INT, "0", 0, 512, "N", TSR_CMD_RUNS | TSR_CMD_CONVERT,                             \
      "threads of each rank; 0: its share of the cores")                                                     \
    X(CONTEXT, "context", INT, "0", 0, 1e8, "N", TSR_CMD_RUNS,                                               \
      "longest prompt and answer together; 0: the model's own")                                              \
    X(STEP_TOKENS, "step-tokens", INT, "0", 0, 65536, "N", TSR_CMD_RUNS,                                     \
      "token budget of a step; 0: 512 on CPUs, 2048 on GPUs")                                                \
    X(MAX_SEQUENCES, "max-sequences", INT, "64", 1, 4096, "N", TSR_CMD_RUNS, "requests running at once")     \
    X(CACHE_MB, "cache-mb", INT, "0", 0, 1e8, "N", TSR_CMD_RUNS,                                             \
      "memory for keys and values on each rank, in MiB; 0: what the requests can need, within the free "     \
      "memory")                                                                                              \
    X(CACHE, "cache", TEXT, "", 0, 0, "DIR", TSR_CMD_RUNS | TSR_CMD_CACHE,                                   \
      "private folder (mode 700) where each rank keeps its weights as it loads them, for a faster start")    \
    X(DEVICE, "device", CHOICE, "auto", 0, 0, "auto|cpu|cuda", TSR_CMD_RUNS | TSR_CMD_PLAN,                  \
      "cuda: one GPU a rank; auto: cuda where every rank sees a GPU; to plan: cpu")                          \
    X(GPU_MEMORY_FRACTION, "gpu-memory-fraction", REAL, "0.9", 0.01, 1, "X", TSR_CMD_RUNS,                   \
      "of a GPU's free memory to use")                                                                       \
    X(NO_CUDA_GRAPH, "no-cuda-graph", FLAG, "", 0, 0, "", TSR_CMD_RUNS,                                      \
      "enqueue decode steps call by call instead of as captured graphs")                                     \
    X(PLAN_AHEAD, "plan-ahead", CHOICE, "auto", 0, 0, "auto|on|off", TSR_CMD_RUNS,                           \
      "plan a step while the one before runs; auto: on for GPUs; the tokens are the same")                   \
    X(PACE, "pace", BOOL, "true", 0, 0, "", TSR_CMD_SERVE,                                                   \
      "read long prompts in pieces that hold up the tokens of others no longer than usual")                  \
    X(PREFIX_CACHE, "prefix-cache", BOOL, "true", 0, 0, "",                                                  \
      TSR_CMD_GENERATE | TSR_CMD_CLASSIFY | TSR_CMD_SERVE,                                                   \
      "prompts that begin alike share what is computed of their beginning; it is kept while there is room")  \
    X(DEADLINE, "deadline", REAL, "60", 1, 86400, "S", TSR_CMD_RUNS,                                         \
      "seconds a step may take before the job is ended")                                                     \
    X(CONFIG, "config", TEXT, "", 0, 0, "FILE", TSR_CMD_ALL,                                                 \
      "a serving.properties to read options from; default: the one in the model's folder, if there is one")  \
    X(REVISION, "revision", TEXT, "", 0, 0, "NAME", TSR_CMD_ALL & ~TSR_CMD_CACHE,                            \
      "branch, tag or commit, where the model's folder is one of a Hugging Face cache; default: main")       \
    X(QUANTIZE, "quantize", CHOICE, "none", 0, 0, "none|!smoothquant|!dynamic_int8", TSR_CMD_RUNS,           \
      "weights in 8 bits")                                                                                   \
    X(SMOOTHQUANT_ALPHA, "smoothquant-alpha", REAL, "0.5", 0, 1, "X", TSR_CMD_RUNS,                          \
      "of --quantize smoothquant: how much of the activations' range moves into the weights")                \
    X(ROLLING_BATCH, "rolling-batch", CHOICE, "auto", 0, 0, "auto|deepspeed|disable", TSR_CMD_RUNS,          \
      "auto and deepspeed: requests join and leave between steps, --max-sequences at once; disable, and "    \
      "auto with a --batch-size above 1: --batch-size at once")                                              \
    X(BATCH_SIZE, "batch-size", INT, "1", 1, 4096, "N", TSR_CMD_RUNS,                                        \
      "requests running at once without rolling batches")                                                    \
    X(LOW_CPU_MEM_USAGE, "low-cpu-mem-usage", BOOL, "true", 0, 0, "", TSR_CMD_RUNS,                          \
      "each rank reads its own slices and nothing else; false is accepted, and they are read no other way")  \
    X(TRIANGULAR_MASKING, "triangular-masking", BOOL, "true", 0, 0, "", TSR_CMD_RUNS,                        \
      "decoders attend to no later token; false is refused, since none was made to")                         \
    X(RETURN_TUPLE, "return-tuple", BOOL, "true", 0, 0, "", TSR_CMD_RUNS,                                    \
      "the form of what a layer returns in Python: accepted, without a meaning here")                        \
    X(TRUST_REMOTE_CODE, "trust-remote-code", BOOL, "false", 0, 0, "", TSR_CMD_RUNS | TSR_CMD_TOKENIZE,      \
      "accepted; no code that comes with a model is ever executed")                                          \
    X(HOST, "host", TEXT, "127.0.0.1", 0, 0, "ADDRESS", TSR_CMD_SERVE, "address to listen on")               \
    X(PORT, "port", INT, "8080", 0, 65535, "N", TSR_CMD_SERVE, "port to listen on; 0: any that is free")     \
    X(API_KEY, "api-key", TEXT, "", 0, 0, "KEY", TSR_CMD_SERVE,                                              \
      "key that every request must carry, but for /ping, /health and /; better in the environment, where "   \
      "others do not see it")                                                                                \
    X(SERVED_MODEL_NAME, "served-model-name", TEXT, "", 0, 0, "NAME", TSR_CMD_SERVE,                         \
      "name of the model for clients; default: that of its folder")                                          \
    X(MAX_CONNECTIONS, "max-connections", INT, "1024", 1, 1e6, "N", TSR_CMD_SERVE,                           \
      "connections open at once; more wait")                                                                 \
    X(REQUEST_TIMEOUT, "request-timeout", REAL, "0", 0, 86400, "S", TSR_CMD_SERVE,                           \
      "seconds a request may take in all; 0: any")                                                           \
    X(DRAIN_TIMEOUT, "drain-timeout", REAL, "30", 0, 86400, "S", TSR_CMD_SERVE,                              \
      "seconds that requests have to end after the first signal")                                            \
    X(OUTPUT_FORMATTER, "output-formatter", CHOICE, "json", 0, 0,                                            \
      "json|jsonlines|sse|json_chat|jsonlines_chat|none", TSR_CMD_SERVE,                                     \
      "form of the answers of /invocations where a request does not say")                                    \
    X(ENABLE_STREAMING, "enable-streaming", CHOICE, "false", 0, 0, "false|true|huggingface", TSR_CMD_SERVE,  \
      "answer in pieces where a request does not say")                                                       \
    X(JOB_QUEUE_SIZE, "job-queue-size", INT, "1000", 1, 1e6, "N", TSR_CMD_SERVE,                             \
      "requests that may wait; more are turned away")                                                        \
    X(MAX_BATCH_DELAY, "max-batch-delay", INT, "100", 0, 6e5, "MS", TSR_CMD_SERVE,                           \
      "accepted, without effect: a request that may start waits for no others")                              \
    X(CHUNKED_READ_TIMEOUT, "chunked-read-timeout", INT, "60", 1, 86400, "S", TSR_CMD_SERVE,                 \
      "most seconds that a client may be silent, or take no piece of its answer")                            \
    X(MAX_REQUEST_SIZE, "max-request-size", INT, "2097152", 1, 1e9, "N", TSR_CMD_SERVE,                      \
      "most bytes of a request")                                                                             \
    X(MODEL_LOADING_TIMEOUT, "model-loading-timeout", INT, "240", 1, 86400, "S", TSR_CMD_SERVE,              \
      "most seconds that loading may take")                                                                  \
    X(JSON, "json", FLAG, "", 0, 0, "", TSR_CMD_ALL, "print JSON")                                           \
    X(VERBOSE, "verbose", FLAG, "", 0, 0, "", TSR_CMD_RUNS,                                                  \
      "tell on stderr what the time until the first token goes into")                                        \
    X(QUIET, "quiet", FLAG, "", 0, 0, "", TSR_CMD_ALL, "no progress on stderr")                              \
    X(HELP, "help", FLAG, "", 0, 0, "", TSR_CMD_ALL, "show this help")

typedef enum tsr_option_id {
#define TSR_OPTION_ENUM(ID, ...) TSR_OPT_##ID,
    TSR_OPTION_TABLE(TSR_OPTION_ENUM)
#undef TSR_OPTION_ENUM
        TSR_OPTION_COUNT
} tsr_option_id;

/* Where a value came from, in rising order of precedence. */
typedef enum tsr_option_origin {
    TSR_ORIGIN_DEFAULT,
    TSR_ORIGIN_FILE,
    TSR_ORIGIN_ENVIRONMENT,
    TSR_ORIGIN_COMMAND_LINE
} tsr_option_origin;

typedef struct tsr_list_item {
    tsr_option_id option;
    const char *value;
} tsr_list_item;

enum { TSR_MAX_LIST_ITEMS = 4096, TSR_LONGEST_WORD = 32 };

typedef struct tsr_options {
    int command;                  /* TSR_CMD_... */
    const char *argument;         /* the one without a name, NULL if there was none */
    bool given[TSR_OPTION_COUNT]; /* stated anywhere, so not the default */
    bool flag[TSR_OPTION_COUNT];
    int64_t integer[TSR_OPTION_COUNT];
    double real[TSR_OPTION_COUNT];
    const char *text[TSR_OPTION_COUNT];
    tsr_option_origin origin[TSR_OPTION_COUNT];
    const char *place[TSR_OPTION_COUNT]; /* "--dtype", "OPTION_DTYPE", "DIR/serving.properties:3"; or NULL */
    char word[TSR_OPTION_COUNT][TSR_LONGEST_WORD]; /* the text of a CHOICE, as the table spells it */
    tsr_list_item list[TSR_MAX_LIST_ITEMS];        /* every LIST option in the order given */
    int n_list;
    char *settings;    /* what values of the environment and of files point into */
    char folder[4096]; /* of the model, where it is not the one that was named */
} tsr_options;

/* The command line alone, and defaults. argv[0] is the command. Values point into argv. Local. */
tsr_status tsr_options_parse(int command, int argc, char **argv, tsr_options *out);
void tsr_options_free(tsr_options *o);

/* Prints the options of a command: name, value, default, range, help. */
void tsr_options_help(int command);

/* "the command line", "the environment", "the file", "default" */
const char *tsr_option_origin_name(tsr_option_origin origin);

int tsr_options_count(const tsr_options *o, tsr_option_id list); /* how often a LIST option was given */

#endif
