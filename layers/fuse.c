/* fuse.c: the patterns of kernel injection. Each is one function over the node list of a graph. */
#include "layers/fuse.h"
#include "base/checked.h"
#include "layers/fuse_reduce.h"

#include <string.h>

enum { MAX_MERGED = 8 };

static int uses_of_weight(const tsr_model *m, tsr_weight w)
{
    int uses = 0;
    for (int i = 0; i < m->n_graphs; i++)
        for (int64_t k = 0; k < m->graphs[i].n_nodes; k++)
            for (int j = 0; j < m->graphs[i].nodes[k].n_weights; j++)
                uses += m->graphs[i].nodes[k].weight[j] == w;
    return uses;
}

static bool is_reduced(const tsr_graph *g, tsr_value v)
{
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == TSR_OP_ALL_REDUCE && g->nodes[i].in[0] == v) return true;
    return false;
}

static tsr_weight bias_of(const tsr_node *n)
{
    return n->n_weights > 1 ? n->weight[1] : TSR_NONE;
}

/* May n be merged with others? Shared weights (a tied head) and computed ones must stay as they are, and what is
 * summed over the ranks must be contiguous. */
static bool mergeable(const tsr_graph *g, const tsr_node *n)
{
    const tsr_weight_info *w = n->op == TSR_OP_LINEAR ? &g->model->weights[n->weight[0]] : NULL;
    return w && w->view && !w->unit_rows && w->scale == 0 && uses_of_weight(g->model, n->weight[0]) == 1 &&
           n->out[0] != g->output && !is_reduced(g, n->out[0]);
}

/* Weight k (0: matrix, 1: bias) of the members, one below the other. */
static tsr_status concat_weights(tsr_model *m, const tsr_node *const *member, int n, int k, tsr_weight *out)
{
    const tsr_view *part[MAX_MERGED], *whole;
    for (int i = 0; i < n; i++) part[i] = m->weights[member[i]->weight[k]].view;
    TSR_TRY(tsr_view_concat(m->arena, 0, n, part, &whole));
    return tsr_model_add_weight(m, m->weights[member[0]->weight[k]].name, whole, out);
}

static tsr_status merge(tsr_graph *g, const tsr_node *const *member, int n, tsr_node *merged)
{
    int64_t cols = 0;
    *merged = *member[0];
    TSR_TRY(concat_weights(g->model, member, n, 0, &merged->weight[0]));
    if (bias_of(member[0]) != TSR_NONE) TSR_TRY(concat_weights(g->model, member, n, 1, &merged->weight[1]));
    for (int i = 0; i < n; i++) cols += g->values[member[i]->out[0]].cols;
    TSR_TRY(tsr_graph_add_value(g, g->values[member[0]->out[0]].rows, cols, &merged->out[0]));
    int64_t offset = 0;
    for (int i = 0; i < n; i++) {
        tsr_value_info *window = &g->values[member[i]->out[0]];
        window->parent = merged->out[0];
        window->offset = offset;
        offset += window->cols;
    }
    return TSR_OK;
}

static void remove_marked(tsr_graph *g, const bool *dead)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (!dead[i]) g->nodes[kept++] = g->nodes[i];
    g->n_nodes = kept;
}

static tsr_status fuse_linears(tsr_graph *g, bool *dead, int *count)
{
    for (int64_t i = 0; i < g->n_nodes; i++) {
        if (dead[i] || !mergeable(g, &g->nodes[i])) continue;
        const tsr_node *member[MAX_MERGED] = {&g->nodes[i]};
        int64_t at[MAX_MERGED];
        int n = 1;
        for (int64_t j = i + 1; j < g->n_nodes && n < MAX_MERGED; j++) {
            const tsr_node *other = &g->nodes[j];
            if (dead[j] || !mergeable(g, other) || other->in[0] != g->nodes[i].in[0]) continue;
            if ((bias_of(other) == TSR_NONE) != (bias_of(&g->nodes[i]) == TSR_NONE)) continue;
            at[n] = j;
            member[n++] = other;
        }
        if (n == 1) continue;
        tsr_node merged;
        TSR_TRY(merge(g, member, n, &merged));
        g->nodes[i] = merged;
        for (int k = 1; k < n; k++) dead[at[k]] = true;
        ++*count;
    }
    return TSR_OK;
}

