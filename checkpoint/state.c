/* state.c: state dicts, and how their entries become tensors. */
#include "checkpoint/state.h"
#include "base/checked.h"
#include "checkpoint/lower.h"

#include <stdlib.h>
#include <string.h>

void tsr_state_free(tsr_state *s)
{
    tsr_free(s->entries);
    s->entries = NULL;
    s->count = s->capacity = 0;
}

tsr_status tsr_state_add(tsr_state *s, const char *name, const tsr_view *view)
{
    void *array = s->entries;
    TSR_TRY(tsr_grow(&array, &s->capacity, s->count + 1, sizeof *s->entries, "a state dict"));
    s->entries = array;
    tsr_state_entry e = {.view = view};
    TSR_TRY(tsr_arena_strdup(s->source->arena, name, &e.name));
    s->entries[s->count++] = e;
    return TSR_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tsr_state_entry *)a)->name, ((const tsr_state_entry *)b)->name);
}

tsr_status tsr_state_sort(tsr_state *s, const char *where)
{
    if (s->count > 0) qsort(s->entries, (size_t)s->count, sizeof *s->entries, by_name);
    for (int64_t i = 1; i < s->count; i++)
        if (strcmp(s->entries[i - 1].name, s->entries[i].name) == 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" stands there twice", where,
                            s->entries[i].name);
    return TSR_OK;
}

const tsr_view *tsr_state_find(const tsr_state *s, const char *name)
{
    tsr_state_entry key = {.name = name};
    const tsr_state_entry *e =
        s->count ? bsearch(&key, s->entries, (size_t)s->count, sizeof key, by_name) : NULL;
    return e ? e->view : NULL;
}

tsr_status tsr_state_list(const tsr_state *s)
{
    for (int64_t i = 0; i < s->count; i++)
        TSR_TRY(tsr_source_add_view(s->source, s->entries[i].name, s->entries[i].view));
    return TSR_OK;
}

/* --- Views as tensors --- */

/* The first leaf that differs in number format from *first, which is found on the way. */
static const tsr_tensor_info *odd_leaf(const tsr_view *v, const tsr_tensor_info **first)
{
    while (v->kind != TSR_VIEW_TENSOR && v->kind != TSR_VIEW_CONCAT) v = v->child;
    for (int i = 0; i < v->parts; i++) {
        const tsr_tensor_info *odd = odd_leaf(v->part[i], first);
        if (odd) return odd;
    }
    if (v->kind == TSR_VIEW_CONCAT) return NULL;
    if (!*first) *first = v->stored;
    return strcmp(v->stored->dtype_label, (*first)->dtype_label) == 0 ? NULL : v->stored;
}

tsr_status tsr_view_stored_dtype(const tsr_view *v, const char *name, tsr_dtype *dtype, const char **label)
{
    const tsr_tensor_info *first = NULL, *odd = odd_leaf(v, &first);
    *label = first->dtype_label;
    if (!tsr_dtype_from_safetensors(*label, dtype)) *dtype = TSR_DTYPE_COUNT;
    if (!odd) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "tensor \"%.200s\": its pieces are of different number formats, %s and %s", name,
                    first->dtype_label, odd->dtype_label);
}

typedef struct run {
    int pieces;
    int64_t src, elements;
    bool dense;
} run;

/* Looks at two pieces at most: one is enough to tell that there is more than one. */
static tsr_status look_at(void *context, const tsr_piece *p)
{
    run *r = context;
    r->dense = p->loops == 0 || (p->loops == 1 && p->loop[0].src == 1 && p->loop[0].dst == 1);
    r->src = p->src;
    r->elements = p->loops ? p->loop[0].extent : 1;
    return ++r->pieces > 1 ? TSR_ERR_CANCELLED : TSR_OK;
}

static const tsr_tensor_info *first_leaf(const tsr_view *v)
{
    while (v->kind != TSR_VIEW_TENSOR) v = v->kind == TSR_VIEW_CONCAT ? v->part[0] : v->child;
    return v->stored;
}

tsr_status tsr_source_add_view(tsr_source *source, const char *name, const tsr_view *v)
{
    const tsr_tensor_info *leaf = first_leaf(v);
    tsr_tensor_info t = {.name = name, .rank = v->rank, .file = leaf->file, .made_of = v};
    run r = {0};
    memcpy(t.shape, v->shape, sizeof t.shape);
    TSR_TRY(tsr_view_stored_dtype(v, name, &t.dtype, &t.dtype_label));
    int64_t element = tsr_dtype_bytes(leaf->dtype);
    if (!tsr_mul(v->elements, element, &t.bytes))
        return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\" is too large to exist", name);
    tsr_status status = tsr_view_lower(v, 0, tsr_view_rows(v), look_at, &r);
    if (status != TSR_OK && status != TSR_ERR_CANCELLED) return status;
    bool whole = !leaf->sum_of || (r.elements > 0 && t.bytes == leaf->bytes);
    if (r.pieces == 0 || (r.pieces == 1 && r.dense && r.elements == v->elements && whole)) {
        t.offset = leaf->offset + r.src * element;
        t.made_of = NULL;
        t.sum_of = leaf->sum_of;
    }
    return tsr_source_add_tensor(source, &t);
}

tsr_status tsr_source_keep(tsr_source *source, const tsr_tensor_info *tensor, const tsr_tensor_info **out)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(source->arena, sizeof *tensor, &p));
    *(tsr_tensor_info *)p = *tensor;
    *out = p;
    return TSR_OK;
}
