/* graph_ops.c: one builder per op a model file may use: checks shapes, makes the output value, appends the
 * node. */
#include "layers/graph.h"
#include "base/checked.h"

#include <math.h>

static tsr_status misfit(const tsr_graph *g, const char *op, const char *what)
{
    return tsr_fail(TSR_ERR_INTERNAL, "graph \"%s\", layer %d: %s: %s", g->name, g->current_layer, op, what);
}

static bool has_value(const tsr_graph *g, tsr_value v)
{
    return v >= 0 && v < g->n_values;
}

static bool has_weight(const tsr_graph *g, tsr_weight w)
{
    return w >= 0 && w < g->model->n_weights;
}

/* A vector of n elements, or absent. */
static bool fits_vector(const tsr_graph *g, tsr_weight w, int64_t n)
{
    if (w == TSR_NONE) return true;
    return has_weight(g, w) && g->model->weights[w].is_vector && g->model->weights[w].rows == n;
}

static bool same_shape(const tsr_graph *g, tsr_value a, tsr_value b)
{
    return g->values[a].rows == g->values[b].rows && g->values[a].cols == g->values[b].cols;
}

/* Adds the output [rows, cols] and then the node that makes it. */
static tsr_status finish(tsr_graph *g, tsr_node *node, tsr_rows rows, int64_t cols, tsr_value *out)
{
    tsr_value v;
    TSR_TRY(tsr_graph_add_value(g, rows, cols, &v));
    node->n_outputs = 1;
    node->out[0] = v;
    node->layer = g->current_layer;
    TSR_TRY(tsr_graph_add_node(g, node));
    *out = v;
    return TSR_OK;
}

tsr_status tsr_graph_embed(tsr_graph *g, tsr_weight table, tsr_embed_index index, long offset, float scale,
                           tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_weight(g, table) || g->model->weights[table].is_vector)
        return misfit(g, "embed", "needs a matrix");
    if (offset < 0 || !isfinite(scale)) return misfit(g, "embed", "needs an offset >= 0 and a finite scale");
    tsr_node node = {.op = TSR_OP_EMBED, .n_weights = 1, .weight = {table}};
    node.attrs.embed.index = index;
    node.attrs.embed.offset = offset;
    node.attrs.embed.scale = scale;
    return finish(g, &node, TSR_ROWS_TOKENS, g->model->weights[table].cols, out);
}

tsr_status tsr_graph_linear(tsr_graph *g, tsr_value x, tsr_weight w, tsr_weight bias, tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_value(g, x) || !has_weight(g, w)) return misfit(g, "linear", "no such input or weight");
    const tsr_weight_info *info = &g->model->weights[w];
    if (info->is_vector || info->cols != g->values[x].cols || !fits_vector(g, bias, info->rows))
        return misfit(g, info->name, "the shapes of input, weight and bias do not fit");
    tsr_node node = {.op = TSR_OP_LINEAR, .n_inputs = 1, .in = {x}, .weight = {w, bias}};
    node.n_weights = bias == TSR_NONE ? 1 : 2;
    return finish(g, &node, g->values[x].rows, info->rows, out);
}

tsr_status tsr_graph_norm(tsr_graph *g, tsr_value x, tsr_norm_kind kind, float eps, tsr_weight w,
                          tsr_weight b, tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_value(g, x) || !fits_vector(g, w, g->values[x].cols) || !fits_vector(g, b, g->values[x].cols))
        return misfit(g, "norm", "the shapes of input, weight and bias do not fit");
    if (!(eps >= 0) || !isfinite(eps)) return misfit(g, "norm", "needs a finite eps >= 0");
    if (w == TSR_NONE && b != TSR_NONE) return misfit(g, "norm", "a bias without a weight");
    tsr_node node = {.op = TSR_OP_NORM, .n_inputs = 1, .in = {x}, .weight = {w, b}};
    node.n_weights = b != TSR_NONE ? 2 : w != TSR_NONE ? 1 : 0;
    node.attrs.norm.kind = kind;
    node.attrs.norm.eps = eps;
    return finish(g, &node, g->values[x].rows, g->values[x].cols, out);
}

tsr_status tsr_graph_add(tsr_graph *g, tsr_value a, tsr_value b, tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_value(g, a) || !has_value(g, b) || !same_shape(g, a, b))
        return misfit(g, "add", "the inputs differ in shape");
    tsr_node node = {.op = TSR_OP_ADD, .n_inputs = 2, .in = {a, b}};
    return finish(g, &node, g->values[a].rows, g->values[a].cols, out);
}

tsr_status tsr_graph_act(tsr_graph *g, tsr_value x, tsr_activation kind, tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_value(g, x) || (unsigned)kind >= TSR_ACT_COUNT)
        return misfit(g, "act", "no such input or activation");
    tsr_node node = {.op = TSR_OP_ACT, .n_inputs = 1, .in = {x}};
    node.attrs.act.kind = kind;
    return finish(g, &node, g->values[x].rows, g->values[x].cols, out);
}

tsr_status tsr_graph_clamp(tsr_graph *g, tsr_value x, float limit, tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_value(g, x) || !(limit > 0) || !isfinite(limit))
        return misfit(g, "clamp", "needs an input and a limit above 0");
    tsr_node node = {.op = TSR_OP_CLAMP, .n_inputs = 1, .in = {x}};
    node.attrs.clamp.limit = limit;
    return finish(g, &node, g->values[x].rows, g->values[x].cols, out);
}

