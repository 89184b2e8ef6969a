/* cmd_convert.c: `tessera convert`: a checkpoint of any kind as safetensors, whole or cut for ranks. */
#include "base/log.h"
#include "launch/command.h"
#include "runtime/convert.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct progress_line {
    bool quiet, terminal, open; /* open: a line on the terminal has not been ended */
    double began, shown;
    const char *what;
} progress_line;

/* On a terminal one line that changes, else a line every five seconds. */
static bool show_progress(void *context, const char *what, int64_t done, int64_t all)
{
    progress_line *p = context;
    double now = tsr_now();
    if (what != p->what) p->what = what, p->began = p->shown = now;
    if (!p->quiet && now - p->shown >= (p->terminal ? 0.2 : 5.0)) {
        p->shown = now;
        double rate = (double)done / 1e6 / (now - p->began);
        if (p->terminal)
            p->open = fprintf(stderr, "\r%s: %.0f of %.0f MB, %.0f MB/s   ", what, (double)done / 1e6,
                              (double)all / 1e6, rate) > 0;
        else
            tsr_log(TSR_LOG_INFO, "%s: %.0f of %.0f MB, %.0f MB/s", what, (double)done / 1e6,
                    (double)all / 1e6, rate);
    }
    return !tsr_world_stop_requested();
}

static tsr_status read_dtype(const char *text, tsr_dtype *out)
{
    if (strcmp(text, "auto") == 0) {
        *out = TSR_DTYPE_COUNT;
        return TSR_OK;
    }
    if (tsr_dtype_from_option(text, out) && (*out == TSR_F32 || *out == TSR_F16 || *out == TSR_BF16))
        return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE, "option --dtype must be auto, float32, bfloat16 or float16, found \"%s\"",
                    text);
}

static tsr_status read_format(const tsr_options *o, tsr_convert_options *c)
{
    const char *text = o->text[TSR_OPT_FORMAT];
    bool safetensors = text && strcmp(text, "safetensors") == 0;
    c->deepspeed = (text && strcmp(text, "deepspeed") == 0) || (!text && c->ranks > 1);
    if (text && !safetensors && !c->deepspeed)
        return tsr_fail(TSR_ERR_USAGE, "option --format must be safetensors or deepspeed, found \"%s\"",
                        text);
    if (safetensors && c->ranks > 1)
        return tsr_fail(TSR_ERR_USAGE,
                        "--format safetensors is for one rank; files for --tp %d need --format deepspeed",
                        c->ranks);
    return TSR_OK;
}

static tsr_status read_options(const tsr_options *o, const tsr_world *world, tsr_convert_options *c)
{
    c->model = o->text[TSR_OPT_MODEL];
    c->checkpoint = o->text[TSR_OPT_CHECKPOINT];
    c->training_mp_size = (int)o->integer[TSR_OPT_TRAINING_MP_SIZE];
    c->output = o->text[TSR_OPT_OUTPUT];
    c->ranks = tsr_cli_ranks(o, world);
    c->shard_bytes = o->integer[TSR_OPT_SHARD_MB] * 1000000;
    c->verify = o->flag[TSR_OPT_VERIFY];
    if (!c->model) return tsr_fail(TSR_ERR_USAGE, "no model was named (--model DIR)");
    if (!c->output) return tsr_fail(TSR_ERR_USAGE, "no output was named (--output DIR)");
    TSR_TRY(read_dtype(o->text[TSR_OPT_DTYPE], &c->dtype));
    return read_format(o, c);
}

static tsr_status print(const tsr_options *o, const tsr_convert_report *r, double seconds)
{
    char line[512];
    const char *form = o->flag[TSR_OPT_JSON]
                           ? "{\"format\":\"%s\",\"tensors\":%lld,\"bytes\":%lld,\"files\":%lld,\"cut\":%lld,"
                             "\"seconds\":%.3f,\"verified\":%s}\n"
                           : "%s: %lld tensors, %lld bytes in %lld files, %lld of them cut; %.2f s%s\n";
    const char *verified = o->flag[TSR_OPT_JSON]     ? (o->flag[TSR_OPT_VERIFY] ? "true" : "false")
                           : o->flag[TSR_OPT_VERIFY] ? ", verified"
                                                     : "";
    int n = snprintf(line, sizeof line, form, r->format, (long long)r->tensors, (long long)r->bytes,
                     (long long)r->files, (long long)r->cut, seconds, verified);
    if (r->infinite > 0)
        tsr_log(TSR_LOG_WARNING, "%lld numbers are too large for float16 and became infinite",
                (long long)r->infinite);
    return tsr_put(line, n);
}

/* One each CPU this process may use; more than a few no disk keeps up with. */
static int threads_for_copying(void)
{
    enum { MOST = 8 };
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    return n < MOST ? n : MOST;
}

static tsr_status convert(const tsr_options *o, const tsr_world *world)
{
    progress_line line = {.quiet = o->flag[TSR_OPT_QUIET], .terminal = isatty(STDERR_FILENO)};
    tsr_convert_options c = {.progress = show_progress, .progress_context = &line};
    tsr_convert_report report;
    double began = tsr_now();
    TSR_TRY(read_options(o, world, &c));
    int threads = (int)o->integer[TSR_OPT_THREADS];
    if (threads == 0) threads = threads_for_copying();
    TSR_TRY(tsr_pool_create(threads, NULL, true, &c.pool));
    tsr_status s = tsr_convert_model(&c, &report);
    tsr_pool_destroy(&c.pool);
    if (line.open) fputc('\n', stderr);
    return s == TSR_OK ? print(o, &report, tsr_now() - began) : s;
}

tsr_status tsr_cmd_convert(tsr_world *world, const tsr_options *o)
{
    tsr_status s = tsr_world_rank(world) == 0 ? convert(o, world) : TSR_OK;
    return tsr_world_agree(world, s);
}
