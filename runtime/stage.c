/* stage.c: telling the parts of a step by the flow of values, and counting their work. */
#include "runtime/stage.h"
#include "base/checked.h"

const char *tsr_stage_name(tsr_stage stage)
{
    static const char *const names[] = {
#define TSR_STAGE_NAME(NAME, name) [TSR_STAGE_##NAME] = name,
        TSR_STAGE_TABLE(TSR_STAGE_NAME)
#undef TSR_STAGE_NAME
    };
    return names[stage];
}

/* --- Parts --- */

/* The value that v is a window of. */
static tsr_value whole_of(const tsr_graph *g, tsr_value v)
{
    while (g->values[v].parent != TSR_NONE) v = g->values[v].parent;
    return v;
}

static bool reads(const tsr_graph *g, const tsr_node *n, tsr_value whole)
{
    for (int k = 0; k < n->n_inputs; k++)
        if (whole_of(g, n->in[k]) == whole) return true;
    return false;
}

static bool passes_on(tsr_op op)
{
    return op == TSR_OP_ROPE || op == TSR_OP_CLAMP;
}

/* Whether what node i makes reaches one of two ops, directly or through ops that only rotate or clamp; nodes come in
 * the order of the flow. */
static bool reaches(const tsr_graph *g, int64_t i, tsr_op op, tsr_op or_op)
{
    tsr_value whole = whole_of(g, g->nodes[i].out[0]);
    for (int64_t k = i + 1; k < g->n_nodes; k++) {
        const tsr_node *n = &g->nodes[k];
        if (!reads(g, n, whole)) continue;
        if (n->op == op || n->op == or_op) return true;
        if (passes_on(n->op) && reaches(g, k, op, or_op)) return true;
    }
    return false;
}

/* The op that made what node i reads. */
static tsr_op made_by(const tsr_graph *g, int64_t i)
{
    tsr_value whole = whole_of(g, g->nodes[i].in[0]);
    for (int64_t k = i - 1; k >= 0; k--) {
        const tsr_node *n = &g->nodes[k];
        for (int o = 0; o < n->n_outputs; o++)
            if (whole_of(g, n->out[o]) == whole) return n->op;
    }
    return TSR_OP_COUNT;
}

static tsr_stage stage_of_linear(const tsr_graph *g, int64_t i)
{
    if (g->values[g->nodes[i].out[0]].rows == TSR_ROWS_SELECTED) return TSR_STAGE_HEAD;
    if (reaches(g, i, TSR_OP_ATTENTION, TSR_OP_ATTENTION)) return TSR_STAGE_QKV;
    if (reaches(g, i, TSR_OP_ACT, TSR_OP_GATED)) return TSR_STAGE_FFN_UP;
    tsr_op from = made_by(g, i);
    if (from == TSR_OP_ATTENTION) return TSR_STAGE_ATTENTION_OUT;
    if (from == TSR_OP_ACT || from == TSR_OP_GATED || from == TSR_OP_GATED_LINEAR) return TSR_STAGE_FFN_DOWN;
    return TSR_STAGE_OTHER;
}

tsr_stage tsr_stage_of(const tsr_graph *g, int64_t node, bool alone)
{
    tsr_op op = g->nodes[node].op;
    if (alone && op == TSR_OP_REDUCE_ADD_NORM) return TSR_STAGE_NORM;
    if (tsr_op_table[op].shard == TSR_SHARD_COLLECTIVE) return TSR_STAGE_COLLECTIVE;
    switch (op) {
    case TSR_OP_EMBED:
        return TSR_STAGE_EMBED;
    case TSR_OP_NORM:
    case TSR_OP_ADD:
    case TSR_OP_ADD_NORM:
        return TSR_STAGE_NORM;
    case TSR_OP_ROPE:
    case TSR_OP_ATTENTION:
        return TSR_STAGE_ATTENTION;
    case TSR_OP_ACT:
    case TSR_OP_GATED:
    case TSR_OP_GATED_LINEAR:
        return TSR_STAGE_FFN_UP;
    case TSR_OP_LINEAR:
        return stage_of_linear(g, node);
    default:
        return TSR_STAGE_OTHER;
    }
}

/* --- Work --- */

bool tsr_step_only_decodes(const tsr_step *step)
{
    if (step->n_tokens != step->n_sequences || step->n_rows != step->n_tokens) return false;
    for (int32_t i = 0; i < step->n_rows; i++)
        if (step->rows[i] != i) return false;
    return true;
}

tsr_step_load tsr_step_get_load(const tsr_step *step)
{
    tsr_step_load l = {.tokens = step->n_tokens, .rows = step->n_rows, .decode = tsr_step_only_decodes(step)};
    for (int32_t i = 0; i < step->n_sequences; i++) {
        double old = step->sequences[i].position, new = step->sequences[i].n_tokens;
        l.cached += old + new;
        l.pairs += new *old + new *(new + 1) / 2;
    }
    return l;
}

static double elements(const tsr_graph *g, tsr_value v, const tsr_step_load *l)
{
    const tsr_value_info *info = &g->values[v];
    return (info->rows == TSR_ROWS_SELECTED ? l->rows : l->tokens) * (double)info->cols;
}

static void add_attention(const tsr_graph *g, const tsr_node *n, const tsr_step_load *l, int value_bytes,
                          tsr_work *w)
{
    const tsr_cache_layer *c = &g->model->cache_layers[n->attrs.attention.layer];
    double size = c->head_dim + c->value_dim;
    w->bytes += l->cached * c->kv_heads * size * value_bytes;
    w->flops += 2 * l->pairs * n->attrs.attention.heads * size;
}

tsr_work tsr_stage_work(const tsr_graph *g, int64_t node, const tsr_step_load *l, int value_bytes)
{
    const tsr_node *n = &g->nodes[node];
    tsr_work w = {0, 0};
    double rows = g->values[n->out[0]].rows == TSR_ROWS_SELECTED ? l->rows : l->tokens;
    for (int k = 0; k < n->n_inputs; k++) w.bytes += elements(g, n->in[k], l) * value_bytes;
    for (int k = 0; k < n->n_outputs; k++) w.bytes += elements(g, n->out[k], l) * value_bytes;
    if (n->op == TSR_OP_EMBED) w.bytes *= 2; /* rows of the table */
    if (n->op == TSR_OP_ATTENTION) add_attention(g, n, l, value_bytes, &w);
    if (n->op == TSR_OP_LINEAR || n->op == TSR_OP_GATED_LINEAR) {
        const tsr_weight_info *matrix = &g->model->weights[n->weight[0]];
        double size = (double)matrix->rows * (double)matrix->cols;
        w.bytes += size * value_bytes;
        w.flops += 2 * size * rows;
    }
    return w;
}