tsr_status tsr_graph_gated(tsr_graph *g, tsr_value a, tsr_value b, tsr_activation kind, tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_value(g, a) || !has_value(g, b) || !same_shape(g, a, b) || (unsigned)kind >= TSR_ACT_COUNT)
        return misfit(g, "gated", "the inputs differ in shape");
    tsr_node node = {.op = TSR_OP_GATED, .n_inputs = 2, .in = {a, b}};
    node.attrs.act.kind = kind;
    return finish(g, &node, g->values[a].rows, g->values[a].cols, out);
}

/* x is n heads of `dim` columns each. */
static bool is_heads(const tsr_graph *g, tsr_value x, int n, int dim)
{
    int64_t cols;
    return has_value(g, x) && n > 0 && dim > 0 && tsr_mul(n, dim, &cols) && g->values[x].cols == cols;
}

tsr_status tsr_graph_rope(tsr_graph *g, tsr_value x, int heads, int head_dim, int rotary_dim,
                          tsr_rope_style style, int rope, tsr_value *out)
{
    *out = TSR_NONE;
    if (!is_heads(g, x, heads, head_dim)) return misfit(g, "rope", "the input is not heads x head_dim wide");
    if (rope < 0 || rope >= g->model->n_ropes) return misfit(g, "rope", "no such table");
    if (rotary_dim < 2 || rotary_dim % 2 != 0 || rotary_dim > head_dim ||
        g->model->ropes[rope].dims != rotary_dim)
        return misfit(g, "rope", "rotary_dim must be even, at most head_dim, and that of its table");
    tsr_node node = {.op = TSR_OP_ROPE, .n_inputs = 1, .in = {x}};
    node.attrs.rope.heads = heads;
    node.attrs.rope.head_dim = head_dim;
    node.attrs.rope.rotary_dim = rotary_dim;
    node.attrs.rope.style = style;
    node.attrs.rope.rope = rope;
    return finish(g, &node, g->values[x].rows, g->values[x].cols, out);
}

static bool attention_fits(const tsr_graph *g, tsr_value q, tsr_value k, tsr_value v,
                           const tsr_attention_spec *s, int value_dim)
{
    if (!is_heads(g, q, s->heads, s->head_dim) || !is_heads(g, k, s->kv_heads, s->head_dim)) return false;
    if (!is_heads(g, v, s->kv_heads, value_dim) || s->heads % s->kv_heads != 0) return false;
    bool of_tokens = g->values[q].rows == TSR_ROWS_TOKENS && g->values[k].rows == TSR_ROWS_TOKENS &&
                     g->values[v].rows == TSR_ROWS_TOKENS;
    bool bias = isfinite(s->alibi) && (s->alibi == 0 || (s->alibi_max > 0 && isfinite(s->alibi_max)));
    return of_tokens && isfinite(s->scale) && s->window >= 0 && bias;
}

tsr_status tsr_graph_attention(tsr_graph *g, tsr_value q, tsr_value k, tsr_value v,
                               const tsr_attention_spec *spec, tsr_value *out)
{
    *out = TSR_NONE;
    int value_dim = spec->value_dim ? spec->value_dim : spec->head_dim, layer;
    int64_t cols;
    if (!attention_fits(g, q, k, v, spec, value_dim) || !tsr_mul(spec->heads, value_dim, &cols))
        return misfit(g, "attention", "the shapes of q, k and v do not fit");
    tsr_cache_layer cache = {.kv_heads = spec->kv_heads, .head_dim = spec->head_dim, .value_dim = value_dim};
    TSR_TRY(tsr_model_add_cache_layer(g->model, cache, &layer));
    tsr_node node = {.op = TSR_OP_ATTENTION, .n_inputs = 3, .in = {q, k, v}};
    node.attrs.attention.heads = spec->heads;
    node.attrs.attention.kv_heads = spec->kv_heads;
    node.attrs.attention.head_dim = spec->head_dim;
    node.attrs.attention.value_dim = value_dim;
    node.attrs.attention.group = spec->heads / spec->kv_heads;
    node.attrs.attention.scale = spec->scale;
    node.attrs.attention.window = spec->window;
    node.attrs.attention.layer = layer;
    node.attrs.attention.alibi = spec->alibi;
    node.attrs.attention.alibi_max = spec->alibi_max;
    node.attrs.attention.alibi_bf16 = spec->alibi_bf16;
    node.attrs.attention.model_heads = spec->heads;
    return finish(g, &node, TSR_ROWS_TOKENS, cols, out);
}

tsr_status tsr_graph_select_rows(tsr_graph *g, tsr_value x, tsr_value *out)
{
    *out = TSR_NONE;
    if (!has_value(g, x) || g->values[x].rows != TSR_ROWS_TOKENS)
        return misfit(g, "select_rows", "the input must have the rows of all tokens");
    tsr_node node = {.op = TSR_OP_SELECT_ROWS, .n_inputs = 1, .in = {x}};
    return finish(g, &node, TSR_ROWS_SELECTED, g->values[x].cols, out);
}
