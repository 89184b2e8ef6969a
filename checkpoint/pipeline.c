/* pipeline.c: the layers of all ranks, put together and named as Hugging Face does. */
#include "checkpoint/pipeline.h"
#include "base/json.h"
#include "checkpoint/sum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_CAP = 1200 };

typedef enum family { NEOX, BLOOM, GPT2, FAMILIES } family;
static const char *const families[] = {"gpt_neox", "bloom", "gpt2"}; /* as config.json spells them */

typedef struct joining {
    tsr_source *source;
    const tsr_state *ranks; /* [n] */
    int n;
    const char *const *file; /* [n] */
    family family;
    bool parallel;      /* residuals: biases are summands */
    bool tied;          /* the head is the embedding */
    int64_t vocabulary; /* rows to keep; 0: all */
    int *layer;         /* [TSR_PIPELINE_LAYER_CAP]: which one of the transformer's it is, -1: none of them */
    const tsr_view **part; /* [n]: of the tensor at hand */
    tsr_state out;
} joining;

/* --- Names --- */

const char *tsr_pipeline_rest(const char *name, int *layer)
{
    *layer = 0;
    const char *c = name;
    while (*c >= '0' && *c <= '9' && *layer < TSR_PIPELINE_LAYER_CAP) *layer = *layer * 10 + (*c++ - '0');
    return c > name && *c == '.' && *layer < TSR_PIPELINE_LAYER_CAP ? c + 1 : NULL;
}

bool tsr_pipeline_is_sequential(tsr_state *state)
{
    static const char head[] = "sequential.";
    for (int64_t i = 0; i < state->count; i++)
        if (strncmp(state->entries[i].name, head, sizeof head - 1) != 0) return false;
    for (int64_t i = 0; i < state->count; i++) state->entries[i].name += sizeof head - 1;
    return state->count > 0;
}

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);
    return n >= m && strcmp(name + n - m, tail) == 0;
}

/* Numbers the transformer's layers, and tells the family where no config does. */
static tsr_status number_layers(joining *j, bool *bloom)
{
    int layer, count = 0, before = -1;
    const tsr_state *first = &j->ranks[0];
    *bloom = false;
    for (int i = 0; i < TSR_PIPELINE_LAYER_CAP; i++) j->layer[i] = -1;
    for (int64_t i = 0; i < first->count; i++) {
        const char *name = first->entries[i].name, *rest = tsr_pipeline_rest(name, &layer);
        if (!rest)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": in no layer of a pipeline", j->file[0],
                            name);
        if (ends_in(rest, "attention.query_key_value.weight")) j->layer[layer] = 0;
        *bloom |= strcmp(rest, "word_embeddings.norm.weight") == 0;
    }
    for (int i = 0; i < TSR_PIPELINE_LAYER_CAP; i++) {
        if (j->layer[i] < 0) continue;
        if (before >= 0 && before != i - 1)
            return tsr_fail(TSR_ERR_FORMAT, "%s: layer %d of the pipeline is missing", j->file[0], i - 1);
        j->layer[i] = count++;
        before = i;
    }
    if (count > 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: no layer of a transformer among those of the pipeline", j->file[0]);
}

/* --- The config --- */

static tsr_status read_fields(joining *j, tsr_object config, bool bloom)
{
    const char *type;
    TSR_TRY(tsr_object_string(config, "model_type", bloom ? "bloom" : "gpt_neox", &type));
    int f = 0;
    while (f < FAMILIES && strcmp(type, families[f]) != 0) f++;
    if (f == FAMILIES)
        return tsr_fail(
            TSR_ERR_FORMAT,
            "%s: model_type is \"%.64s\": layers of a pipeline are read as gpt_neox, bloom or gpt2",
            config.where, type);
    j->family = (family)f;
    TSR_TRY(tsr_object_int(config, "vocab_size", 0, 1, INT64_MAX, &j->vocabulary));
    TSR_TRY(tsr_object_bool(config, "use_parallel_residual", true, &j->parallel));
    return tsr_object_bool(config, "tie_word_embeddings", j->family == BLOOM, &j->tied);
}

