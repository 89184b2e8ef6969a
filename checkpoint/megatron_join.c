/* megatron_join.c: the pieces of all ranks, put together and named as Hugging Face does. */
#include "checkpoint/megatron_parts.h"
#include "checkpoint/shape.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LABELS_CAP = 1 << 16, NAME_CAP = 1200 };

typedef struct joining {
    tsr_source *source;
    const tsr_state *ranks; /* [n], with plain names, sorted */
    int n;
    const char *const *file; /* [n] */
    const tsr_view **part;   /* [n] those of the tensor at hand */
    const char *name;        /* its name */
    megatron_place place;    /* its place */
    megatron_model model;
    tsr_state out;
} joining;

/* --- Plain names --- */

/* States of fused kernels (scales and the like), and the words once more, for the last stage of a pipeline. */
static bool no_weight(const char *name)
{
    static const char *const endings[] = {"_extra_state", "word_embeddings_for_head.weight"};
    size_t n = strlen(name);
    for (int i = 0; i < 2; i++) {
        size_t m = strlen(endings[i]);
        if (n >= m && strcmp(name + n - m, endings[i]) == 0) return true;
    }
    return false;
}

tsr_status tsr_megatron_plain_names(tsr_state *state, const char *where)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < state->count; i++) {
        tsr_state_entry e = state->entries[i];
        if (no_weight(e.name)) continue;
        e.name = megatron_plain_name(e.name);
        state->entries[kept++] = e;
    }
    state->count = kept;
    return tsr_state_sort(state, where);
}

/* --- Looking over --- */

static tsr_status check_names(const joining *j)
{
    const tsr_state *first = &j->ranks[0];
    for (int r = 1; r < j->n; r++) {
        const tsr_state *s = &j->ranks[r];
        for (int64_t i = 0; i < first->count || i < s->count; i++) {
            int order = i >= s->count       ? -1
                        : i >= first->count ? 1
                                            : strcmp(first->entries[i].name, s->entries[i].name);
            if (order != 0)
                return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" is there, but not in %s",
                                j->file[order < 0 ? 0 : r],
                                order < 0 ? first->entries[i].name : s->entries[i].name,
                                j->file[order < 0 ? r : 0]);
        }
    }
    return TSR_OK;
}

static tsr_status check_shapes(const joining *j)
{
    char a[TSR_SHAPE_TEXT], b[TSR_SHAPE_TEXT];
    const tsr_view *first = j->part[0];
    for (int r = 1; r < j->n; r++)
        if (!tsr_shape_equal(first->rank, first->shape, j->part[r]->rank, j->part[r]->shape))
            return tsr_fail(TSR_ERR_FORMAT,
                            "tensor \"%.200s\": its piece in %s is of shape %s, that in %s of %s", j->name,
                            j->file[0], tsr_shape_text(first->rank, first->shape, a), j->file[r],
                            tsr_shape_text(j->part[r]->rank, j->part[r]->shape, b));
    if (first->rank == (j->place.matrix ? 2 : 1) && first->elements > 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": expected %s, found shape %s", j->file[0], j->name,
                    j->place.matrix ? "a matrix" : "a vector", tsr_shape_text(first->rank, first->shape, a));
}

/* Entry i of every rank; what it is. */
static tsr_status take_entry(joining *j, int64_t i)
{
    j->name = j->ranks[0].entries[i].name;
    if (!megatron_find_place(j->name, &j->place))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: tensor \"%.200s\": neither GPT-2 nor BERT of Megatron-LM has one of this name",
                        j->file[0], j->name);
    for (int r = 0; r < j->n; r++) j->part[r] = j->ranks[r].entries[i].view;
    return check_shapes(j);
}

static void note_entry(joining *j)
{
    megatron_model *m = &j->model;
    const char *bert = j->place.bert;
    if (j->place.layer >= m->layers) m->layers = j->place.layer + 1;
    m->bert |= !j->place.gpt2;
    m->untied |= !bert;
    if (!bert) return;
    m->masked_lm |= strcmp(bert, "cls.predictions") == 0;
    m->next_sentence |= strcmp(bert, "cls.seq_relationship") == 0;
    if (strcmp(bert, "classifier") == 0) m->labels = j->part[0]->shape[0];
    m->choices |= strncmp(j->name, "multichoice_head", 16) == 0;
}

