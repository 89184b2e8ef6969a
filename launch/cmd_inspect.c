/* cmd_inspect.c: `tessera inspect DIR|FILE`: what a checkpoint holds, and whether it is the one its config needs. */
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/source.h"
#include "layers/model.h"
#include "launch/command.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct inspection {
    const tsr_options *options;
    char folder[PATH_MAX];
    tsr_source_request request;
    tsr_source *source;
    tsr_model *model;        /* NULL: no config, or none of a family we have */
    char no_model[512];      /* why */
    bool *used;              /* [tensors] */
    tsr_text missing, wrong; /* items joined by '\n' */
    int64_t n_missing, n_wrong, n_unexpected, bytes;
} inspection;

/* --- Against the config --- */

static tsr_status note(tsr_text *list, int64_t *n, const char *item)
{
    if (*n > 0) TSR_TRY(tsr_text_puts(list, "\n"));
    (*n)++;
    return tsr_text_puts(list, item);
}

/* A weight whose tensors are all there may still have other shapes than the config says. A computed one has none. */
static tsr_status check_weight(inspection *in, const tsr_weight_info *w)
{
    const char *prefix = in->model->name_prefix;
    bool complete = true;
    if (!w->view) return TSR_OK;
    for (int i = 0; i < tsr_view_leaf_count(w->view); i++) {
        const char *name = tsr_view_leaf_name(w->view, i);
        const tsr_tensor_info *t = tsr_source_find_prefixed(in->source, name, prefix);
        if (t)
            in->used[t - tsr_source_tensor(in->source, 0)] = true;
        else
            TSR_TRY(note(&in->missing, &in->n_missing, name));
        complete &= t != NULL;
    }
    if (complete && tsr_view_check(w->view, in->source, prefix) != TSR_OK)
        TSR_TRY(note(&in->wrong, &in->n_wrong, tsr_error_text()));
    return TSR_OK;
}

static tsr_status check_model(inspection *in)
{
    void *p;
    int64_t n = tsr_source_count(in->source);
    TSR_TRY(tsr_calloc(n, sizeof *in->used, "an inspection", &p));
    in->used = p;
    for (int64_t i = 0; i < n; i++) in->bytes += tsr_source_tensor(in->source, i)->bytes;
    if (tsr_model_from_source(&in->request, &in->source, &in->model) != TSR_OK) {
        snprintf(in->no_model, sizeof in->no_model, "%s", tsr_error_text());
        return TSR_OK;
    }
    for (int64_t w = 0; w < in->model->n_weights; w++) TSR_TRY(check_weight(in, &in->model->weights[w]));
    for (int64_t i = 0; i < n; i++) in->n_unexpected += !in->used[i];
    return TSR_OK;
}

/* --- Telling --- */

typedef struct dtype_total {
    const char *label;
    int64_t tensors, bytes;
} dtype_total;

enum { MAX_LABELS = 64 };

static int sum_dtypes(const inspection *in, dtype_total totals[MAX_LABELS])
{
    int n = 0;
    for (int64_t i = 0; i < tsr_source_count(in->source); i++) {
        const tsr_tensor_info *t = tsr_source_tensor(in->source, i);
        int k = 0;
        while (k < n && strcmp(totals[k].label, t->dtype_label) != 0) k++;
        if (k == MAX_LABELS) continue;
        if (k == n) totals[n++] = (dtype_total){t->dtype_label, 0, 0};
        totals[k].tensors++;
        totals[k].bytes += t->bytes;
    }
    return n;
}

static tsr_status put_shape(tsr_text *out, const tsr_tensor_info *t)
{
    TSR_TRY(tsr_text_puts(out, "["));
    for (int i = 0; i < t->rank; i++)
        TSR_TRY(tsr_text_format(out, i ? ",%lld" : "%lld", (long long)t->shape[i]));
    return tsr_text_puts(out, "]");
}

