/* inputs.c: what the command line gives as tokens: texts, files, lists of ids. */
#include "base/memory.h"
#include "launch/chat_input.h"
#include "launch/command.h"
#include "layers/task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_CAP = 64 << 20, MAX_IDS = 1 << 24 };

bool tsr_cli_rolls(const tsr_options *o)
{
    const char *said = o->text[TSR_OPT_ROLLING_BATCH];
    if (strcmp(said, "auto") == 0) return o->integer[TSR_OPT_BATCH_SIZE] == 1;
    return strcmp(said, "disable") != 0;
}

tsr_engine_options tsr_cli_engine_options(const tsr_options *o)
{
    tsr_engine_options e = TSR_ENGINE_OPTIONS_INIT;
    e.model = o->text[TSR_OPT_MODEL];
    e.checkpoint = o->text[TSR_OPT_CHECKPOINT];
    e.cache = o->text[TSR_OPT_CACHE];
    e.training_mp_size = (int)o->integer[TSR_OPT_TRAINING_MP_SIZE];
    e.plan_ahead = o->text[TSR_OPT_PLAN_AHEAD];
    e.prefix_cache = o->flag[TSR_OPT_PREFIX_CACHE];
    e.dtype = o->text[TSR_OPT_DTYPE];
    e.task = o->text[TSR_OPT_TASK];
    e.kernels = o->text[TSR_OPT_KERNELS];
    e.threads = (int)o->integer[TSR_OPT_THREADS];
    e.step_tokens = (int)o->integer[TSR_OPT_STEP_TOKENS];
    e.max_sequences = (int)o->integer[tsr_cli_rolls(o) ? TSR_OPT_MAX_SEQUENCES : TSR_OPT_BATCH_SIZE];
    e.context = o->integer[TSR_OPT_CONTEXT];
    e.cache_bytes = o->integer[TSR_OPT_CACHE_MB] << 20;
    e.deadline = o->real[TSR_OPT_DEADLINE];
    e.device = o->text[TSR_OPT_DEVICE];
    e.gpu_memory_fraction = o->real[TSR_OPT_GPU_MEMORY_FRACTION];
    e.no_cuda_graph = o->flag[TSR_OPT_NO_CUDA_GRAPH];
    e.quiet = o->flag[TSR_OPT_QUIET];
    e.pace = o->command == TSR_CMD_SERVE && o->flag[TSR_OPT_PACE];
    return e;
}

tsr_status tsr_cli_check_task(const tsr_options *o)
{
    char path[4096];
    tsr_json config = {0};
    tsr_task task = TSR_TASK_AUTO;
    const char *model = o->text[TSR_OPT_MODEL];
    if (!model) return TSR_OK;
    TSR_TRY(tsr_task_from_name(o->text[TSR_OPT_TASK], &task));
    if (task == TSR_TASK_AUTO) {
        if (snprintf(path, sizeof path, "%s/config.json", model) >= (int)sizeof path) return TSR_OK;
        tsr_status s = tsr_json_read(path, TSR_JSON_CONFIG_CAP, &config);
        if (s == TSR_OK) s = tsr_task_of_config(tsr_json_root(&config), &task);
        tsr_json_free(&config);
        if (s != TSR_OK) return TSR_OK;
    }
    return tsr_task_check(task, o->command == TSR_CMD_CLASSIFY, model);
}

int tsr_cli_ranks(const tsr_options *o, const tsr_world *world)
{
    int64_t stated = o->integer[TSR_OPT_TP];
    return stated > 0 ? (int)stated : tsr_world_size(world);
}

static tsr_status parse_ids(const char *text, tsr_input *out)
{
    void *p;
    int64_t commas = 0;
    for (const char *c = text; *c; c++) commas += *c == ',';
    if (commas >= MAX_IDS) return tsr_fail(TSR_ERR_USAGE, "--ids lists more than %d ids", MAX_IDS);
    TSR_TRY(tsr_alloc((commas + 1) * (int64_t)sizeof(int32_t), "ids", &p));
    out->ids = p;
    for (const char *at = text;;) {
        char *end;
        errno = 0;
        long long id = strtoll(at, &end, 10);
        while (*end == ' ') end++;
        if (end == at || errno == ERANGE || id < 0 || id > INT32_MAX || (*end && *end != ','))
            return tsr_fail(TSR_ERR_USAGE,
                            "option --ids must be numbers and commas like 5,17,3, found \"%.60s\"", text);
        out->ids[out->n_ids++] = (int32_t)id;
        if (!*end) return TSR_OK;
        at = end + 1;
    }
}

