/* view_bind.c: a view meets a source: names are looked up, shapes and dtypes checked, bytes counted. */
#include "checkpoint/view_bind.h"
#include "base/checked.h"
#include "checkpoint/convert.h"
#include "checkpoint/gather.h"
#include "checkpoint/shape.h"

static tsr_status missing(const tsr_view *v, const tsr_source *source, const char *prefix)
{
    bool tried = prefix && *prefix;
    return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" is missing%s%.100s%s", tsr_source_folder(source),
                    v->name, tried ? ", with and without \"" : "", tried ? prefix : "",
                    tried ? "\" in front" : "");
}

static tsr_status bind_tensor(const tsr_view *v, const tsr_source *source, const char *prefix,
                              const tsr_tensor_info **out)
{
    char expected[TSR_SHAPE_TEXT], found[TSR_SHAPE_TEXT];
    const tsr_tensor_info *t = v->stored ? v->stored : tsr_source_find_prefixed(source, v->name, prefix);
    if (!t) return missing(v, source, prefix);
    const char *file = tsr_source_file_name(source, t->file);
    if (!tsr_shape_equal(v->rank, v->shape, t->rank, t->shape))
        return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\": expected shape %s, found %s", file, t->name,
                        tsr_shape_text(v->rank, v->shape, expected),
                        tsr_shape_text(t->rank, t->shape, found));
    if (t->dtype == TSR_DTYPE_COUNT || !tsr_convert_from_ok(t->dtype))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: tensor \"%.200s\": expected F32, F16, BF16 or F64 numbers, found %s", file,
                        t->name, t->dtype_label);
    *out = t;
    return TSR_OK;
}

static tsr_status bind(const tsr_view *v, const tsr_source *source, const char *prefix,
                       const tsr_tensor_info **out)
{
    if (v->kind == TSR_VIEW_TENSOR) return bind_tensor(v, source, prefix, out);
    if (v->kind != TSR_VIEW_CONCAT) return bind(v->child, source, prefix, out);
    for (int i = 0; i < v->parts; i++) TSR_TRY(bind(v->part[i], source, prefix, out + v->part_leaf[i]));
    return TSR_OK;
}

tsr_status tsr_view_bind(const tsr_view *v, const tsr_source *source, const char *prefix,
                         const tsr_tensor_info ***out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(v->leaves, sizeof **out, "the tensors of a weight", &p));
    tsr_status status = bind(v, source, prefix, p);
    if (status != TSR_OK) {
        tsr_free(p);
        return status;
    }
    *out = p;
    return TSR_OK;
}

/* --- Tensors made of others --- */

static tsr_status expand(tsr_arena *arena, const tsr_view *v, const tsr_tensor_info *const *leaf,
                         const tsr_view **out);

static tsr_status expand_parts(tsr_arena *arena, const tsr_view *v, const tsr_tensor_info *const *leaf,
                               const tsr_view **out)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, v->parts * (int64_t)sizeof(tsr_view *), &p));
    const tsr_view **part = p;
    for (int i = 0; i < v->parts; i++) TSR_TRY(expand(arena, v->part[i], leaf + v->part_leaf[i], &part[i]));
    return tsr_view_concat(arena, v->axis, v->parts, part, out);
}

static tsr_status expand_slice(tsr_arena *arena, const tsr_view *v, const tsr_view *child,
                               const tsr_view **out)
{
    *out = child;
    for (int a = 0; a < v->rank; a++)
        TSR_TRY(tsr_view_slice(arena, *out, a, v->begin[a], v->begin[a] + v->shape[a], out));
    return TSR_OK;
}

/* The same view over what its tensors are made of. */
static tsr_status expand(tsr_arena *arena, const tsr_view *v, const tsr_tensor_info *const *leaf,
                         const tsr_view **out)
{
    const tsr_view *child;
    if (v->kind == TSR_VIEW_CONCAT) return expand_parts(arena, v, leaf, out);
    if (v->kind == TSR_VIEW_TENSOR) {
        *out = leaf[0]->made_of;
        return *out ? TSR_OK : tsr_view_stored(arena, leaf[0], out);
    }
    TSR_TRY(expand(arena, v->child, leaf, &child));
    switch (v->kind) {
    case TSR_VIEW_RESHAPE:
        return tsr_view_reshape(arena, child, v->rank, v->shape, out);
    case TSR_VIEW_PERMUTE:
        return tsr_view_permute(arena, child, v->order, out);
    case TSR_VIEW_STRIDED:
        return tsr_view_strided(arena, child, v->offset, v->rank, v->shape, v->stride, out);
    default:
        return expand_slice(arena, v, child, out);
    }
}

tsr_status tsr_view_bind_parts(const tsr_view *v, const tsr_source *source, const char *prefix,
                               tsr_arena **arena, const tsr_view **parts, const tsr_tensor_info ***out)
{
    const tsr_tensor_info **whole;
    bool made = false;
    *arena = NULL;
    *parts = v;
    TSR_TRY(tsr_view_bind(v, source, prefix, out));
    for (int i = 0; i < v->leaves; i++) made |= (*out)[i]->made_of != NULL;
    if (!made) return TSR_OK;
    whole = *out;
    *out = NULL;
    tsr_status status = tsr_arena_create("a weight made of parts", arena);
    if (status == TSR_OK) status = expand(*arena, v, whole, parts);
    tsr_free(whole);
    if (status == TSR_OK) status = tsr_view_bind(*parts, source, prefix, out);
    if (status != TSR_OK) tsr_arena_destroy(arena);
    return status;
}

tsr_status tsr_view_check(const tsr_view *v, const tsr_source *source, const char *prefix)
{
    const tsr_tensor_info **leaf;
    TSR_TRY(tsr_view_bind(v, source, prefix, &leaf));
    tsr_free(leaf);
    return TSR_OK;
}

tsr_status tsr_view_dtype(const tsr_view *v, const tsr_source *source, const char *prefix, tsr_dtype *out)
{
    const tsr_tensor_info **leaf;
    TSR_TRY(tsr_view_bind(v, source, prefix, &leaf));
    tsr_dtype common = leaf[0]->dtype;
    for (int i = 1; i < v->leaves; i++) {
        if (leaf[i]->dtype == common) continue;
        common = leaf[i]->dtype == TSR_F64 || common == TSR_F64 ? TSR_F64 : TSR_F32;
    }
    tsr_free(leaf);
    *out = common;
    return TSR_OK;
}

typedef struct tally {
    const tsr_tensor_info **leaf;
    int64_t bytes;
} tally;

static tsr_status add_bytes(void *context, const tsr_piece *p)
{
    tally *t = context;
    t->bytes += tsr_piece_elements(p) * tsr_dtype_bytes(t->leaf[p->leaf]->dtype);
    return TSR_OK;
}

tsr_status tsr_view_stored_bytes(const tsr_view *v, const tsr_source *source, const char *prefix,
                                 int64_t *out)
{
    tally t = {NULL, 0};
    TSR_TRY(tsr_view_bind(v, source, prefix, &t.leaf));
    bool mixed = false;
    for (int i = 1; i < v->leaves; i++) mixed |= t.leaf[i]->dtype != t.leaf[0]->dtype;
    tsr_status status = TSR_OK;
    if (mixed)
        status = tsr_view_lower(v, 0, tsr_view_rows(v), add_bytes, &t);
    else
        t.bytes = v->elements * tsr_dtype_bytes(t.leaf[0]->dtype);
    tsr_free(t.leaf);
    *out = t.bytes;
    return status;
}
