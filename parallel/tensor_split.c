/* tensor_split.c: for each tensor, tries its axes until one explains what every rank needs of it. */
#include "parallel/tensor_split.h"
#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

/* A weight made of a tensor, or of parts of it. */
typedef struct tensor_use {
    int64_t tensor; /* number in the source */
    tsr_weight weight;
} tensor_use;

typedef struct splitting {
    const tsr_sharding *sharding;
    const tsr_model *model;
    const tsr_source *source;
    int ranks;
    tsr_arena *arena;      /* of the result */
    tsr_arena *work;       /* views of the ranks */
    const tsr_view **view; /* [weight * ranks + rank] */
    tensor_use *uses;      /* [n_uses], by tensor */
    int64_t n_uses, uses_room;
} splitting;

/* --- Who uses what --- */

static tsr_status cut_views(splitting *s)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(s->work, s->model->n_weights * s->ranks * (int64_t)sizeof *s->view, &p));
    s->view = p;
    for (tsr_weight w = 0; w < s->model->n_weights; w++) {
        const tsr_placement *place = tsr_sharding_placement(s->sharding, w);
        const tsr_range *range = place->rows ? place->rows : place->cols;
        int axis = place->rows ? 0 : 1;
        for (int r = 0; r < s->ranks; r++) {
            const tsr_view **v = &s->view[(int64_t)w * s->ranks + r];
            *v = s->model->weights[w].view;
            if (range) TSR_TRY(tsr_view_slice(s->work, *v, axis, range[r].begin, range[r].end, v));
        }
    }
    return TSR_OK;
}

static tsr_status list_uses(splitting *s)
{
    const tsr_tensor_info *first = tsr_source_count(s->source) ? tsr_source_tensor(s->source, 0) : NULL;
    for (tsr_weight w = 0; w < s->model->n_weights; w++) {
        const tsr_view *v = s->model->weights[w].view;
        for (int leaf = 0; v && leaf < tsr_view_leaf_count(v); leaf++) { /* a computed one has no view */
            const tsr_tensor_info *t =
                tsr_source_find_prefixed(s->source, tsr_view_leaf_name(v, leaf), s->model->name_prefix);
            const tensor_use *last = s->n_uses ? &s->uses[s->n_uses - 1] : NULL;
            if (!t || (last && last->weight == w && last->tensor == t - first)) continue;
            void *array = s->uses;
            TSR_TRY(tsr_grow(&array, &s->uses_room, s->n_uses + 1, sizeof *s->uses, "uses of tensors"));
            s->uses = array;
            s->uses[s->n_uses++] = (tensor_use){t - first, w};
        }
    }
    return TSR_OK;
}

