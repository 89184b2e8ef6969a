/* cmd_plan.c: `tessera plan`: how a model would be spread over N ranks, from its config alone. */
#include "base/checked.h"
#include "base/json.h"
#include "base/memory.h"
#include "checkpoint/source_config.h"
#include "layers/fuse.h"
#include "layers/model.h"
#include "launch/command.h"
#include "parallel/shard.h"
#include "runtime/executor.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Weights that differ by their layer number alone are one line. */
typedef struct plan_line {
    char name[256]; /* with * for numbers */
    tsr_weight first;
    int64_t count;
} plan_line;

typedef struct plan {
    const tsr_options *options;
    tsr_model *model;
    tsr_sharding *sharding;
    tsr_dtype dtype;
    int ranks;
    plan_line *lines;
    int64_t n_lines;
    int64_t *weight_bytes, *cache_bytes; /* [ranks] total; per token */
    tsr_kernels_choice kernels;
    bool on_gpus;
    tsr_fuse_report fused;
} plan;

static void pattern_of(const char *name, char *out, size_t size)
{
    size_t n = 0;
    for (const char *c = name; *c && n + 1 < size;) {
        bool number = isdigit((unsigned char)*c) && (c == name || c[-1] == '.');
        if (!number) {
            out[n++] = *c++;
            continue;
        }
        out[n++] = '*';
        while (isdigit((unsigned char)*c)) c++;
    }
    out[n] = '\0';
}

static bool same_line(const plan *p, const plan_line *line, const char *pattern, tsr_weight w)
{
    if (strcmp(line->name, pattern) != 0) return false;
    for (int r = 0; r < p->ranks; r++)
        if (tsr_sharding_elements(p->sharding, w, r) != tsr_sharding_elements(p->sharding, line->first, r))
            return false;
    return true;
}

static tsr_status make_lines(plan *p)
{
    void *mem;
    TSR_TRY(tsr_calloc(p->model->n_weights, sizeof(plan_line), "the plan", &mem));
    p->lines = mem;
    for (tsr_weight w = 0; w < p->model->n_weights; w++) {
        char pattern[256];
        int64_t i = 0;
        pattern_of(p->model->weights[w].name, pattern, sizeof pattern);
        while (i < p->n_lines && !same_line(p, &p->lines[i], pattern, w)) i++;
        if (i == p->n_lines) {
            p->lines[p->n_lines].first = w;
            memcpy(p->lines[p->n_lines++].name, pattern, sizeof pattern);
        }
        p->lines[i].count++;
    }
    return TSR_OK;
}

/* Vectors are kept in float32. */
static int64_t line_bytes(const plan *p, const plan_line *line, int rank)
{
    bool vector = p->model->weights[line->first].is_vector;
    return tsr_sharding_elements(p->sharding, line->first, rank) *
           tsr_dtype_bytes(vector ? TSR_F32 : p->dtype) * line->count;
}

static tsr_status fuse(plan *p, tsr_model *local)
{
    TSR_TRY(tsr_fuse(local, p->kernels, &p->fused));
    bool more = p->on_gpus && p->kernels != TSR_KERNELS_REFERENCE;
    return more ? tsr_fuse_gated_linears(local, &p->fused.gated_linears) : TSR_OK;
}

static tsr_status measure_ranks(plan *p)
{
    void *mem;
    TSR_TRY(tsr_calloc(p->ranks, sizeof(int64_t), "the plan", &mem));
    p->weight_bytes = mem;
    TSR_TRY(tsr_calloc(p->ranks, sizeof(int64_t), "the plan", &mem));
    p->cache_bytes = mem;
    for (int r = 0; r < p->ranks; r++) {
        tsr_model *local;
        for (int64_t i = 0; i < p->n_lines; i++) p->weight_bytes[r] += line_bytes(p, &p->lines[i], r);
        TSR_TRY(tsr_sharding_localize(p->sharding, r, &local));
        p->cache_bytes[r] = tsr_cache_bytes_per_token(local, p->dtype);
        tsr_status s = r == 0 ? fuse(p, local) : TSR_OK;
        tsr_model_destroy(&local);
        TSR_TRY(s);
    }
    return TSR_OK;
}

static const char *layout_name(const tsr_placement *p, int ranks)
{
    if (ranks == 1) return "whole";
    if (p->first_rank_only) return "first rank";
    return p->rows ? "split by rows" : p->cols ? "split by columns" : "replicated";
}

/* Every rank's number if there are few, else the smallest and the largest. */
static tsr_status put_numbers(tsr_text *t, const int64_t *values, int ranks, const char *separator)
{
    int64_t low = values[0], high = values[0];
    for (int r = 1; r < ranks; r++) {
        low = tsr_min(low, values[r]);
        high = tsr_max(high, values[r]);
    }
    if (low == high) return tsr_text_format(t, "%lld", (long long)low);
    if (ranks > 8) return tsr_text_format(t, "%lld..%lld", (long long)low, (long long)high);
    for (int r = 0; r < ranks; r++)
        TSR_TRY(tsr_text_format(t, "%s%lld", r ? separator : "", (long long)values[r]));
    return TSR_OK;
}

