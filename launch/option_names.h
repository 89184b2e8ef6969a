/* option_names.h: the further names of options: those of LMI's serving.properties, and environment variables.
 *
 * Every option but those of the command line alone is the key `option.NAME` of a serving.properties and the
 * variable OPTION_NAME, its name with '_' for '-'. Rows here add a name: what is written `option.model_id` there is
 * `--model-id` on a command line and OPTION_MODEL_ID in the environment. Local.
 */
#ifndef TSR_LAUNCH_OPTION_NAMES_H
#define TSR_LAUNCH_OPTION_NAMES_H

#include "launch/options.h"

/* N(ID, SENSE, "name", PLACE, "variables"): SENSE OPPOSITE is for a flag whose name says no, and a key that says
 * yes. PLACE SERVER: a key that stands without `option.` too. Variables fill what no OPTION_ variable states; the
 * first that is set counts. */
#define TSR_OPTION_NAME_TABLE(N)                                                                             \
    N(MODEL, SAME, "model_id", OPTION, "HF_MODEL_ID")                                                        \
    N(REVISION, SAME, "revision", OPTION, "HF_REVISION")                                                     \
    N(TASK, SAME, "task", OPTION, "HF_TASK")                                                                 \
    N(TP, SAME, "tensor_parallel_degree", OPTION, "TENSOR_PARALLEL_DEGREE SM_NUM_GPUS")                      \
    N(CONTEXT, SAME, "max_tokens", OPTION, "")                                                               \
    N(MAX_SEQUENCES, SAME, "max_rolling_batch_size", OPTION, "MAX_BATCH_SIZE")                               \
    N(STEP_TOKENS, SAME, "max_rolling_batch_prefill_tokens", OPTION, "MAX_BATCH_PREFILL_TOKENS")             \
    N(NO_CUDA_GRAPH, OPPOSITE, "enable_cuda_graph", OPTION, "")                                              \
    N(DEADLINE, SAME, "predict_timeout", OPTION, "PREDICT_TIMEOUT")                                          \
    N(PREFIX_CACHE, SAME, "enable_prefix_caching", OPTION, "")                                               \
    N(OUTPUT, SAME, "save_mp_checkpoint_path", OPTION, "")                                                   \
    N(QUANTIZE, SAME, "quantize", OPTION, "HF_MODEL_QUANTIZE")                                               \
    N(TRUST_REMOTE_CODE, SAME, "trust_remote_code", OPTION, "HF_MODEL_TRUST_REMOTE_CODE")                    \
    N(MODEL_LOADING_TIMEOUT, SAME, "model_loading_timeout", OPTION, "MODEL_LOADING_TIMEOUT")                 \
    N(JOB_QUEUE_SIZE, SAME, "job_queue_size", SERVER, "SERVING_JOB_QUEUE_SIZE MAX_CONCURRENT_REQUESTS")      \
    N(BATCH_SIZE, SAME, "batch_size", SERVER, "SERVING_BATCH_SIZE")                                          \
    N(BATCH_SIZE, SAME, "max_dynamic_batch_size", SERVER, "SERVING_MAX_DYNAMIC_BATCH_SIZE")                  \
    N(MAX_BATCH_DELAY, SAME, "max_batch_delay", SERVER, "SERVING_MAX_BATCH_DELAY")                           \
    N(CHUNKED_READ_TIMEOUT, SAME, "chunked_read_timeout", SERVER, "SERVING_CHUNKED_READ_TIMEOUT")            \
    N(MAX_REQUEST_SIZE, SAME, "max_request_size", SERVER, "SERVING_MAX_REQUEST_SIZE")

#define TSR_KEY_TRUTH  "true|false|1|0|yes|no|on|off|t|f|y|n"
#define TSR_KEY_NUMBER "a number"

/* K("key", "words", ACCEPTED|REFUSED, "why"): keys that are known, and no options. `words` are the values that are
 * accepted, one with '.' at its end whatever begins so. With or without `option.`, and those about workers and memory
 * also behind "gpu." or "cpu.", whatever the case of the letters. */