static tsr_status put_lines(tsr_text *out, const char *label, const tsr_text *list)
{
    for (const char *at = list->data; *at;) {
        size_t n = strcspn(at, "\n");
        TSR_TRY(tsr_text_format(out, "%-11s %.*s\n", label, (int)n, at));
        at += n + (at[n] == '\n');
    }
    return TSR_OK;
}

static tsr_status put_verdict(const inspection *in, tsr_text *out)
{
    if (!in->model) return tsr_text_format(out, "config      not compared: %s\n", in->no_model);
    bool complete = in->n_missing + in->n_wrong == 0;
    TSR_TRY(tsr_text_format(out, "config      %s, %s: %lld missing, %lld wrong, %lld not used by it\n",
                            in->model->family, complete ? "complete" : "NOT COMPLETE",
                            (long long)in->n_missing, (long long)in->n_wrong, (long long)in->n_unexpected));
    TSR_TRY(put_lines(out, "missing", &in->missing));
    TSR_TRY(put_lines(out, "wrong", &in->wrong));
    for (int64_t i = 0; i < tsr_source_count(in->source); i++)
        if (!in->used[i])
            TSR_TRY(tsr_text_format(out, "unexpected  %s\n", tsr_source_tensor(in->source, i)->name));
    return TSR_OK;
}

static tsr_status put_table(const inspection *in, tsr_text *out)
{
    dtype_total totals[MAX_LABELS];
    int n = sum_dtypes(in, totals);
    int64_t tensors = tsr_source_count(in->source);
    TSR_TRY(tsr_text_format(out, "format      %s\ntensors     %lld, %lld bytes\ndtypes      ",
                            tsr_source_format_name(in->source), (long long)tensors, (long long)in->bytes));
    for (int k = 0; k < n; k++)
        TSR_TRY(tsr_text_format(out, "%s%s: %lld tensors, %lld bytes", k ? "; " : "", totals[k].label,
                                (long long)totals[k].tensors, (long long)totals[k].bytes));
    TSR_TRY(tsr_text_puts(out, "\n"));
    TSR_TRY(put_verdict(in, out));
    TSR_TRY(tsr_text_puts(out, "\n"));
    for (int64_t i = 0; i < tensors; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(in->source, i);
        TSR_TRY(tsr_text_format(out, "%-8s %12lld  %s  ", t->dtype_label, (long long)t->bytes, t->name));
        TSR_TRY(put_shape(out, t));
        TSR_TRY(tsr_text_format(out, "  %s%s\n", tsr_source_file_name(in->source, t->file),
                                t->made_of ? " (put together)" : ""));
    }
    return TSR_OK;
}

/* --- JSON --- */

static tsr_status put_string(tsr_text *out, const char *before, const char *s)
{
    TSR_TRY(tsr_text_puts(out, before));
    return tsr_text_json(out, s, (int64_t)strlen(s));
}

static tsr_status put_list(tsr_text *out, const char *before, const tsr_text *list)
{
    TSR_TRY(tsr_text_puts(out, before));
    for (const char *at = list->data; *at;) {
        size_t n = strcspn(at, "\n");
        if (at != list->data) TSR_TRY(tsr_text_puts(out, ","));
        TSR_TRY(tsr_text_json(out, at, (int64_t)n));
        at += n + (at[n] == '\n');
    }
    return tsr_text_puts(out, "]");
}

static tsr_status put_json_verdict(const inspection *in, tsr_text *out)
{
    bool first = true;
    if (!in->model) return put_string(out, ",\"model\":null,\"not_compared\":", in->no_model);
    TSR_TRY(put_string(out, ",\"model\":", in->model->family));
    TSR_TRY(put_list(out, ",\"missing\":[", &in->missing));
    TSR_TRY(put_list(out, ",\"wrong\":[", &in->wrong));
    TSR_TRY(tsr_text_puts(out, ",\"unexpected\":["));
    for (int64_t i = 0; i < tsr_source_count(in->source); i++) {
        if (in->used[i]) continue;
        TSR_TRY(put_string(out, first ? "" : ",", tsr_source_tensor(in->source, i)->name));
        first = false;
    }
    return tsr_text_puts(out, "]");
}

