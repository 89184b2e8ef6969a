/* options.h: the options of the program, one table.
 *
 * A row: identifier, long name, kind, default, range, the commands that take it, help. The table makes the
 * parser, its checks and --help; adding an option is adding a row. An option is written `--name value` or
 * `--name=value`; flags take no value. Unknown names, missing values, numbers out of range and options a
 * command does not take are TSR_ERR_USAGE with one line (and the nearest name, if one is near). Local.
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
    TSR_OPTION_LIST, /* may be given many times; kept in order with all other lists */
} tsr_option_kind;

enum {
    TSR_CMD_GENERATE = 1,
    TSR_CMD_SCORE = 2,
    TSR_CMD_TOKENIZE = 4,
    TSR_CMD_PLAN = 8,
    TSR_CMD_BENCH = 16,
    TSR_CMD_RUNS = TSR_CMD_GENERATE | TSR_CMD_SCORE | TSR_CMD_BENCH, /* those that run a model */
    TSR_CMD_CONVERT = 32,
    TSR_CMD_INSPECT = 64,
    TSR_CMD_CACHE = 128,
    TSR_CMD_ARGUMENT = TSR_CMD_INSPECT | TSR_CMD_CACHE, /* those that take one argument without a name */
    TSR_CMD_ALL = 255
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
    X(TEXT, "text", LIST, "", 0, 0, "TEXT", TSR_CMD_SCORE | TSR_CMD_TOKENIZE,                                \
      "a text; may be given many times")                                                                     \
    X(IDS, "ids", LIST, "", 0, 0, "5,17,3", TSR_CMD_GENERATE | TSR_CMD_SCORE | TSR_CMD_TOKENIZE,             \
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
    X(TOP, "top", INT, "5", 0, 1000, "K", TSR_CMD_SCORE, "list the K best next tokens")                      \
    X(TP, "tp", INT, "1", 1, 4096, "N", TSR_CMD_PLAN | TSR_CMD_CONVERT,                                      \
      "number of ranks to plan or cut for")                                                                  \
    X(OUTPUT, "output", TEXT, "", 0, 0, "DIR", TSR_CMD_CONVERT, "the new model folder")                      \
    X(FORMAT, "format", TEXT, "", 0, 0, "FORM", TSR_CMD_CONVERT,                                             \
      "safetensors, or deepspeed: a DeepSpeed JSON too; default: safetensors, with --tp deepspeed")          \
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
    X(PROFILE, "profile", FLAG, "", 0, 0, "", TSR_CMD_BENCH, "show the time of each op")                     \
    X(DTYPE, "dtype", TEXT, "auto", 0, 0, "TYPE", TSR_CMD_RUNS | TSR_CMD_PLAN | TSR_CMD_CONVERT,             \
      "float32, bfloat16, float16 or auto (the checkpoint's)")                                               \
    X(KERNELS, "kernels", TEXT, "auto", 0, 0, "SET", TSR_CMD_RUNS,                                           \
      "auto, inject or reference (nothing fused)")                                                           \
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
    X(DEVICE, "device", TEXT, "auto", 0, 0, "KIND", TSR_CMD_RUNS,                                            \
      "cpu, cuda (one GPU a rank) or auto (cuda where every rank sees a GPU)")                               \
    X(GPU_MEMORY_FRACTION, "gpu-memory-fraction", REAL, "0.9", 0.01, 1, "X", TSR_CMD_RUNS,                   \
      "of a GPU's free memory to use")                                                                       \
    X(NO_CUDA_GRAPH, "no-cuda-graph", FLAG, "", 0, 0, "", TSR_CMD_RUNS,                                      \
      "enqueue decode steps call by call instead of as captured graphs")                                     \
    X(DEADLINE, "deadline", REAL, "60", 1, 86400, "S", TSR_CMD_RUNS,                                         \
      "seconds a step may take before the job is ended")                                                     \
    X(JSON, "json", FLAG, "", 0, 0, "", TSR_CMD_ALL, "print JSON")                                           \
    X(QUIET, "quiet", FLAG, "", 0, 0, "", TSR_CMD_ALL, "no progress on stderr")                              \
    X(HELP, "help", FLAG, "", 0, 0, "", TSR_CMD_ALL, "show this help")

typedef enum tsr_option_id {
#define TSR_OPTION_ENUM(ID, ...) TSR_OPT_##ID,
    TSR_OPTION_TABLE(TSR_OPTION_ENUM)
#undef TSR_OPTION_ENUM
        TSR_OPTION_COUNT
} tsr_option_id;

typedef struct tsr_list_item {
    tsr_option_id option;
    const char *value;
} tsr_list_item;

enum { TSR_MAX_LIST_ITEMS = 4096 };

typedef struct tsr_options {
    int command;          /* TSR_CMD_... */
    const char *argument; /* the one without a name, NULL if there was none */
    bool given[TSR_OPTION_COUNT];
    bool flag[TSR_OPTION_COUNT];
    int64_t integer[TSR_OPTION_COUNT];
    double real[TSR_OPTION_COUNT];
    const char *text[TSR_OPTION_COUNT];
    tsr_list_item list[TSR_MAX_LIST_ITEMS]; /* every LIST option in the order given */
    int n_list;
} tsr_options;

/* argv[0] is the command. Values point into argv. */
tsr_status tsr_options_parse(int command, int argc, char **argv, tsr_options *out);

/* Prints the options of a command: name, value, default, range, help. */
void tsr_options_help(int command);

/* Edit distance of two names, for "did you mean"; names longer than 40 bytes are far from all others. */
int tsr_name_distance(const char *a, const char *b);

int tsr_options_count(const tsr_options *o, tsr_option_id list); /* how often a LIST option was given */

#endif