static tsr_status note_words(joining *j)
{
    const tsr_view *words = tsr_state_find(&j->ranks[0], "word_embeddings.weight");
    megatron_model *m = &j->model;
    const tsr_megatron_facts *f = m->facts;
    const char *label;
    tsr_dtype dtype;
    if (!words || words->rank != 2)
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"word_embeddings.weight\" %s", j->file[0],
                        words ? "is no matrix" : "is missing");
    TSR_TRY(tsr_view_stored_dtype(words, "word_embeddings.weight", &dtype, &label));
    m->dtype = dtype == TSR_DTYPE_COUNT ? "float32" : tsr_dtype_name(dtype);
    m->rows = words->shape[0] * j->n;
    if (f->padded_vocabulary && f->padded_vocabulary != m->rows)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: args.padded_vocab_size is %" PRId64 ", found %" PRId64
                        " rows of word embeddings in %d "
                        "file%s",
                        j->file[0], f->padded_vocabulary, m->rows, j->n, j->n > 1 ? "s" : "");
    return TSR_OK;
}

static tsr_status look_over(joining *j)
{
    megatron_model *m = &j->model;
    TSR_TRY(check_names(j));
    TSR_TRY(note_words(j));
    for (int64_t i = 0; i < j->ranks[0].count; i++) {
        TSR_TRY(take_entry(j, i));
        note_entry(j);
    }
    if (m->labels > LABELS_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a classifier of %" PRId64 " labels, at most %d are accepted",
                        j->file[0], m->labels, LABELS_CAP);
    if (m->facts->layers && m->facts->layers != m->layers)
        return tsr_fail(TSR_ERR_FORMAT, "%s: args.num_layers is %" PRId64 ", found %" PRId64 " layers",
                        j->file[0], m->facts->layers, m->layers);
    TSR_TRY(megatron_read_config(j->source, m));
    if (m->heads % j->n == 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: %" PRId64 " attention heads cannot have been split among %d ranks",
                    j->file[0], m->heads, j->n);
}

/* --- Queries, keys and values --- */

/* The axes of v, the first of them replaced by `n` others of these extents. */
static tsr_status split_rows(tsr_arena *arena, const tsr_view *v, int n, const int64_t *extent,
                             const tsr_view **out)
{
    int64_t shape[TSR_MAX_RANK];
    for (int i = 0; i < n; i++) shape[i] = extent[i];
    for (int i = 1; i < v->rank; i++) shape[n + i - 1] = v->shape[i];
    return tsr_view_reshape(arena, v, n + v->rank - 1, shape, out);
}

static tsr_status odd_rows(const joining *j, int64_t rows, const char *of)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": %" PRId64 " rows are not q, k and v%s",
                    j->file[0], j->name, rows, of);
}

/* Version 0: [3, E, ...] of pieces [3, E/n, ...]. */
static tsr_status join_blocks(joining *j, const tsr_view **out)
{
    tsr_arena *arena = j->source->arena;
    int64_t rows = j->part[0]->shape[0], extent[2] = {3, rows / 3};
    if (rows % 3) return odd_rows(j, rows, "");
    for (int r = 0; r < j->n; r++) TSR_TRY(split_rows(arena, j->part[r], 2, extent, &j->part[r]));
    return tsr_view_concat(arena, 1, j->n, j->part, out);
}

/* Later ones: [3, H, D, ...] of [H, D, 3, ...] or [H, 3, D, ...]. */
static tsr_status join_heads(joining *j, const tsr_view **out)
{
    tsr_arena *arena = j->source->arena;
    const tsr_view *all;
    int64_t heads = j->model.heads;
    bool first = j->model.facts->version == 1;
    if (!heads)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: the number of attention heads is told neither by config.json nor by the file",
                        j->file[0]);
    TSR_TRY(tsr_view_concat(arena, 0, j->n, j->part, &all));
    int64_t rows = all->shape[0], size = rows / 3 / heads;
    if (size == 0 || rows != 3 * heads * size) return odd_rows(j, rows, " of all heads");
    int64_t extent[3] = {heads, first ? size : 3, first ? 3 : size};
    int order[4] = {first ? 2 : 1, 0, first ? 1 : 2, 3};
    TSR_TRY(split_rows(arena, all, 3, extent, &all));
    return tsr_view_permute(arena, all, order, out);
}

/* --- Listing --- */

