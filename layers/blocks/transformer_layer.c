/* transformer_layer.c: the nodes of a transformer layer in each order of norms and residuals. */
#include "layers/blocks/transformer_layer.h"

#include <math.h>

tsr_attention_block tsr_attention_sized(int64_t heads, int64_t kv_heads, int64_t head_dim)
{
    tsr_attention_block a = {.rope = TSR_NONE};
    a.spec.heads = (int)heads;
    a.spec.kv_heads = (int)kv_heads;
    a.spec.head_dim = (int)head_dim;
    a.spec.scale = (float)(1 / sqrt((double)head_dim));
    return a;
}

tsr_status tsr_attention_load_fused(tsr_model *m, const char *scope, const char *name, int64_t groups,
                                    int64_t in_features, unsigned flags, tsr_attention_block *a)
{
    int64_t d = a->spec.head_dim, q = a->spec.heads / groups * d, kv = a->spec.kv_heads / groups * d;
    tsr_fused fused;
    TSR_TRY(tsr_fused_open(m, scope, name, groups * (q + 2 * kv), in_features, flags, &fused));
    TSR_TRY(tsr_fused_part(m, &fused, groups, 0, q, "q", &a->q));
    TSR_TRY(tsr_fused_part(m, &fused, groups, q, kv, "k", &a->k));
    return tsr_fused_part(m, &fused, groups, q + kv, kv, "v", &a->v);
}

static tsr_status rotate(tsr_graph *g, tsr_value x, int heads, const tsr_attention_block *a, int rope,
                         tsr_value *out)
{
    if (rope == TSR_NONE) {
        *out = x;
        return TSR_OK;
    }
    if (rope < 0 || rope >= g->model->n_ropes) return tsr_fail(TSR_ERR_INTERNAL, "no rope table %d", rope);
    int dims = g->model->ropes[rope].dims;
    return tsr_graph_rope(g, x, heads, a->spec.head_dim, dims, a->rope_style, rope, out);
}

static tsr_status project_input(tsr_graph *g, tsr_value x, const tsr_projection *p, float clamp,
                                tsr_value *out)
{
    TSR_TRY(tsr_project(g, x, p, out));
    return clamp > 0 ? tsr_graph_clamp(g, *out, clamp, out) : TSR_OK;
}

tsr_status tsr_self_attention(tsr_graph *g, tsr_value x, const tsr_attention_block *a, tsr_value *out)
{
    tsr_value q, k, v, y;
    TSR_TRY(project_input(g, x, &a->q, a->clamp, &q));
    TSR_TRY(project_input(g, x, &a->k, a->clamp, &k));
    TSR_TRY(project_input(g, x, &a->v, a->clamp, &v));
    TSR_TRY(rotate(g, q, a->spec.heads, a, a->rope, &q));
    TSR_TRY(rotate(g, k, a->spec.kv_heads, a, a->own_k_rope ? a->k_rope : a->rope, &k));
    TSR_TRY(tsr_graph_attention(g, q, k, v, &a->spec, &y));
    return tsr_project(g, y, &a->out, out);
}

tsr_status tsr_mlp(tsr_graph *g, tsr_value x, const tsr_mlp_block *mlp, tsr_value *out)
{
    tsr_value gate, up, h;
    if (mlp->gated) {
        TSR_TRY(tsr_project(g, x, &mlp->gate, &gate));
        TSR_TRY(tsr_project(g, x, &mlp->up, &up));
        TSR_TRY(tsr_graph_gated(g, gate, up, mlp->activation, &h));
    } else {
        TSR_TRY(tsr_project(g, x, &mlp->up, &up));
        TSR_TRY(tsr_graph_act(g, up, mlp->activation, &h));
    }
    return tsr_project(g, h, &mlp->down, out);
}