static tsr_status put_line(const plan *p, const plan_line *line, int64_t *bytes, tsr_text *t)
{
    const tsr_weight_info *w = &p->model->weights[line->first];
    char shape[64], count[32] = "";
    if (w->is_vector)
        snprintf(shape, sizeof shape, "[%lld]", (long long)w->rows);
    else
        snprintf(shape, sizeof shape, "[%lld, %lld]", (long long)w->rows, (long long)w->cols);
    if (line->count > 1) snprintf(count, sizeof count, "%lld x ", (long long)line->count);
    for (int r = 0; r < p->ranks; r++) bytes[r] = line_bytes(p, line, r);
    TSR_TRY(tsr_text_format(t, "%-58s %6s%-18s %-17s ", line->name, count, shape,
                            layout_name(tsr_sharding_placement(p->sharding, line->first), p->ranks)));
    TSR_TRY(put_numbers(t, bytes, p->ranks, " "));
    return tsr_text_puts(t, "\n");
}

/* One rank has nobody to reduce with. */
static tsr_status find_reductions(const plan *p, const tsr_reduction **list, int64_t *n)
{
    TSR_TRY(tsr_sharding_reductions(p->sharding, 0, list, n));
    if (p->ranks == 1) *n = 0;
    return TSR_OK;
}

static tsr_status put_reductions(const plan *p, tsr_text *t)
{
    const tsr_reduction *list;
    int64_t n, outside = 0, inside = 0, layers = 0, bytes = 0;
    TSR_TRY(find_reductions(p, &list, &n));
    for (int64_t i = 0; i < n; i++) {
        *(list[i].layer == TSR_NONE ? &outside : &inside) += 1;
        layers = tsr_max(layers, list[i].layer + 1);
        bytes += list[i].cols * (int64_t)sizeof(float);
    }
    return tsr_text_format(
        t, "all-reduces: %lld a step (%.3g a layer, %lld outside the layers), %lld bytes a token\n",
        (long long)n, layers ? (double)inside / (double)layers : 0.0, (long long)outside, (long long)bytes);
}

static tsr_status put_fused(const plan *p, tsr_text *t)
{
    if (p->kernels == TSR_KERNELS_REFERENCE) return tsr_text_puts(t, "fused: nothing\n");
    TSR_TRY(tsr_text_format(t,
                            "fused: %d groups of linears, %d residual additions with their norms, "
                            "%d of these with an all-reduce, %d attentions with their rotations",
                            p->fused.linears, p->fused.add_norms, p->fused.reductions, p->fused.ropes));
    if (p->on_gpus)
        TSR_TRY(tsr_text_format(t, ", %d gate-and-up projections with their activations",
                                p->fused.gated_linears));
    return tsr_text_puts(t, "\n");
}

static tsr_status put_totals(const plan *p, tsr_text *t)
{
    TSR_TRY(put_reductions(p, t));
    TSR_TRY(tsr_text_puts(t, "weights, bytes a rank: "));
    TSR_TRY(put_numbers(t, p->weight_bytes, p->ranks, " "));
    TSR_TRY(tsr_text_puts(t, "\nkeys and values, bytes a token and rank: "));
    TSR_TRY(put_numbers(t, p->cache_bytes, p->ranks, " "));
    int64_t most = 0, sum = 0;
    for (int r = 0; r < p->ranks; r++) {
        most = tsr_max(most, p->weight_bytes[r]);
        sum += p->weight_bytes[r];
    }
    TSR_TRY(
        tsr_text_format(t, "\nlargest rank over the mean: %.3f\n", (double)most * p->ranks / (double)sum));
    return put_fused(p, t);
}

static tsr_status write_table(const plan *p, tsr_text *t)
{
    void *bytes;
    TSR_TRY(tsr_text_format(t, "%s in %s on %d ranks\n\n%-58s %-24s %-17s bytes a rank\n", p->model->family,
                            tsr_dtype_name(p->dtype), p->ranks, "weight", "      shape", "layout"));
    TSR_TRY(tsr_alloc(p->ranks * (int64_t)sizeof(int64_t), "the plan", &bytes));
    tsr_status s = TSR_OK;
    for (int64_t i = 0; i < p->n_lines && s == TSR_OK; i++) s = put_line(p, &p->lines[i], bytes, t);
    tsr_free(bytes);
    if (s == TSR_OK) s = tsr_text_puts(t, "\n");
    return s == TSR_OK ? put_totals(p, t) : s;
}

static tsr_status put_json_array(tsr_text *t, const char *key, const int64_t *values, int n)
{
    TSR_TRY(tsr_text_format(t, ",\"%s\":[", key));
    for (int i = 0; i < n; i++) TSR_TRY(tsr_text_format(t, "%s%lld", i ? "," : "", (long long)values[i]));
    return tsr_text_puts(t, "]");
}