static tsr_status add_named(joining *j, const char *stem, const char *part, const tsr_view *v)
{
    char name[NAME_CAP];
    const char *layers = j->model.bert ? "bert.encoder.layer." : "transformer.h.";
    if (j->place.layer < 0)
        snprintf(name, sizeof name, "%s%s.%s", stem, part, j->place.leaf);
    else
        snprintf(name, sizeof name, "%s%" PRId64 ".%s%s.%s", layers, j->place.layer, stem, part,
                 j->place.leaf);
    return tsr_state_add(&j->out, name, v);
}

static tsr_status add_qkv(joining *j)
{
    static const char *const parts[] = {".query", ".key", ".value"};
    tsr_arena *arena = j->source->arena;
    const tsr_view *qkv = NULL, *v;
    TSR_TRY(j->model.facts->version == 0 ? join_blocks(j, &qkv) : join_heads(j, &qkv));
    int64_t columns = j->place.matrix ? qkv->shape[qkv->rank - 1] : 1;
    int64_t shape[2] = {qkv->elements / columns, columns};
    int rank = j->place.matrix ? 2 : 1;
    TSR_TRY(tsr_view_reshape(arena, qkv, rank, shape, &qkv));
    if (!j->model.bert) {
        if (j->place.matrix) TSR_TRY(tsr_view_transpose(arena, qkv, &qkv));
        return add_named(j, j->place.gpt2, "", qkv);
    }
    for (int i = 0; i < 3; i++) {
        TSR_TRY(tsr_view_slice(arena, qkv, 0, i * (shape[0] / 3), (i + 1) * (shape[0] / 3), &v));
        TSR_TRY(add_named(j, j->place.bert, parts[i], v));
    }
    return TSR_OK;
}

static tsr_status trim(const joining *j, const tsr_view **v)
{
    if ((*v)->shape[0] != j->model.rows)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: tensor \"%.200s\": %" PRId64 " rows, the word embeddings have %" PRId64,
                        j->file[0], j->name, (*v)->shape[0], j->model.rows);
    return tsr_view_slice(j->source->arena, *v, 0, 0, j->model.vocabulary, v);
}

static tsr_status add_entry(joining *j)
{
    const megatron_place *p = &j->place;
    const char *stem = j->model.bert ? p->bert : p->gpt2;
    const tsr_view *v = j->part[0];
    if (!stem)
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": not one that %s of Megatron-LM has",
                        j->file[0], j->name, j->model.bert ? "BERT" : "GPT-2");
    if (p->cut == MEGATRON_QKV) return add_qkv(j);
    if (p->cut != MEGATRON_WHOLE)
        TSR_TRY(tsr_view_concat(j->source->arena, p->cut == MEGATRON_COLUMNS, j->n, j->part, &v));
    if (p->cut == MEGATRON_VOCABULARY) TSR_TRY(trim(j, &v));
    /* GPT-2 keeps its linears [in, out]. */
    if (!j->model.bert && p->matrix && p->layer >= 0) TSR_TRY(tsr_view_transpose(j->source->arena, v, &v));
    return add_named(j, stem, "", v);
}

static tsr_status join(joining *j)
{
    TSR_TRY(look_over(j));
    for (int64_t i = 0; i < j->ranks[0].count; i++) {
        TSR_TRY(take_entry(j, i));
        TSR_TRY(add_entry(j));
    }
    TSR_TRY(tsr_state_sort(&j->out, j->file[0]));
    TSR_TRY(tsr_state_list(&j->out));
    j->source->trained_mp = j->n;
    if (j->model.has_config) return TSR_OK;
    TSR_TRY(tsr_arena_format(j->source->arena, &j->source->config_name, "%s: args", j->file[0]));
    return megatron_print_config(j->source->arena, &j->model, &j->source->config);
}

tsr_status tsr_megatron_join(tsr_source *source, const tsr_state *ranks, int n, const char *const *file,
                             const tsr_megatron_facts *facts)
{
    joining j = {.source = source,
                 .ranks = ranks,
                 .n = n,
                 .file = file,
                 .model = {.facts = facts, .file = file[0], .ranks = n},
                 .out = {.source = source}};
    void *p;
    TSR_TRY(tsr_calloc(n, sizeof *j.part, "the pieces of a tensor", &p));
    j.part = p;
    tsr_status status = join(&j);
    tsr_state_free(&j.out);
    tsr_free(p);
    return status;
}