/* What a branch is added to: its input x, or that normed (n), or normed in another way. */
static tsr_status residual(tsr_graph *g, tsr_value x, tsr_value n, const tsr_layer_block *l, int index,
                           tsr_value *out)
{
    if (l->own_residual_norms) return tsr_normalize(g, x, &l->residual[index], out);
    *out = l->normed_residual ? n : x;
    return TSR_OK;
}

static tsr_status pre_norm(tsr_graph *g, tsr_value x, const tsr_layer_block *l, tsr_value *out)
{
    tsr_value n, branch, y;
    TSR_TRY(tsr_normalize(g, x, &l->norm[0], &n));
    TSR_TRY(tsr_self_attention(g, n, &l->attention, &branch));
    TSR_TRY(residual(g, x, n, l, 0, &x));
    TSR_TRY(tsr_graph_add(g, x, branch, &y));
    TSR_TRY(tsr_normalize(g, y, &l->norm[1], &n));
    TSR_TRY(tsr_mlp(g, n, &l->mlp, &branch));
    TSR_TRY(residual(g, y, n, l, 1, &y));
    return tsr_graph_add(g, y, branch, out);
}

static tsr_status sandwich(tsr_graph *g, tsr_value x, const tsr_layer_block *l, tsr_value *out)
{
    tsr_value n, branch, y;
    TSR_TRY(tsr_normalize(g, x, &l->norm[0], &n));
    TSR_TRY(tsr_self_attention(g, n, &l->attention, &branch));
    TSR_TRY(tsr_normalize(g, branch, &l->norm[2], &branch));
    TSR_TRY(tsr_graph_add(g, x, branch, &y));
    TSR_TRY(tsr_normalize(g, y, &l->norm[1], &n));
    TSR_TRY(tsr_mlp(g, n, &l->mlp, &branch));
    TSR_TRY(tsr_normalize(g, branch, &l->norm[3], &branch));
    return tsr_graph_add(g, y, branch, out);
}

static tsr_status post_norm(tsr_graph *g, tsr_value x, const tsr_layer_block *l, tsr_value *out)
{
    tsr_value branch, sum, y;
    TSR_TRY(tsr_self_attention(g, x, &l->attention, &branch));
    TSR_TRY(tsr_graph_add(g, x, branch, &sum));
    TSR_TRY(tsr_normalize(g, sum, &l->norm[0], &y));
    TSR_TRY(tsr_mlp(g, y, &l->mlp, &branch));
    TSR_TRY(tsr_graph_add(g, y, branch, &sum));
    return tsr_normalize(g, sum, &l->norm[1], out);
}

static tsr_status parallel(tsr_graph *g, tsr_value x, const tsr_layer_block *l, tsr_value *out)
{
    tsr_value n, attention, mlp, both;
    TSR_TRY(tsr_normalize(g, x, &l->norm[0], &n));
    TSR_TRY(tsr_self_attention(g, n, &l->attention, &attention));
    if (l->order == TSR_LAYER_PARALLEL_TWO_NORM) TSR_TRY(tsr_normalize(g, x, &l->norm[1], &n));
    TSR_TRY(tsr_mlp(g, n, &l->mlp, &mlp));
    TSR_TRY(tsr_graph_add(g, attention, mlp, &both));
    return tsr_graph_add(g, x, both, out);
}

tsr_status tsr_transformer_layer(tsr_graph *g, tsr_value x, const tsr_layer_block *layer, tsr_value *out)
{
    switch (layer->order) {
    case TSR_LAYER_PRE:
        return pre_norm(g, x, layer, out);
    case TSR_LAYER_POST:
        return post_norm(g, x, layer, out);
    case TSR_LAYER_PARALLEL_ONE_NORM:
    case TSR_LAYER_PARALLEL_TWO_NORM:
        return parallel(g, x, layer, out);
    case TSR_LAYER_SANDWICH:
        return sandwich(g, x, layer, out);
    }
    return tsr_fail(TSR_ERR_INTERNAL, "no layer order %d", (int)layer->order);
}
