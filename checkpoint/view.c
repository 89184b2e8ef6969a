/* view.c: building views: every operation checks its shapes, merges with its neighbour where it can, and
 * returns an immutable node. */
#include "base/checked.h"
#include "checkpoint/shape.h"
#include "checkpoint/view_node.h"

#include <string.h>

/* The operation asked of v does not fit it. */
static tsr_status misfit(const tsr_view *v, const char *operation, int rank, const int64_t *numbers)
{
    char asked[TSR_SHAPE_TEXT], found[TSR_SHAPE_TEXT];
    tsr_text name;
    TSR_TRY(tsr_text_init(&name, 400));
    (void)tsr_view_print(v, &name); /* a name too long is cut, which is what we want here */
    tsr_status status =
        tsr_fail(TSR_ERR_FORMAT, "%s of shape %s: cannot %s %s", name.data,
                 tsr_shape_text(v->rank, v->shape, found), operation, tsr_shape_text(rank, numbers, asked));
    tsr_text_free(&name);
    return status;
}

static tsr_status new_node(tsr_arena *arena, tsr_view_kind kind, int rank, const int64_t *shape, int depth,
                           tsr_view **out)
{
    void *p;
    char text[TSR_SHAPE_TEXT];
    int64_t elements;
    *out = NULL;
    if (rank < 0 || rank > TSR_MAX_RANK)
        return tsr_fail(TSR_ERR_INTERNAL, "a view of rank %d, at most %d are possible", rank, TSR_MAX_RANK);
    if (depth > TSR_VIEW_DEPTH_CAP)
        return tsr_fail(TSR_ERR_INTERNAL, "a view of more than %d nested operations", TSR_VIEW_DEPTH_CAP);
    if (!tsr_shape_elements(rank, shape, &elements))
        return tsr_fail(TSR_ERR_FORMAT, "shape %s is negative or too large to exist",
                        tsr_shape_text(rank, shape, text));
    TSR_TRY(tsr_arena_alloc(arena, sizeof(tsr_view), &p));
    tsr_view *v = p;
    v->kind = kind;
    v->rank = rank;
    v->depth = depth;
    v->elements = elements;
    if (rank > 0) memcpy(v->shape, shape, (size_t)rank * sizeof *shape);
    *out = v;
    return TSR_OK;
}

static tsr_status new_on(tsr_arena *arena, tsr_view_kind kind, const tsr_view *child, int rank,
                         const int64_t *shape, tsr_view **out)
{
    TSR_TRY(new_node(arena, kind, rank, shape, child->depth + 1, out));
    (*out)->child = child;
    (*out)->leaves = child->leaves;
    return TSR_OK;
}

tsr_status tsr_view_tensor(tsr_arena *arena, const char *name, int rank, const int64_t *shape,
                           const tsr_view **out)
{
    tsr_view *v;
    *out = NULL;
    tsr_status status = new_node(arena, TSR_VIEW_TENSOR, rank, shape, 1, &v);
    if (status != TSR_OK) return tsr_fail_in(status, "tensor \"%.200s\"", name);
    TSR_TRY(tsr_arena_strdup(arena, name, &v->name));
    v->leaves = 1;
    *out = v;
    return TSR_OK;
}

tsr_status tsr_view_stored(tsr_arena *arena, const tsr_tensor_info *tensor, const tsr_view **out)
{
    tsr_view *v;
    *out = NULL;
    tsr_status status = new_node(arena, TSR_VIEW_TENSOR, tensor->rank, tensor->shape, 1, &v);
    if (status != TSR_OK) return tsr_fail_in(status, "tensor \"%.200s\"", tensor->name);
    v->name = tensor->name;
    v->stored = tensor;
    v->leaves = 1;
    *out = v;
    return TSR_OK;
}

tsr_status tsr_view_reshape(tsr_arena *arena, const tsr_view *v, int rank, const int64_t *shape,
                            const tsr_view **out)
{
    tsr_view *r;
    int64_t elements;
    *out = NULL;
    if (rank < 0 || rank > TSR_MAX_RANK)
        return tsr_fail(TSR_ERR_INTERNAL, "reshape to rank %d, at most %d are possible", rank, TSR_MAX_RANK);
    if (!tsr_shape_elements(rank, shape, &elements) || elements != v->elements)
        return misfit(v, "reshape to", rank, shape);
    if (v->kind == TSR_VIEW_RESHAPE) v = v->child;
    if (!tsr_shape_equal(rank, shape, v->rank, v->shape)) {
        TSR_TRY(new_on(arena, TSR_VIEW_RESHAPE, v, rank, shape, &r));
        v = r;
    }
    *out = v;
    return TSR_OK;
}

