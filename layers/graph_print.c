/* graph_print.c: a graph as text, one node a line. */
#include "layers/graph.h"

static tsr_status print_value(const tsr_graph *g, tsr_value v, tsr_text *t)
{
    const tsr_value_info *info = &g->values[v];
    return tsr_text_format(t, "v%d [%s, %lld]", v, info->rows == TSR_ROWS_TOKENS ? "T" : "R",
                           (long long)info->cols);
}

static tsr_status print_operands(const tsr_graph *g, const tsr_node *n, tsr_text *t)
{
    TSR_TRY(tsr_text_puts(t, "("));
    for (int i = 0; i < n->n_inputs; i++) TSR_TRY(tsr_text_format(t, "%sv%d", i ? ", " : "", n->in[i]));
    for (int i = 0; i < n->n_weights; i++) {
        const char *name = n->weight[i] == TSR_NONE ? "-" : g->model->weights[n->weight[i]].name;
        TSR_TRY(tsr_text_format(t, "%s%s", i ? ", " : "; ", name));
    }
    return tsr_text_puts(t, ")");
}

static tsr_status print_embed(const tsr_attrs *a, tsr_text *t)
{
    static const char *const by[] = {[TSR_EMBED_IDS] = " by id",
                                     [TSR_EMBED_POSITIONS] = " by position",
                                     [TSR_EMBED_FIRST_ROW] = " by first row of positions",
                                     [TSR_EMBED_SECOND_ROW] = " by second row of positions"};
    TSR_TRY(tsr_text_puts(t, by[a->embed.index]));
    if (a->embed.offset) TSR_TRY(tsr_text_format(t, " + %ld", a->embed.offset));
    if (a->embed.first_row) TSR_TRY(tsr_text_format(t, ", rows from %ld", a->embed.first_row));
    return a->embed.scale == 1 ? TSR_OK : tsr_text_format(t, ", times %g", (double)a->embed.scale);
}

static tsr_status print_attention(const tsr_attrs *a, tsr_text *t)
{
    TSR_TRY(tsr_text_format(t, " heads %d x %d, kv heads %d, scale %g, cache %d", a->attention.heads,
                            a->attention.head_dim, a->attention.kv_heads, (double)a->attention.scale,
                            a->attention.layer));
    if (a->attention.value_dim != a->attention.head_dim)
        TSR_TRY(tsr_text_format(t, ", values of %d", a->attention.value_dim));
    if (a->attention.first_head || a->attention.first_kv)
        TSR_TRY(
            tsr_text_format(t, ", from head %d, kv head %d", a->attention.first_head, a->attention.first_kv));
    if (a->attention.rotary_dim > 0)
        TSR_TRY(tsr_text_format(t, ", %d rotated, %s, table %d", a->attention.rotary_dim,
                                a->attention.style == TSR_ROPE_HALF ? "half" : "interleaved",
                                a->attention.rope));
    if (a->attention.alibi != 0)
        TSR_TRY(tsr_text_format(t, ", ALiBi %g x 2^-%g%s", (double)a->attention.alibi,
                                (double)a->attention.alibi_max,
                                a->attention.alibi_bf16 ? " in bfloat16" : ""));
    return a->attention.window ? tsr_text_format(t, ", window %ld", a->attention.window) : TSR_OK;
}

static tsr_status print_norm(const tsr_attrs *a, tsr_text *t)
{
    TSR_TRY(tsr_text_format(t, " %s, eps %g", a->norm.kind == TSR_NORM_RMS ? "RMS" : "layer",
                            (double)a->norm.eps));
    if (a->norm.dealt) TSR_TRY(tsr_text_puts(t, ", rows dealt"));
    return a->norm.whole_sum ? tsr_text_puts(t, ", sum whole") : TSR_OK;
}

static tsr_status print_attributes(const tsr_node *n, tsr_text *t)
{
    const tsr_attrs *a = &n->attrs;
    switch (n->op) {
    case TSR_OP_EMBED:
        return print_embed(a, t);
    case TSR_OP_NORM:
    case TSR_OP_ADD_NORM:
    case TSR_OP_REDUCE_ADD_NORM:
        return print_norm(a, t);
    case TSR_OP_ACT:
    case TSR_OP_GATED:
    case TSR_OP_GATED_LINEAR:
        return tsr_text_format(t, " %s", tsr_activation_name(a->act.kind));
    case TSR_OP_CLAMP:
        return tsr_text_format(t, " to %g", (double)a->clamp.limit);
    case TSR_OP_ROPE:
        return tsr_text_format(t, " heads %d x %d, %d rotated, %s, table %d", a->rope.heads, a->rope.head_dim,
                               a->rope.rotary_dim, a->rope.style == TSR_ROPE_HALF ? "half" : "interleaved",
                               a->rope.rope);
    case TSR_OP_ATTENTION:
        return print_attention(a, t);
    default:
        return TSR_OK;
    }
}

tsr_status tsr_graph_print(const tsr_graph *g, tsr_text *out)
{
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        for (int o = 0; o < n->n_outputs; o++) {
            if (o) TSR_TRY(tsr_text_puts(out, ", "));
            TSR_TRY(print_value(g, n->out[o], out));
        }
        TSR_TRY(tsr_text_format(out, " = %s", tsr_op_table[n->op].name));
        TSR_TRY(print_operands(g, n, out));
        TSR_TRY(print_attributes(n, out));
        TSR_TRY(tsr_text_puts(out, "\n"));
    }
    return TSR_OK;
}