static tsr_status put_json(const inspection *in, tsr_text *out)
{
    TSR_TRY(put_string(out, "{\"format\":", tsr_source_format_name(in->source)));
    TSR_TRY(tsr_text_format(out, ",\"bytes\":%lld", (long long)in->bytes));
    TSR_TRY(put_json_verdict(in, out));
    TSR_TRY(tsr_text_puts(out, ",\"tensors\":["));
    for (int64_t i = 0; i < tsr_source_count(in->source); i++) {
        const tsr_tensor_info *t = tsr_source_tensor(in->source, i);
        TSR_TRY(put_string(out, i ? ",{\"name\":" : "{\"name\":", t->name));
        TSR_TRY(put_string(out, ",\"dtype\":", t->dtype_label));
        TSR_TRY(tsr_text_puts(out, ",\"shape\":"));
        TSR_TRY(put_shape(out, t));
        TSR_TRY(tsr_text_format(out, ",\"bytes\":%lld", (long long)t->bytes));
        TSR_TRY(put_string(out, ",\"file\":", tsr_source_file_name(in->source, t->file)));
        TSR_TRY(tsr_text_puts(out, "}"));
    }
    return tsr_text_puts(out, "]}\n");
}

/* --- The command --- */

/* A folder, or a file and the folder it lies in; with --checkpoint as everywhere. */
static tsr_status find_place(inspection *in, char file[PATH_MAX])
{
    const tsr_options *o = in->options;
    const char *path = o->argument ? o->argument : o->text[TSR_OPT_MODEL];
    struct stat st;
    if (!path) return tsr_fail(TSR_ERR_USAGE, "nothing to inspect: give a folder or a file");
    if (o->argument && o->origin[TSR_OPT_MODEL] == TSR_ORIGIN_COMMAND_LINE)
        return tsr_fail(TSR_ERR_USAGE, "both --model and \"%s\" were given", o->argument);
    if (strlen(path) >= PATH_MAX) return tsr_fail(TSR_ERR_USAGE, "the name of the folder is too long");
    bool folder = stat(path, &st) != 0 || S_ISDIR(st.st_mode);
    snprintf(file, PATH_MAX, "%s", path);
    snprintf(in->folder, sizeof in->folder, "%s", folder ? path : dirname(file));
    snprintf(file, PATH_MAX, "%s", path);
    in->request = (tsr_source_request){in->folder, folder ? o->text[TSR_OPT_CHECKPOINT] : basename(file),
                                       (int)o->integer[TSR_OPT_TRAINING_MP_SIZE]};
    return TSR_OK;
}

static tsr_status inspect(inspection *in)
{
    char file[PATH_MAX];
    tsr_text out = {0};
    TSR_TRY(find_place(in, file));
    TSR_TRY(tsr_text_init(&in->missing, TSR_TEXT_NO_CAP));
    TSR_TRY(tsr_text_init(&in->wrong, TSR_TEXT_NO_CAP));
    TSR_TRY(tsr_source_open_request(&in->request, &in->source));
    TSR_TRY(check_model(in));
    TSR_TRY(tsr_text_init(&out, TSR_TEXT_NO_CAP));
    tsr_status s = in->options->flag[TSR_OPT_JSON] ? put_json(in, &out) : put_table(in, &out);
    if (s == TSR_OK) s = tsr_put(out.data, out.length);
    tsr_text_free(&out);
    return s;
}

tsr_status tsr_cmd_inspect(tsr_world *world, const tsr_options *o)
{
    inspection in = {.options = o};
    tsr_status s = tsr_world_rank(world) == 0 ? inspect(&in) : TSR_OK;
    tsr_text_free(&in.missing);
    tsr_text_free(&in.wrong);
    tsr_free(in.used);
    tsr_model_destroy(&in.model);
    tsr_source_destroy(&in.source);
    return tsr_world_agree(world, s);
}