#define TSR_KNOWN_KEY_TABLE(K)                                                                               \
    K("engine", "MPI|Python|DeepSpeed", ACCEPTED, "there is one engine, which takes these names")            \
    K("entryPoint", "djl_python.", ACCEPTED,                                                                 \
      "handlers of LMI's own stand for what is built in; another one would "                                 \
      "be Python code, and none is executed")                                                                \
    K("handler", "handle", ACCEPTED, "goes with entryPoint")                                                 \
    K("mpi_mode", TSR_KEY_TRUTH, ACCEPTED, "the launcher decides: mpirun, srun or none")                     \
    K("parallel_loading", TSR_KEY_TRUTH, ACCEPTED, "all ranks load at once")                                 \
    K("waiting_steps", TSR_KEY_NUMBER, ACCEPTED, "requests join at the next step")                           \
    K("minWorkers", "1", ACCEPTED, "a program holds one copy of the model; start more for more")             \
    K("maxWorkers", "1", ACCEPTED, "a program holds one copy of the model; start more for more")             \
    K("max_idle_time", TSR_KEY_NUMBER, ACCEPTED, "a model is not unloaded while the program runs")           \
    K("load_on_devices", "*", ACCEPTED, "the launcher and CUDA_VISIBLE_DEVICES choose GPUs")                 \
    K("required_memory_mb", TSR_KEY_NUMBER, ACCEPTED,                                                        \
      "memory is planned from the model before anything is loaded")                                          \
    K("reserved_memory_mb", TSR_KEY_NUMBER, ACCEPTED, "--gpu-memory-fraction and --cache-mb bound memory")   \
    K("log_request_metric", TSR_KEY_TRUTH, ACCEPTED, "metrics are always kept")                              \
    K("metrics_aggregation", TSR_KEY_NUMBER, ACCEPTED, "metrics are always kept")                            \
    K("retry_threshold", TSR_KEY_NUMBER, ACCEPTED,                                                           \
      "a job that breaks ends; what started it starts it again")                                             \
    K("allow_multi_status", "false|0|no|off|f|n", ACCEPTED, "/ping answers 503 until the model is loaded")   \
    K("wait_model_loading", TSR_KEY_TRUTH, ACCEPTED,                                                         \
      "the port is open at once, and answers 503 until the model is loaded")                                 \
    K("env", "", REFUSED, "set environment variables where the program is started")                          \
    K("pythonExecutable", "", REFUSED, "no Python is run")                                                   \
    K("enable_venv", "false|0|no|off|f|n", ACCEPTED, "no Python is run")                                     \
    K("deepspeed_config_path", "", REFUSED, "write what the file says as options of their own")              \
    K("draft_model_id", "", REFUSED, "there is no speculative decoding")                                     \
    K("spec_length", "", REFUSED, "there is no speculative decoding")

typedef struct tsr_option_name {
    tsr_option_id id;
    bool opposite, server;
    const char *name;      /* "model_id" */
    const char *variables; /* separated by blanks */
} tsr_option_name;

typedef struct tsr_known_key {
    const char *key, *words;
    bool accepted;
    const char *why;
} tsr_known_key;

/* The rows; *n is how many there are. */
const tsr_option_name *tsr_option_names(int *n);
const tsr_known_key *tsr_known_keys(int *n);

/* The option of a key or variable without its prefix ("model_id", "top_p"), or of a name of the command line
 * ("model-id", "top-p"): '-' and '_' are one. *opposite: its value means the contrary. *further: the name is one of
 * the rows above. False if there is none. */
bool tsr_option_by_name(const char *name, tsr_option_id *id, bool *opposite, bool *further);

/* NULL if the key is none of them. */
const tsr_known_key *tsr_known_key_by_name(const char *key);

/* Writes the name nearest to a wrong one, among the options that `commands` take, with `separator` ('-' or '_')
 * between its words. False if none is within 3 edits. */
bool tsr_option_nearest(const char *name, int commands, char separator, char *out, int size);

/* Edit distance of two names, for "did you mean"; names longer than 40 bytes are far from all others. */
int tsr_name_distance(const char *a, const char *b);

/* Copies a name with `separator` for every '-' and '_'; what does not fit is left out. */
void tsr_option_spell(const char *name, char separator, char *out, int size);

#endif