static tsr_status write_json(const plan *p, tsr_text *t)
{
    const tsr_reduction *list;
    int64_t n;
    TSR_TRY(tsr_text_format(t, "{\"model_type\":\"%s\",\"dtype\":\"%s\",\"ranks\":%d,\"weights\":[",
                            p->model->family, tsr_dtype_name(p->dtype), p->ranks));
    for (tsr_weight w = 0; w < p->model->n_weights; w++) {
        const tsr_weight_info *info = &p->model->weights[w];
        TSR_TRY(tsr_text_puts(t, w ? ",{\"name\":" : "{\"name\":"));
        TSR_TRY(tsr_text_json(t, info->name, (int64_t)strlen(info->name)));
        TSR_TRY(tsr_text_format(t, ",\"rows\":%lld,\"cols\":%lld,\"layout\":\"%s\",\"elements\":[",
                                (long long)info->rows, (long long)info->cols,
                                layout_name(tsr_sharding_placement(p->sharding, w), p->ranks)));
        for (int r = 0; r < p->ranks; r++)
            TSR_TRY(tsr_text_format(t, "%s%lld", r ? "," : "",
                                    (long long)tsr_sharding_elements(p->sharding, w, r)));
        TSR_TRY(tsr_text_puts(t, "]}"));
    }
    TSR_TRY(tsr_text_puts(t, "]"));
    TSR_TRY(put_json_array(t, "weight_bytes", p->weight_bytes, p->ranks));
    TSR_TRY(put_json_array(t, "cache_bytes_per_token", p->cache_bytes, p->ranks));
    TSR_TRY(find_reductions(p, &list, &n));
    TSR_TRY(tsr_text_format(t,
                            ",\"fused\":{\"linears\":%d,\"residual_norms\":%d,\"reduced_norms\":%d,"
                            "\"rotations\":%d,\"gated_projections\":%d}",
                            p->fused.linears, p->fused.add_norms, p->fused.reductions, p->fused.ropes,
                            p->fused.gated_linears));
    return tsr_text_format(t, ",\"all_reduces_per_step\":%lld}\n", (long long)n);
}

static tsr_status choose_dtype(const tsr_options *o, tsr_object config, tsr_dtype *out)
{
    const char *name = o->text[TSR_OPT_DTYPE];
    if (strcmp(name, "auto") == 0) TSR_TRY(tsr_object_string(config, "torch_dtype|dtype", "float32", &name));
    if (tsr_dtype_from_option(name, out) && (*out == TSR_F32 || *out == TSR_F16 || *out == TSR_BF16))
        return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE, "dtype must be auto, float32, bfloat16 or float16, found \"%s\"", name);
}

static tsr_status make(plan *p, const tsr_json *config)
{
    TSR_TRY(choose_dtype(p->options, tsr_json_root(config), &p->dtype));
    TSR_TRY(tsr_model_from_config(config, &p->model));
    TSR_TRY(tsr_sharding_derive(p->model, p->ranks, &p->sharding));
    TSR_TRY(make_lines(p));
    return measure_ranks(p);
}

static tsr_status print(const plan *p)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, TSR_TEXT_NO_CAP));
    tsr_status s = p->options->flag[TSR_OPT_JSON] ? write_json(p, &t) : write_table(p, &t);
    if (s == TSR_OK) s = tsr_put(t.data, t.length);
    tsr_text_free(&t);
    return s;
}

tsr_status tsr_cmd_plan(tsr_world *world, const tsr_options *o)
{
    tsr_source_request request = {o->text[TSR_OPT_MODEL], o->text[TSR_OPT_CHECKPOINT],
                                  (int)o->integer[TSR_OPT_TRAINING_MP_SIZE]};
    tsr_source *source = NULL;
    tsr_json config;
    plan p = {.options = o, .ranks = tsr_cli_ranks(o, world)};
    TSR_TRY(tsr_kernels_choice_of(o->text[TSR_OPT_KERNELS], &p.kernels));
    p.on_gpus = strcmp(o->text[TSR_OPT_DEVICE], "cuda") == 0; /* a plan needs none of them */
    if (!o->text[TSR_OPT_MODEL]) return tsr_fail(TSR_ERR_USAGE, "no model was named (--model DIR)");
    tsr_status s = tsr_source_config(&request, &source, &config);
    if (s == TSR_OK) s = make(&p, &config);
    if (s == TSR_OK && tsr_world_rank(world) == 0) s = print(&p);
    tsr_json_free(&config);
    tsr_source_destroy(&source);
    tsr_free(p.lines);
    tsr_free(p.weight_bytes);
    tsr_free(p.cache_bytes);
    tsr_sharding_destroy(&p.sharding);
    tsr_model_destroy(&p.model);
    return s;
}