static void fuse_add_norms(tsr_graph *g, bool *dead, int *count)
{
    for (int64_t i = 0; i < g->n_nodes; i++) {
        tsr_node *add = &g->nodes[i];
        if (add->op != TSR_OP_ADD) continue;
        int64_t j = i + 1;
        while (j < g->n_nodes && !(g->nodes[j].op == TSR_OP_NORM && g->nodes[j].in[0] == add->out[0])) j++;
        if (j == g->n_nodes || dead[j]) continue;
        const tsr_node *norm = &g->nodes[j];
        add->op = TSR_OP_ADD_NORM;
        add->n_weights = norm->n_weights;
        memcpy(add->weight, norm->weight, sizeof add->weight);
        add->attrs = norm->attrs;
        add->n_outputs = 2;
        add->out[1] = add->out[0];
        add->out[0] = norm->out[0];
        dead[j] = true;
        ++*count;
    }
}

static int readers_of(const tsr_graph *g, const bool *dead, tsr_value v)
{
    int readers = v == g->output;
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_inputs; k++) readers += !dead[i] && g->nodes[i].in[k] == v;
    return readers;
}

/* The rope that makes v for one reader alone, from memory that nobody else reads: attention writes over q. A window's
 * neighbours are other columns. */
static tsr_node *rope_of(tsr_graph *g, const bool *dead, tsr_value v)
{
    for (int64_t i = 0; i < g->n_nodes; i++) {
        tsr_node *n = &g->nodes[i];
        if (dead[i] || n->op != TSR_OP_ROPE || n->out[0] != v) continue;
        tsr_value x = n->in[0], parent = g->values[x].parent;
        bool alone = readers_of(g, dead, v) == 1 && readers_of(g, dead, x) == 1;
        return alone && (parent == TSR_NONE || readers_of(g, dead, parent) == 0) ? n : NULL;
    }
    return NULL;
}

static bool same_rotation(const tsr_node *a, const tsr_node *b)
{
    return a->attrs.rope.rope == b->attrs.rope.rope && a->attrs.rope.style == b->attrs.rope.style &&
           a->attrs.rope.rotary_dim == b->attrs.rope.rotary_dim &&
           a->attrs.rope.head_dim == b->attrs.rope.head_dim;
}

static void fuse_ropes(tsr_graph *g, bool *dead, int *count)
{
    for (int64_t i = 0; i < g->n_nodes; i++) {
        tsr_node *attention = &g->nodes[i];
        if (attention->op != TSR_OP_ATTENTION || attention->attrs.attention.rotary_dim > 0) continue;
        tsr_node *q = rope_of(g, dead, attention->in[0]), *k = rope_of(g, dead, attention->in[1]);
        if (!q || !k || !same_rotation(q, k)) continue;
        if (q->attrs.rope.rotary_dim == 0 || q->attrs.rope.head_dim != attention->attrs.attention.head_dim)
            continue;
        attention->attrs.attention.rotary_dim = q->attrs.rope.rotary_dim;
        attention->attrs.attention.style = q->attrs.rope.style;
        attention->attrs.attention.rope = q->attrs.rope.rope;
        attention->in[0] = q->in[0];
        attention->in[1] = k->in[0];
        dead[q - g->nodes] = dead[k - g->nodes] = true;
        ++*count;
    }
}

static tsr_status fuse_graph(tsr_graph *g, tsr_fuse_report *report)
{
    void *p;
    TSR_TRY(tsr_calloc(g->n_nodes, sizeof(bool), "the fusion pass", &p));
    bool *dead = p;
    tsr_status status = fuse_linears(g, dead, &report->linears);
    if (status == TSR_OK) {
        remove_marked(g, dead);
        memset(dead, 0, (size_t)g->n_nodes);
        fuse_add_norms(g, dead, &report->add_norms);
        remove_marked(g, dead);
        memset(dead, 0, (size_t)g->n_nodes);
        fuse_ropes(g, dead, &report->ropes);
        remove_marked(g, dead);
    }
    tsr_free(p);
    return status;
}

tsr_status tsr_kernels_choice_of(const char *name, tsr_kernels_choice *out)
{
    static const char *const names[] = {
        [TSR_KERNELS_AUTO] = "auto", [TSR_KERNELS_INJECT] = "inject", [TSR_KERNELS_REFERENCE] = "reference"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (tsr_kernels_choice)i;
            return TSR_OK;
        }
    return tsr_fail(TSR_ERR_USAGE, "kernels must be auto, inject or reference, found \"%s\"", name);
}

tsr_status tsr_fuse(tsr_model *local, tsr_kernels_choice choice, tsr_fuse_report *report)
{
    *report = (tsr_fuse_report){0};
    if (choice == TSR_KERNELS_REFERENCE) return TSR_OK;
    for (int i = 0; i < local->n_graphs; i++) TSR_TRY(fuse_graph(&local->graphs[i], report));
    for (int i = 0; i < local->n_graphs; i++) tsr_fuse_reductions(&local->graphs[i], &report->reductions);
    return TSR_OK;
}
