/* convert.c: from a model folder to a model folder. */
#include "runtime/convert.h"
#include "checkpoint/out_folder.h"
#include "layers/model.h"
#include "runtime/convert_carry.h"
#include "runtime/convert_plan.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct conversion {
    const tsr_convert_options *options;
    tsr_convert_report *report;
    tsr_source_request request;
    tsr_source *source;
    tsr_convert_plan plan;
    tsr_out_folder *folder;
    const char *phase;
} conversion;

/* --- Planning --- */

static tsr_status plan_ranks(conversion *c, tsr_model *model, tsr_sharding *sharding)
{
    const tsr_tensor_split *splits;
    TSR_TRY(tsr_tensor_splits(sharding, model, c->source, c->plan.arena, &splits));
    return tsr_convert_plan_ranks(c->source, c->options->dtype, c->options->ranks, splits, &c->plan);
}

/* For several ranks the model decides who gets what, so its config must be there. */
static tsr_status make_plan(conversion *c)
{
    const tsr_convert_options *o = c->options;
    tsr_model *model;
    tsr_sharding *sharding = NULL;
    TSR_TRY(tsr_arena_create("a conversion", &c->plan.arena));
    if (o->ranks == 1) return tsr_convert_plan_sizes(c->source, o->dtype, o->shard_bytes, &c->plan);
    TSR_TRY(tsr_model_from_source(&c->request, &c->source, &model));
    tsr_status s = tsr_sharding_derive(model, o->ranks, &sharding);
    if (s == TSR_OK) s = plan_ranks(c, model, sharding);
    tsr_sharding_destroy(&sharding);
    tsr_model_destroy(&model);
    return s;
}

/* --- Writing --- */

static bool tell(void *context, int64_t done)
{
    conversion *c = context;
    const tsr_convert_options *o = c->options;
    return !o->progress || o->progress(o->progress_context, c->phase, done, c->plan.bytes);
}

static tsr_status write_text(conversion *c, const char *name, tsr_status printed, tsr_text *text)
{
    tsr_status s = printed;
    if (s == TSR_OK) s = tsr_out_folder_write(c->folder, name, text->data, text->length);
    tsr_text_free(text);
    return s;
}

static tsr_status write_json(conversion *c)
{
    const tsr_convert_options *o = c->options;
    tsr_text text;
    const char *dtype = o->dtype == TSR_DTYPE_COUNT ? NULL : tsr_dtype_name(o->dtype);
    if (o->ranks == 1 && c->plan.n_files > 1) {
        TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
        TSR_TRY(
            write_text(c, "model.safetensors.index.json", tsr_convert_print_index(&c->plan, &text), &text));
    }
    if (o->ranks == 1 && !o->deepspeed) return TSR_OK;
    TSR_TRY(tsr_text_init(&text, TSR_TEXT_NO_CAP));
    return write_text(c, o->ranks == 1 ? "ds_inference_checkpoint.json" : "ds_inference_config.json",
                      tsr_convert_print_deepspeed(&c->plan, o->ranks, dtype, &text), &text);
}

static tsr_status write_all(conversion *c)
{
    const tsr_convert_options *o = c->options;
    tsr_export_plan plan = {c->source, c->plan.files, c->plan.n_files, tell, c};
    c->phase = "converting";
    TSR_TRY(tsr_convert_carry(&c->request, c->source, o->dtype, c->folder));
    TSR_TRY(write_json(c));
    return tsr_export_run(&plan, tsr_out_folder_fd(c->folder), o->pool, &c->report->infinite);
}

static tsr_status verify(conversion *c)
{
    const tsr_convert_options *o = c->options;
    tsr_source *result;
    c->phase = "verifying";
    tsr_status s = tsr_source_open(tsr_out_folder_path(c->folder), &result);
    if (s == TSR_OK) s = tsr_export_compare(c->source, result, o->dtype, o->pool, tell, c);
    tsr_source_destroy(&result);
    return s == TSR_OK || s == TSR_ERR_CANCELLED ? s : tsr_fail_in(s, "verification failed");
}

/* --- From one to the other --- */

/* Said plainly; the output folder's own rule, that nothing be there, would catch it too. */
static tsr_status check_places(const tsr_convert_options *o)
{
    struct stat in, out;
    if (!o->output || !o->output[0]) return tsr_fail(TSR_ERR_USAGE, "no output was named (--output DIR)");
    if (stat(o->model, &in) == 0 && stat(o->output, &out) == 0 && in.st_dev == out.st_dev &&
        in.st_ino == out.st_ino)
        return tsr_fail(TSR_ERR_USAGE, "%s: the output must not be the model itself", o->output);
    return TSR_OK;
}

static void fill_report(conversion *c)
{
    tsr_convert_report *r = c->report;
    r->tensors = tsr_source_count(c->source);
    r->bytes = c->plan.bytes;
    r->files = c->plan.n_files;
    r->cut = c->plan.cut;
    snprintf(r->format, sizeof r->format, "%s", tsr_source_format_name(c->source));
}

static tsr_status convert(conversion *c)
{
    const tsr_convert_options *o = c->options;
    TSR_TRY(check_places(o));
    TSR_TRY(tsr_source_open_request(&c->request, &c->source));
    TSR_TRY(make_plan(c));
    TSR_TRY(tsr_out_folder_create(o->output, &c->folder));
    TSR_TRY(write_all(c));
    if (o->verify) TSR_TRY(verify(c));
    TSR_TRY(tsr_out_folder_finish(c->folder));
    fill_report(c);
    return TSR_OK;
}

tsr_status tsr_convert_model(const tsr_convert_options *options, tsr_convert_report *report)
{
    conversion c = {.options = options,
                    .report = report,
                    .request = {options->model, options->checkpoint, options->training_mp_size}};
    *report = (tsr_convert_report){0};
    tsr_status s = convert(&c);
    tsr_out_folder_close(&c.folder);
    tsr_arena_destroy(&c.plan.arena);
    tsr_source_destroy(&c.source);
    return s;
}
