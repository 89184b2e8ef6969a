/* projection.c: views of the tensors that make up projections, whole or fused. */
#include "layers/blocks/projection.h"

#include "base/checked.h"

tsr_status tsr_fused_open(tsr_model *m, const char *scope, const char *name, int64_t out_features,
                          int64_t in_features, unsigned flags, tsr_fused *out)
{
    bool transposed = flags & TSR_IN_OUT;
    int64_t stored[2] = {transposed ? in_features : out_features, transposed ? out_features : in_features};
    const char *tensor;
    *out = (tsr_fused){0};
    TSR_TRY(tsr_arena_format(m->arena, &out->name, "%s%s", scope, name));
    TSR_TRY(tsr_arena_format(m->arena, &tensor, "%s.weight", out->name));
    TSR_TRY(tsr_view_tensor(m->arena, tensor, 2, stored, &out->w));
    if (transposed) TSR_TRY(tsr_view_transpose(m->arena, out->w, &out->w));
    if (!(flags & TSR_BIAS)) return TSR_OK;
    TSR_TRY(tsr_arena_format(m->arena, &tensor, "%s.bias", out->name));
    return tsr_view_tensor(m->arena, tensor, 1, &out_features, &out->b);
}

/* Registers a part of a tensor, called NAME.KIND, or NAME.KIND (PART) where it is not the whole. */
static tsr_status add_weight(tsr_model *m, const char *name, const char *kind, const char *part,
                             const tsr_view *view, tsr_weight *out)
{
    const char *label;
    if (part)
        TSR_TRY(tsr_arena_format(m->arena, &label, "%s.%s (%s)", name, kind, part));
    else
        TSR_TRY(tsr_arena_format(m->arena, &label, "%s.%s", name, kind));
    return tsr_model_add_weight(m, label, view, out);
}

tsr_status tsr_projection_load(tsr_model *m, const char *scope, const char *name, int64_t out_features,
                               int64_t in_features, unsigned flags, tsr_projection *out)
{
    tsr_fused whole;
    *out = (tsr_projection){TSR_NONE, TSR_NONE};
    TSR_TRY(tsr_fused_open(m, scope, name, out_features, in_features, flags, &whole));
    TSR_TRY(add_weight(m, whole.name, "weight", NULL, whole.w, &out->w));
    return whole.b ? add_weight(m, whole.name, "bias", NULL, whole.b, &out->b) : TSR_OK;
}

tsr_status tsr_norm_load(tsr_model *m, const char *scope, const char *name, int64_t n, tsr_norm_kind kind,
                         float eps, unsigned flags, tsr_norm_weights *out)
{
    *out = (tsr_norm_weights){.kind = kind, .eps = eps, .w = TSR_NONE, .b = TSR_NONE};
    TSR_TRY(tsr_model_vector(m, &out->w, n, "%s%s.weight", scope, name));
    return flags & TSR_BIAS ? tsr_model_vector(m, &out->b, n, "%s%s.bias", scope, name) : TSR_OK;
}

/* v [groups * size, ...] -> rows begin .. begin + rows - 1 of each group: [groups * rows, ...]; rank 1 or 2.
 */
static tsr_status take_rows(tsr_model *m, const tsr_view *v, int64_t groups, int64_t begin, int64_t rows,
                            const tsr_view **out)
{
    if (groups == 1) return tsr_view_slice(m->arena, v, 0, begin, begin + rows, out);
    int rank = tsr_view_rank(v);
    int64_t cols = tsr_view_cols(v);
    int64_t grouped[] = {groups, tsr_view_rows(v) / groups, cols};
    int64_t flat[] = {groups * rows, cols};
    TSR_TRY(tsr_view_reshape(m->arena, v, rank + 1, grouped, &v));
    TSR_TRY(tsr_view_slice(m->arena, v, 1, begin, begin + rows, &v));
    return tsr_view_reshape(m->arena, v, rank, flat, out);
}

tsr_status tsr_fused_part(tsr_model *m, const tsr_fused *fused, int64_t groups, int64_t begin, int64_t rows,
                          const char *part, tsr_projection *out)
{
    const tsr_view *view;
    int64_t end, total;
    *out = (tsr_projection){TSR_NONE, TSR_NONE};
    if (groups < 1 || tsr_view_rows(fused->w) % groups != 0 || !tsr_add(begin, rows, &end) ||
        !tsr_mul(groups, end, &total) || total > tsr_view_rows(fused->w))
        return tsr_fail(TSR_ERR_INTERNAL, "%s: part %s does not lie within the tensor", fused->name, part);
    TSR_TRY(take_rows(m, fused->w, groups, begin, rows, &view));
    TSR_TRY(add_weight(m, fused->name, "weight", part, view, &out->w));
    if (!fused->b) return TSR_OK;
    TSR_TRY(take_rows(m, fused->b, groups, begin, rows, &view));
    return add_weight(m, fused->name, "bias", part, view, &out->b);
}

tsr_status tsr_project(tsr_graph *g, tsr_value x, const tsr_projection *p, tsr_value *out)
{
    return tsr_graph_linear(g, x, p->w, p->b, out);
}

tsr_status tsr_normalize(tsr_graph *g, tsr_value x, const tsr_norm_weights *n, tsr_value *out)
{
    return tsr_graph_norm(g, x, n->kind, n->eps, n->w, n->b, out);
}