static tsr_status read_stream(FILE *f, const char *name, char **out)
{
    tsr_text text;
    char block[65536];
    size_t n;
    TSR_TRY(tsr_text_init(&text, FILE_CAP));
    tsr_status s = TSR_OK;
    while (s == TSR_OK && (n = fread(block, 1, sizeof block, f)) > 0)
        s = tsr_text_append(&text, block, (int64_t)n);
    if (s != TSR_OK)
        s = tsr_fail(TSR_ERR_USAGE, "%s: a prompt file may have at most %d bytes", name, FILE_CAP);
    if (s == TSR_OK && ferror(f)) s = tsr_fail(TSR_ERR_IO, "%s: cannot be read: %s", name, strerror(errno));
    if (s == TSR_OK && memchr(text.data, 0, (size_t)text.length))
        s = tsr_fail(TSR_ERR_USAGE, "%s: holds a zero byte, so it is no text", name);
    if (s == TSR_OK)
        *out = text.data;
    else
        tsr_text_free(&text);
    return s;
}

static tsr_status read_file(const char *path, char **out)
{
    if (strcmp(path, "-") == 0) return read_stream(stdin, "standard input", out);
    FILE *f = fopen(path, "rb");
    if (!f) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    tsr_status s = read_stream(f, path, out);
    fclose(f);
    return s;
}

static tsr_status copy_text(const char *text, char **out)
{
    void *p;
    TSR_TRY(tsr_alloc((int64_t)strlen(text) + 1, "a prompt", &p));
    *out = strcpy(p, text);
    return TSR_OK;
}

static tsr_status read_chat(const tsr_options *o, const char *path, tsr_chat_reader *reader, tsr_input *out)
{
    char *json;
    TSR_TRY(read_file(path, &json));
    tsr_status s = tsr_chat_input(o, path, json, reader, out);
    tsr_free(json);
    return s;
}

static tsr_status read_one(const tsr_options *o, const tsr_list_item *item, tsr_chat_reader *reader,
                           tsr_input *out)
{
    if (item->option == TSR_OPT_IDS) return parse_ids(item->value, out);
    if (item->option == TSR_OPT_PROMPT_FILE) return read_file(item->value, &out->text);
    if (item->option == TSR_OPT_CHAT) return read_chat(o, item->value, reader, out);
    return copy_text(item->value, &out->text);
}

static const char *nothing_given(int command)
{
    return command == TSR_CMD_GENERATE
               ? "nothing to continue: give --prompt, --prompt-file or --ids, or --chat"
           : command == TSR_CMD_TOKENIZE ? "nothing to work on: give --text or --ids, or --chat"
                                         : "nothing to work on: give --text or --ids";
}

tsr_status tsr_inputs_read(const tsr_options *o, tsr_input **out, int64_t *n)
{
    void *p;
    tsr_chat_reader reader = {0};
    *out = NULL;
    *n = 0;
    TSR_TRY(tsr_calloc(o->n_list > 0 ? o->n_list : 1, sizeof(tsr_input), "the inputs", &p));
    tsr_input *inputs = p;
    tsr_status s = TSR_OK;
    for (int i = 0; i < o->n_list && s == TSR_OK; i++)
        if (o->list[i].option != TSR_OPT_STOP) s = read_one(o, &o->list[i], &reader, &inputs[(*n)++]);
    tsr_chat_reader_free(&reader);
    if (s == TSR_OK && *n == 0) s = tsr_fail(TSR_ERR_USAGE, "%s", nothing_given(o->command));
    if (s != TSR_OK) {
        tsr_inputs_free(&inputs, *n);
        *n = 0;
    }
    *out = inputs;
    return s;
}

void tsr_inputs_free(tsr_input **inputs, int64_t n)
{
    for (int64_t i = 0; *inputs && i < n; i++) {
        tsr_free((*inputs)[i].text);
        tsr_free((*inputs)[i].ids);
    }
    tsr_free(*inputs);
    *inputs = NULL;
}