static bool is_permutation(int rank, const int *order)
{
    unsigned seen = 0;
    for (int i = 0; i < rank; i++) {
        if (order[i] < 0 || order[i] >= rank || seen >> order[i] & 1) return false;
        seen |= 1u << order[i];
    }
    return true;
}

static bool is_identity(int rank, const int *order)
{
    for (int i = 0; i < rank; i++)
        if (order[i] != i) return false;
    return true;
}

tsr_status tsr_view_permute(tsr_arena *arena, const tsr_view *v, const int *order, const tsr_view **out)
{
    tsr_view *p;
    int composed[TSR_MAX_RANK];
    int64_t shape[TSR_MAX_RANK];
    *out = NULL;
    if (!is_permutation(v->rank, order))
        return tsr_fail(TSR_ERR_INTERNAL, "permute: not an order of %d axes", v->rank);
    for (int i = 0; i < v->rank; i++) {
        shape[i] = v->shape[order[i]];
        composed[i] = v->kind == TSR_VIEW_PERMUTE ? v->order[order[i]] : order[i];
    }
    if (v->kind == TSR_VIEW_PERMUTE) v = v->child;
    if (!is_identity(v->rank, composed)) {
        TSR_TRY(new_on(arena, TSR_VIEW_PERMUTE, v, v->rank, shape, &p));
        memcpy(p->order, composed, sizeof composed);
        v = p;
    }
    *out = v;
    return TSR_OK;
}

tsr_status tsr_view_transpose(tsr_arena *arena, const tsr_view *v, const tsr_view **out)
{
    if (v->rank != 2) {
        *out = NULL;
        return tsr_fail(TSR_ERR_INTERNAL, "transpose: rank %d, expected 2", v->rank);
    }
    return tsr_view_permute(arena, v, (int[]){1, 0}, out);
}

int tsr_view_part_at(const tsr_view *v, int64_t x)
{
    int low = 0, high = v->parts - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (v->part_begin[middle] <= x)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* The parts of a concat that begin..end touches, the first and last cut to fit: what lies outside is
 * forgotten, so that a rank does not even name the pieces of the others. */
static tsr_status slice_parts(tsr_arena *arena, const tsr_view *v, int64_t begin, int64_t end,
                              const tsr_view **out)
{
    void *p;
    int n = 0, first = tsr_view_part_at(v, begin), last = tsr_view_part_at(v, end - 1);
    TSR_TRY(tsr_alloc((last - first + 1) * (int64_t)sizeof(tsr_view *), "the parts of a view", &p));
    const tsr_view **kept = p;
    tsr_status status = TSR_OK;
    for (int i = first; i <= last && status == TSR_OK; i++) {
        int64_t low = tsr_max(begin, v->part_begin[i]), high = tsr_min(end, v->part_begin[i + 1]);
        if (low < high)
            status = tsr_view_slice(arena, v->part[i], v->axis, low - v->part_begin[i],
                                    high - v->part_begin[i], &kept[n++]);
    }
    if (status == TSR_OK) status = tsr_view_concat(arena, v->axis, n, kept, out);
    tsr_free(p);
    return status;
}

tsr_status tsr_view_slice(tsr_arena *arena, const tsr_view *v, int axis, int64_t begin, int64_t end,
                          const tsr_view **out)
{
    tsr_view *s;
    int64_t shape[TSR_MAX_RANK];
    *out = NULL;
    if (axis < 0 || axis >= v->rank)
        return tsr_fail(TSR_ERR_INTERNAL, "slice: axis %d of a view of rank %d", axis, v->rank);
    if (begin < 0 || end < begin || end > v->shape[axis])
        return misfit(v, "slice axis, begin, end", 3, (int64_t[]){axis, begin, end});
    if (end - begin == v->shape[axis]) {
        *out = v;
        return TSR_OK;
    }
    if (v->kind == TSR_VIEW_CONCAT && axis == v->axis && begin < end)
        return slice_parts(arena, v, begin, end, out);
    memcpy(shape, v->shape, sizeof shape);
    shape[axis] = end - begin;
    TSR_TRY(new_on(arena, TSR_VIEW_SLICE, v->kind == TSR_VIEW_SLICE ? v->child : v, v->rank, shape, &s));
    if (v->kind == TSR_VIEW_SLICE) memcpy(s->begin, v->begin, sizeof s->begin);
    s->begin[axis] += begin;
    *out = s;
    return TSR_OK;
}

/* The largest element that the strides reach, from `offset` on; false if it cannot be counted. */
static bool strides_end(int64_t offset, int rank, const int64_t *shape, const int64_t *stride, int64_t *out)
{
    int64_t far;
    *out = offset;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 1 || !tsr_mul(shape[i] - 1, stride[i], &far) || !tsr_add(*out, far, out)) return false;
    return true;
}

