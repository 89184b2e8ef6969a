/* fuse_gated.c: a linear whose halves a gate alone reads, and the gate, become one op. */
#include "layers/fuse.h"

static int readers(const tsr_graph *g, const bool *dead, tsr_value v)
{
    int n = g->output == v;
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; !dead[i] && k < g->nodes[i].n_inputs; k++) n += g->nodes[i].in[k] == v;
    return n;
}

/* Windows of v other than a and b that somebody reads. */
static bool has_other_windows(const tsr_graph *g, const bool *dead, tsr_value v, tsr_value a, tsr_value b)
{
    for (tsr_value w = 0; w < g->n_values; w++)
        if (g->values[w].parent == v && w != a && w != b && readers(g, dead, w) > 0) return true;
    return false;
}

static tsr_node *maker_of(const tsr_graph *g, const bool *dead, tsr_value v)
{
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (!dead[i] && g->nodes[i].out[0] == v) return &g->nodes[i];
    return NULL;
}

/* The linear that makes [gate | up] for this gate and for nobody else, or NULL. */
static tsr_node *linear_of(const tsr_graph *g, const bool *dead, const tsr_node *gated)
{
    tsr_value a = gated->in[0], b = gated->in[1];
    const tsr_value_info *gate = &g->values[a], *up = &g->values[b];
    tsr_value both = gate->parent;
    if (both == TSR_NONE || up->parent != both || a == b) return NULL;
    if (gate->offset != 0 || up->offset != gate->cols || g->values[both].cols != 2 * gate->cols) return NULL;
    if (readers(g, dead, a) != 1 || readers(g, dead, b) != 1 || readers(g, dead, both) != 0) return NULL;
    if (has_other_windows(g, dead, both, a, b)) return NULL;
    tsr_node *linear = maker_of(g, dead, both);
    return linear && linear->op == TSR_OP_LINEAR ? linear : NULL;
}

static tsr_status fuse_graph(tsr_graph *g, int *count)
{
    void *p;
    TSR_TRY(tsr_calloc(g->n_nodes, sizeof(bool), "the fusion pass", &p));
    bool *dead = p;
    for (int64_t i = 0; i < g->n_nodes; i++) {
        tsr_node *gated = &g->nodes[i];
        tsr_node *linear = gated->op == TSR_OP_GATED ? linear_of(g, dead, gated) : NULL;
        if (!linear) continue;
        gated->op = TSR_OP_GATED_LINEAR;
        gated->n_inputs = 1;
        gated->in[0] = linear->in[0];
        gated->n_weights = linear->n_weights;
        for (int k = 0; k < TSR_MAX_WEIGHTS; k++) gated->weight[k] = linear->weight[k];
        dead[linear - g->nodes] = true;
        ++*count;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (!dead[i]) g->nodes[kept++] = g->nodes[i];
    g->n_nodes = kept;
    tsr_free(p);
    return TSR_OK;
}

tsr_status tsr_fuse_gated_linears(tsr_model *local, int *count)
{
    *count = 0;
    for (int i = 0; i < local->n_graphs; i++) TSR_TRY(fuse_graph(&local->graphs[i], count));
    return TSR_OK;
}