static int by_tensor(const void *a, const void *b)
{
    const tensor_use *x = a, *y = b;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* --- One tensor --- */

/* A slice takes part wholly or not at all? Then needed[i] says which do. */
static tsr_status mark_slices(const splitting *s, const tensor_use *use, int rank, int64_t inner,
                              int64_t extent, int64_t *count, bool *needed, bool *whole)
{
    const tsr_tensor_info *t = tsr_source_tensor(s->source, use->tensor);
    int64_t full = 1;
    for (int i = 0; i < t->rank; i++) full *= t->shape[i];
    full /= extent;
    memset(count, 0, (size_t)extent * sizeof *count);
    const tsr_view *v = s->view[(int64_t)use->weight * s->ranks + rank];
    for (int leaf = 0; leaf < tsr_view_leaf_count(v); leaf++) {
        const tsr_tensor_info *of =
            tsr_source_find_prefixed(s->source, tsr_view_leaf_name(v, leaf), s->model->name_prefix);
        if (of == t) TSR_TRY(tsr_view_count(v, leaf, inner, extent, count));
    }
    for (int64_t i = 0; i < extent && *whole; i++) {
        if (count[i] > 0) needed[i] = true;
        *whole = count[i] == 0 || count[i] == full;
    }
    return TSR_OK;
}

static tsr_status list_ranges(tsr_arena *arena, const bool *needed, int64_t extent, tsr_tensor_part *out)
{
    int64_t n = 0;
    void *p;
    for (int64_t i = 0; i < extent; i++) n += needed[i] && (i == 0 || !needed[i - 1]);
    TSR_TRY(tsr_arena_alloc(arena, tsr_max(n, 1) * (int64_t)sizeof(tsr_range), &p));
    tsr_range *ranges = p;
    out->ranges = ranges;
    out->n_ranges = 0;
    for (int64_t i = 0; i < extent; i++) {
        if (!needed[i]) continue;
        if (i == 0 || !needed[i - 1]) ranges[out->n_ranges++].begin = i;
        ranges[out->n_ranges - 1].end = i + 1;
    }
    return TSR_OK;
}

typedef struct axis_room {
    int64_t *count;         /* [extent] */
    bool *needed, *covered; /* [extent] by a rank; by any */
} axis_room;

static tsr_status try_axis_in(const splitting *s, const tensor_use *uses, int64_t n, int axis, int64_t inner,
                              const axis_room *room, tsr_tensor_split *out)
{
    const tsr_tensor_info *t = tsr_source_tensor(s->source, uses[0].tensor);
    int64_t extent = t->shape[axis], covered = 0;
    bool whole = true, cut = false;
    void *p;
    TSR_TRY(tsr_arena_alloc(s->arena, s->ranks * (int64_t)sizeof(tsr_tensor_part), &p));
    tsr_tensor_part *parts = p;
    for (int r = 0; r < s->ranks && whole; r++) {
        memset(room->needed, 0, (size_t)extent);
        for (int64_t k = 0; k < n && whole; k++)
            TSR_TRY(mark_slices(s, &uses[k], r, inner, extent, room->count, room->needed, &whole));
        TSR_TRY(list_ranges(s->arena, room->needed, extent, &parts[r]));
        for (int64_t i = 0; i < extent; i++) {
            cut |= !room->needed[i];
            covered += room->needed[i] && !room->covered[i];
            room->covered[i] |= room->needed[i];
        }
    }
    if (whole && cut && covered == extent) *out = (tsr_tensor_split){axis, parts};
    return TSR_OK;
}

static tsr_status try_axis(const splitting *s, const tensor_use *uses, int64_t n, int axis, int64_t inner,
                           tsr_tensor_split *out)
{
    int64_t extent = tsr_source_tensor(s->source, uses[0].tensor)->shape[axis];
    void *count = NULL, *flags = NULL;
    tsr_status status;
    TSR_TRY_OUT(tsr_calloc(extent, sizeof(int64_t), "slices of a tensor", &count));
    TSR_TRY_OUT(tsr_calloc(extent, 2 * sizeof(bool), "slices of a tensor", &flags));
    axis_room room = {count, flags, (bool *)flags + extent};
    status = try_axis_in(s, uses, n, axis, inner, &room, out);
out:
    tsr_free(count);
    tsr_free(flags);
    return status;
}

static tsr_status split_tensor(const splitting *s, const tensor_use *uses, int64_t n, tsr_tensor_split *out)
{
    const tsr_tensor_info *t = tsr_source_tensor(s->source, uses[0].tensor);
    int64_t inner = 1;
    for (int64_t k = 0; k < n; k++) {
        const tsr_placement *place = tsr_sharding_placement(s->sharding, uses[k].weight);
        if (!place->rows && !place->cols) return TSR_OK; /* some weight of it is needed everywhere */
    }
    for (int a = 0; a < t->rank; a++)
        if (t->shape[a] == 0) return TSR_OK;
    for (int axis = t->rank - 1; axis >= 0; axis--) {
        tsr_tensor_split found = {TSR_NONE, NULL};
        TSR_TRY(try_axis(s, uses, n, axis, inner, &found));
        if (found.axis != TSR_NONE) *out = found; /* the outermost axis that does: long runs */
        inner *= t->shape[axis];
    }
    return TSR_OK;
}

static tsr_status split_all(splitting *s, tsr_tensor_split *out)
{
    TSR_TRY(cut_views(s));
    TSR_TRY(list_uses(s));
    if (s->n_uses > 1) qsort(s->uses, (size_t)s->n_uses, sizeof *s->uses, by_tensor);
    for (int64_t i = 0, end; i < s->n_uses; i = end) {
        for (end = i; end < s->n_uses && s->uses[end].tensor == s->uses[i].tensor;) end++;
        TSR_TRY(split_tensor(s, &s->uses[i], end - i, &out[s->uses[i].tensor]));
    }
    return TSR_OK;
}

tsr_status tsr_tensor_splits(const tsr_sharding *sharding, const tsr_model *model, const tsr_source *source,
                             tsr_arena *arena, const tsr_tensor_split **out)
{
    splitting s = {sharding, model, source, tsr_sharding_ranks(sharding), arena, NULL, NULL, NULL, 0, 0};
    void *p;
    int64_t n = tsr_source_count(source);
    TSR_TRY(tsr_arena_alloc(arena, tsr_max(n, 1) * (int64_t)sizeof(tsr_tensor_split), &p));
    tsr_tensor_split *splits = p;
    for (int64_t i = 0; i < n; i++) splits[i].axis = TSR_NONE;
    TSR_TRY(tsr_arena_create("the splits of tensors", &s.work));
    tsr_status status = split_all(&s, splits);
    tsr_arena_destroy(&s.work);
    tsr_free(s.uses);
    *out = splits;
    return status;
}