tsr_status tsr_view_strided(tsr_arena *arena, const tsr_view *v, int64_t offset, int rank,
                            const int64_t *shape, const int64_t *stride, const tsr_view **out)
{
    tsr_view *s;
    int64_t last = 0;
    *out = NULL;
    if (v->rank != 1)
        return tsr_fail(TSR_ERR_INTERNAL, "strides over a view of rank %d, expected 1", v->rank);
    TSR_TRY(new_on(arena, TSR_VIEW_STRIDED, v, rank, shape, &s));
    for (int i = 0; i < rank; i++)
        if (stride[i] < 0) return misfit(v, "lay over it with strides", rank, stride);
    if (s->elements > 0 &&
        (offset < 0 || !strides_end(offset, rank, shape, stride, &last) || last >= v->elements))
        return misfit(v, "lay over it, with strides that lead beyond its end, shape", rank, shape);
    s->offset = offset;
    for (int i = 0; i < rank; i++) s->stride[i] = shape[i] > 1 ? stride[i] : 0;
    *out = s;
    return TSR_OK;
}

/* Sums extents along the axis, leaves and depth; the other extents must agree. */
static tsr_status measure_parts(int axis, int n, const tsr_view *const *parts, int64_t *extent, int *leaves,
                                int *depth)
{
    const tsr_view *first = parts[0];
    *extent = *leaves = *depth = 0;
    for (int i = 0; i < n; i++) {
        const tsr_view *v = parts[i];
        for (int a = 0; a < first->rank; a++)
            if (v->rank != first->rank || (a != axis && v->shape[a] != first->shape[a]))
                return misfit(first, "concatenate with a view of shape", v->rank, v->shape);
        if (!tsr_add(*extent, v->shape[axis], extent))
            return misfit(first, "concatenate: too large", v->rank, v->shape);
        *leaves += v->leaves;
        if (*leaves > TSR_VIEW_LEAF_CAP)
            return tsr_fail(TSR_ERR_INTERNAL, "concat: more than %d tensors", TSR_VIEW_LEAF_CAP);
        if (v->depth > *depth) *depth = v->depth;
    }
    return TSR_OK;
}

/* Copies the parts into the node and notes where each begins. */
static tsr_status fill_concat(tsr_arena *arena, tsr_view *c, int n, const tsr_view *const *parts)
{
    void *part, *begin, *leaf;
    TSR_TRY(tsr_arena_alloc(arena, n * (int64_t)sizeof *parts, &part));
    TSR_TRY(tsr_arena_alloc(arena, (n + 1) * (int64_t)sizeof(int64_t), &begin));
    TSR_TRY(tsr_arena_alloc(arena, n * (int64_t)sizeof(int), &leaf));
    for (int i = 0; i < n; i++) {
        ((const tsr_view **)part)[i] = parts[i];
        ((int64_t *)begin)[i + 1] = ((int64_t *)begin)[i] + parts[i]->shape[c->axis];
        ((int *)leaf)[i] = i ? ((int *)leaf)[i - 1] + parts[i - 1]->leaves : 0;
    }
    c->parts = n;
    c->part = part;
    c->part_begin = begin;
    c->part_leaf = leaf;
    return TSR_OK;
}

tsr_status tsr_view_concat(tsr_arena *arena, int axis, int n, const tsr_view *const *parts,
                           const tsr_view **out)
{
    tsr_view *c;
    int64_t shape[TSR_MAX_RANK], extent;
    int leaves, depth;
    *out = NULL;
    if (n < 1 || axis < 0 || axis >= parts[0]->rank)
        return tsr_fail(TSR_ERR_INTERNAL, "concat: %d views along axis %d", n, axis);
    TSR_TRY(measure_parts(axis, n, parts, &extent, &leaves, &depth));
    if (n == 1) {
        *out = parts[0];
        return TSR_OK;
    }
    memcpy(shape, parts[0]->shape, sizeof shape);
    shape[axis] = extent;
    TSR_TRY(new_node(arena, TSR_VIEW_CONCAT, parts[0]->rank, shape, depth + 1, &c));
    c->axis = axis;
    c->leaves = leaves;
    TSR_TRY(fill_concat(arena, c, n, parts));
    *out = c;
    return TSR_OK;
}
