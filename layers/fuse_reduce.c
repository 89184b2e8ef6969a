/* fuse_reduce.c: which sums over the ranks become one op with the norm behind them, and which of those deal rows. */
#include "layers/fuse_reduce.h"

#include <string.h>

static int64_t maker_of(const tsr_graph *g, tsr_value v)
{
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_outputs; k++)
            if (g->nodes[i].out[k] == v) return i;
    return TSR_NONE;
}

static int uses_of(const tsr_graph *g, tsr_value v)
{
    int uses = g->output == v;
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_inputs; k++) uses += g->nodes[i].in[k] == v;
    return uses;
}

static void remove_node(tsr_graph *g, int64_t at)
{
    g->n_nodes--;
    memmove(&g->nodes[at], &g->nodes[at + 1], (size_t)(g->n_nodes - at) * sizeof *g->nodes);
}

/* Joins the add_norm at i with an all_reduce that it alone reads; that stands before it. */
static bool join(tsr_graph *g, int64_t i)
{
    tsr_node *n = &g->nodes[i];
    for (int k = 0; k < 2; k++) {
        int64_t reduce = maker_of(g, n->in[k]);
        if (reduce == TSR_NONE || g->nodes[reduce].op != TSR_OP_ALL_REDUCE) continue;
        if (uses_of(g, n->in[k]) > 1) continue;
        tsr_value residual = n->in[!k];
        n->op = TSR_OP_REDUCE_ADD_NORM;
        n->in[0] = g->nodes[reduce].in[0];
        n->in[1] = residual;
        n->attrs.norm.dealt = true;
        remove_node(g, reduce);
        return true;
    }
    return false;
}

/* Is v read by anything but dealt ops that add to it? Those get by with the rows that a rank owns. */
static bool needed_whole(const tsr_graph *g, tsr_value v)
{
    if (g->output == v) return true;
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        for (int k = 0; k < n->n_inputs; k++)
            if (n->in[k] == v && !(k == 1 && n->op == TSR_OP_REDUCE_ADD_NORM && n->attrs.norm.dealt))
                return true;
    }
    return false;
}

static bool is_whole(const tsr_graph *g, tsr_value v)
{
    int64_t i = maker_of(g, v);
    const tsr_node *n = i == TSR_NONE ? NULL : &g->nodes[i];
    return !n || n->op != TSR_OP_REDUCE_ADD_NORM || !n->attrs.norm.dealt || n->attrs.norm.whole_sum;
}

/* Decides which fused sums are dealt. One that starts from a whole residual and must yield a whole sum is not: to
 * fetch two results costs more than to make them. That may make the sum in front of it needed whole, and so on. */
static void deal_rows(tsr_graph *g)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (int64_t i = 0; i < g->n_nodes; i++) {
            tsr_node *n = &g->nodes[i];
            if (n->op != TSR_OP_REDUCE_ADD_NORM || !n->attrs.norm.dealt) continue;
            n->attrs.norm.whole_sum = needed_whole(g, n->out[1]);
            if (!n->attrs.norm.whole_sum || !is_whole(g, n->in[1])) continue;
            n->attrs.norm.dealt = n->attrs.norm.whole_sum = false;
            changed = true;
        }
    }
}

void tsr_fuse_reductions(tsr_graph *g, int *count)
{
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == TSR_OP_ADD_NORM && join(g, i)) {
            i--;
            ++*count;
        }
    deal_rows(g);
}