static bool has_config(const tsr_source *s)
{
    char path[4096];
    return s->model_dir && snprintf(path, sizeof path, "%s/config.json", s->model_dir) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

static tsr_status read_config(joining *j, bool bloom)
{
    tsr_json doc;
    j->family = bloom ? BLOOM : NEOX;
    j->parallel = true;
    if (!has_config(j->source)) return TSR_OK;
    TSR_TRY(tsr_source_read_config(j->source, &doc));
    tsr_status status = read_fields(j, tsr_json_root(&doc), bloom);
    tsr_json_free(&doc);
    return status;
}

/* --- Tensors --- */

static tsr_status refuse(const joining *j, int rank, const char *name, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %s", j->file[rank], name, what);
}

static tsr_status join_parts(joining *j, const char *name, const tsr_pipeline_place *p, const tsr_view **out)
{
    tsr_arena *arena = j->source->arena;
    if (p->cut == TSR_PIPELINE_BIAS || p->cut == TSR_PIPELINE_NORM) {
        *out = j->part[0];
        if (j->n == 1 || j->family == BLOOM) return TSR_OK;
        bool mean = p->cut == TSR_PIPELINE_NORM || !j->parallel;
        tsr_status status = tsr_sum_view(j->source, name, j->n, j->part, mean, out);
        return status == TSR_OK ? status : tsr_fail_in(status, "%s", j->file[0]);
    }
    int axis = p->cut == TSR_PIPELINE_COLUMNS;
    for (int r = 0; r < j->n; r++)
        if (tsr_view_rank(j->part[r]) <= axis) return refuse(j, r, name, "of too few dimensions");
    tsr_status status = tsr_view_concat(arena, axis, j->n, j->part, out);
    if (status != TSR_OK) return tsr_fail_in(status, "%s: tensor \"%.200s\"", j->file[0], name);
    if (p->cut == TSR_PIPELINE_VOCABULARY && j->vocabulary > 0 && j->vocabulary < tsr_view_shape(*out)[0])
        return tsr_view_slice(arena, *out, 0, 0, j->vocabulary, out);
    return TSR_OK;
}

static tsr_status add_named(joining *j, const char *stem, const char *leaf, int layer, const tsr_view *view)
{
    char name[NAME_CAP];
    const char *head = j->family == BLOOM ? "transformer.h" : "gpt_neox.layers";
    if (layer < 0)
        snprintf(name, sizeof name, "%s.%s", stem, leaf);
    else
        snprintf(name, sizeof name, "%s.%d.%s.%s", head, layer, stem, leaf);
    return tsr_state_add(&j->out, name, view);
}

static tsr_status add_entry(joining *j, int64_t i, const tsr_view **words, bool *head)
{
    tsr_pipeline_place place;
    const tsr_view *view;
    int index;
    const char *name = j->ranks[0].entries[i].name, *rest = tsr_pipeline_rest(name, &index);
    int layer = j->layer[index];
    bool known = tsr_pipeline_find(rest, layer >= 0, &place);
    if (known && place.cut == TSR_PIPELINE_DROPPED) return TSR_OK;
    const char *stem = j->family == BLOOM ? place.bloom : place.neox;
    if (!known || !stem)
        return refuse(j, 0, name,
                      j->family == BLOOM ? "BLOOM has none of this name" : "GPT-NeoX has none of this name");
    for (int r = 0; r < j->n; r++) {
        j->part[r] = tsr_state_find(&j->ranks[r], name);
        if (!j->part[r]) return refuse(j, r, name, "is there on other ranks, but not here");
    }
    TSR_TRY(join_parts(j, name, &place, &view));
    if (place.cut == TSR_PIPELINE_VOCABULARY && strncmp(rest, "word_", 5) == 0) *words = view;
    *head |= place.cut == TSR_PIPELINE_VOCABULARY && strncmp(rest, "word_", 5) != 0;
    return add_named(j, stem, place.leaf, layer, view);
}

static tsr_status join_all(joining *j)
{
    bool bloom, head = false;
    const tsr_view *words = NULL;
    TSR_TRY(number_layers(j, &bloom));
    TSR_TRY(read_config(j, bloom));
    if (j->family == GPT2) return tsr_pipeline_list_gpt2(j->source, j->ranks, j->n, j->file, j->layer);
    for (int r = 1; r < j->n; r++)
        if (j->ranks[r].count != j->ranks[0].count)
            return tsr_fail(TSR_ERR_FORMAT, "%s: %lld tensors, %s has %lld", j->file[r],
                            (long long)j->ranks[r].count, j->file[0], (long long)j->ranks[0].count);
    for (int64_t i = 0; i < j->ranks[0].count; i++) TSR_TRY(add_entry(j, i, &words, &head));
    /* Weights that were tied in training are stored once, whatever the config says of them now. */
    if (!head && !j->tied && words && j->family == NEOX)
        TSR_TRY(add_named(j, "embed_out", "weight", -1, words));
    return tsr_state_sort(&j->out, j->file[0]);
}

tsr_status tsr_pipeline_list(tsr_source *source, const tsr_state *ranks, int n, const char *const *file)
{
    joining j = {.source = source, .ranks = ranks, .n = n, .file = file, .out = {.source = source}};
    void *layer = NULL, *part = NULL;
    tsr_status status;
    TSR_TRY_OUT(tsr_calloc(TSR_PIPELINE_LAYER_CAP, sizeof *j.layer, "the layers of a pipeline", &layer));
    TSR_TRY_OUT(tsr_calloc(n, sizeof *j.part, "the pieces of a tensor", &part));
    j.layer = layer;
    j.part = part;
    TSR_TRY_OUT(join_all(&j));
    TSR_TRY_OUT(tsr_state_list(&j.out));
    source->trained_mp = n;
out:
    tsr_state_free(&j.out);
    tsr_free(layer);
    tsr_free(part);
    return status;
}
