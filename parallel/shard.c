/* shard.c: layouts and placements of a whole model, and the local model of one rank. */
#include "parallel/shard.h"
#include "base/checked.h"
#include "parallel/domains.h"

#include <assert.h>
#include <string.h>

/* What was decided for one graph. */
typedef struct graph_plan {
    tsr_domains domains;
    tsr_layout *layout;     /* [n_values] */
    int64_t *reduce_before; /* [n_values] node in front of which the partial value is summed, or TSR_NONE */
    const tsr_reduction *list; /* [n_reductions] in order */
    int64_t n_reductions;
} graph_plan;

struct tsr_sharding {
    tsr_model *model;
    int ranks;
    tsr_arena *arena;
    tsr_placement *placement; /* [n_weights] */
    bool *placed;             /* [n_weights] */
    graph_plan graph[TSR_MAX_GRAPHS];
};

/* --- Placements --- */

static bool same_ranges(const tsr_range *a, const tsr_range *b, int ranks)
{
    return a == b || (a && b && memcmp(a, b, (size_t)ranks * sizeof *a) == 0);
}

static tsr_status place(tsr_sharding *s, tsr_weight w, tsr_placement p)
{
    if (w == TSR_NONE) return TSR_OK;
    tsr_placement *old = &s->placement[w];
    if (s->placed[w] &&
        !(same_ranges(old->rows, p.rows, s->ranks) && same_ranges(old->cols, p.cols, s->ranks) &&
          old->first_rank_only == p.first_rank_only))
        return tsr_fail(TSR_ERR_INTERNAL, "weight %s is needed in two different cuts",
                        s->model->weights[w].name);
    *old = p;
    s->placed[w] = true;
    return TSR_OK;
}

/* Columns of value v that each rank holds: its domain's units times the columns per unit. */
static tsr_status column_ranges(tsr_sharding *s, const graph_plan *p, const tsr_graph *g, tsr_value v,
                                const tsr_range **out)
{
    const tsr_domain *d = tsr_domain_of(&p->domains, v);
    int64_t each = g->values[v].cols / d->units;
    void *mem;
    *out = NULL;
    TSR_TRY(tsr_arena_alloc(s->arena, s->ranks * (int64_t)sizeof(tsr_range), &mem));
    tsr_range *r = mem;
    for (int i = 0; i < s->ranks; i++) r[i] = (tsr_range){d->ranges[i].begin * each, d->ranges[i].end * each};
    *out = r;
    return TSR_OK;
}

/* --- Layouts: one forward pass --- */

static bool is_pending(const graph_plan *p, tsr_value v)
{
    return p->layout[v] == TSR_LAYOUT_PARTIAL && p->reduce_before[v] == TSR_NONE;
}

static void reduce_inputs(graph_plan *p, const tsr_node *n, int64_t at)
{
    for (int k = 0; k < n->n_inputs; k++)
        if (is_pending(p, n->in[k])) p->reduce_before[n->in[k]] = at;
}

static bool all_pending(const graph_plan *p, const tsr_node *n)
{
    for (int k = 0; k < n->n_inputs; k++)
        if (!is_pending(p, n->in[k])) return false;
    return true;
}

static tsr_status place_linear(tsr_sharding *s, graph_plan *p, const tsr_graph *g, const tsr_node *n)
{
    bool in_split = p->layout[n->in[0]] == TSR_LAYOUT_SPLIT,
         out_split = tsr_domain_of(&p->domains, n->out[0])->split;
    tsr_placement w = {0}, bias = {0};
    if (in_split) {
        TSR_TRY(column_ranges(s, p, g, n->in[0], &w.cols));
        bias.first_rank_only = true;
        p->layout[n->out[0]] = TSR_LAYOUT_PARTIAL;
    } else if (out_split) {
        TSR_TRY(column_ranges(s, p, g, n->out[0], &w.rows));
        bias.rows = w.rows;
        p->layout[n->out[0]] = TSR_LAYOUT_SPLIT;
    }
    TSR_TRY(place(s, n->weight[0], w));
    return n->n_weights > 1 ? place(s, n->weight[1], bias) : TSR_OK;
}

/* A token table is split by vocabulary; one that is also the head's weight exactly as the head is. */
static tsr_status place_embedding(tsr_sharding *s, graph_plan *p, const tsr_graph *g, const tsr_node *n)
{
    tsr_placement w = {0};
    int64_t rows = s->model->weights[n->weight[0]].rows;
    bool shared = false;
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *user = &g->nodes[i];
        if (user->op != TSR_OP_LINEAR || user->weight[0] != n->weight[0]) continue;
        shared = true;
        if (tsr_domain_of(&p->domains, user->out[0])->split)
            TSR_TRY(column_ranges(s, p, g, user->out[0], &w.rows));
    }
    if (!shared && n->attrs.embed.index == TSR_EMBED_IDS && s->ranks > 1 && rows >= s->ranks)
        TSR_TRY(tsr_deal(s->arena, rows, s->ranks, &w.rows));
    if (w.rows) p->layout[n->out[0]] = TSR_LAYOUT_PARTIAL;
    return place(s, n->weight[0], w);
}

static tsr_status lay_out_node(tsr_sharding *s, graph_plan *p, const tsr_graph *g, int64_t i)
{
    const tsr_node *n = &g->nodes[i];
    tsr_shard_class c = tsr_op_table[n->op].shard;
    if ((c == TSR_SHARD_SUM || c == TSR_SHARD_SELECT) && all_pending(p, n)) {
        p->layout[n->out[0]] = TSR_LAYOUT_PARTIAL;
        return TSR_OK;
    }
    reduce_inputs(p, n, i);
    if (c == TSR_SHARD_LINEAR) return place_linear(s, p, g, n);
    if (c == TSR_SHARD_SOURCE) return place_embedding(s, p, g, n);
    for (int k = 0; k < n->n_weights; k++) TSR_TRY(place(s, n->weight[k], (tsr_placement){0}));
    for (int k = 0; k < n->n_outputs; k++)
        if (tsr_domain_of(&p->domains, n->out[k])->split) p->layout[n->out[k]] = TSR_LAYOUT_SPLIT;
    return TSR_OK;
}

/* The layer that owes the sum: that of the op which made the value. */
static int layer_of_value(const tsr_graph *g, tsr_value v)
{
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_outputs; k++)
            if (g->nodes[i].out[k] == v) return g->nodes[i].layer;
    return TSR_NONE;
}

/* Lists the reductions in the order in which they happen; returns their number. */
static int64_t list_reductions(const graph_plan *p, const tsr_graph *g, tsr_reduction *list)
{
    int64_t count = 0;
    for (int64_t at = 0; at <= g->n_nodes; at++)
        for (int k = 0; k < (at < g->n_nodes ? g->nodes[at].n_inputs : 1); k++) {
            tsr_value v = at < g->n_nodes ? g->nodes[at].in[k] : g->output;
            bool again = at < g->n_nodes && k > 0 && v == g->nodes[at].in[0];
            if (v == TSR_NONE || p->reduce_before[v] != at || again) continue;
            if (list)
                list[count] = (tsr_reduction){layer_of_value(g, v), g->values[v].rows, g->values[v].cols};
            count++;
        }
    return count;
}

static tsr_status lay_out_graph(tsr_sharding *s, int index)
{
    const tsr_graph *g = &s->model->graphs[index];
    graph_plan *p = &s->graph[index];
    void *layout, *reduce, *list;
    TSR_TRY(tsr_domains_build(s->arena, g, s->ranks, &p->domains));
    TSR_TRY(tsr_arena_alloc(s->arena, g->n_values * (int64_t)sizeof(tsr_layout), &layout));
    TSR_TRY(tsr_arena_alloc(s->arena, g->n_values * (int64_t)sizeof(int64_t), &reduce));
    p->layout = layout;
    p->reduce_before = reduce;
    for (int64_t v = 0; v < g->n_values; v++) {
        p->layout[v] = TSR_LAYOUT_REPLICATED;
        p->reduce_before[v] = TSR_NONE;
    }
    for (int64_t i = 0; i < g->n_nodes; i++) TSR_TRY(lay_out_node(s, p, g, i));
    if (g->output != TSR_NONE && is_pending(p, g->output)) p->reduce_before[g->output] = g->n_nodes;
    p->n_reductions = list_reductions(p, g, NULL);
    TSR_TRY(tsr_arena_alloc(s->arena, p->n_reductions * (int64_t)sizeof(tsr_reduction), &list));
    list_reductions(p, g, list);
    p->list = list;
    return TSR_OK;
}

tsr_status tsr_sharding_derive(tsr_model *model, int ranks, tsr_sharding **out)
{
    void *p, *placement, *placed;
    *out = NULL;
    if (ranks < 1 || ranks > TSR_MAX_RANKS)
        return tsr_fail(TSR_ERR_USAGE, "the number of ranks must lie in 1..%d, found %d", TSR_MAX_RANKS,
                        ranks);
    TSR_TRY(tsr_calloc(1, sizeof(tsr_sharding), "the sharding", &p));
    tsr_sharding *s = p;
    tsr_status status;
    s->model = model;
    s->ranks = ranks;
    TSR_TRY_OUT(tsr_arena_create("the sharding", &s->arena));
    TSR_TRY_OUT(tsr_arena_alloc(s->arena, model->n_weights * (int64_t)sizeof(tsr_placement), &placement));
    TSR_TRY_OUT(tsr_arena_alloc(s->arena, model->n_weights, &placed));
    s->placement = placement;
    s->placed = placed;
    for (int i = 0; i < model->n_graphs; i++) TSR_TRY_OUT(lay_out_graph(s, i));
    *out = s;
    return TSR_OK;
out:
    tsr_sharding_destroy(&s);
    return status;
}

void tsr_sharding_destroy(tsr_sharding **s)
{
    if (!*s) return;
    tsr_arena_destroy(&(*s)->arena);
    tsr_free(*s);
    *s = NULL;
}

int tsr_sharding_ranks(const tsr_sharding *s)
{
    return s->ranks;
}

const tsr_placement *tsr_sharding_placement(const tsr_sharding *s, tsr_weight w)
{
    return &s->placement[w];
}

static int64_t extent(const tsr_range *r, int rank, int64_t whole)
{
    return r ? r[rank].end - r[rank].begin : whole;
}

int64_t tsr_sharding_elements(const tsr_sharding *s, tsr_weight w, int rank)
{
    const tsr_placement *p = &s->placement[w];
    const tsr_weight_info *info = &s->model->weights[w];
    if (p->first_rank_only && rank > 0) return 0;
    return extent(p->rows, rank, info->rows) * extent(p->cols, rank, info->cols);
}

tsr_status tsr_sharding_reductions(const tsr_sharding *s, int graph, const tsr_reduction **list, int64_t *n)
{
    if (graph < 0 || graph >= s->model->n_graphs) return tsr_fail(TSR_ERR_INTERNAL, "no graph %d", graph);
    *list = s->graph[graph].list;
    *n = s->graph[graph].n_reductions;
    return TSR_OK;
}

/* --- One rank's model --- */

static tsr_status localize_weight(const tsr_sharding *s, int rank, tsr_weight w, tsr_model *local)
{
    const tsr_weight_info *info = &s->model->weights[w];
    const tsr_placement *p = &s->placement[w];
    const tsr_view *view = info->view;
    tsr_weight same; /* numbers stay as they are, so nodes need no translation */
    if (info->rule && (p->rows || p->cols))
        return tsr_fail(TSR_ERR_INTERNAL, "weight %s is computed and cannot be split", info->name);
    if (info->rule)
        return tsr_model_add_computed(local, info->name, info->rule, info->rows, info->cols, &same);
    if (p->rows)
        TSR_TRY(tsr_view_slice(local->arena, view, 0, p->rows[rank].begin, p->rows[rank].end, &view));
    if (p->cols)
        TSR_TRY(tsr_view_slice(local->arena, view, 1, p->cols[rank].begin, p->cols[rank].end, &view));
    TSR_TRY(tsr_model_add_weight(local, info->name, view, &same));
    assert(same == w);
    if (info->unit_rows && p->cols)
        return tsr_fail(TSR_ERR_INTERNAL, "%s: rows of length 1 cannot be cut", info->name);
    local->weights[same].unit_rows = info->unit_rows;
    local->weights[same].scale = info->scale;
    return TSR_OK;
}

static tsr_status localize_weights(const tsr_sharding *s, int rank, tsr_model *local)
{
    for (tsr_weight w = 0; w < s->model->n_weights; w++) TSR_TRY(localize_weight(s, rank, w, local));
    return TSR_OK;
}

static int64_t local_cols(const graph_plan *p, const tsr_graph *g, tsr_value v, int rank)
{
    int64_t cols = g->values[v].cols;
    if (p->layout[v] != TSR_LAYOUT_SPLIT) return cols;
    const tsr_domain *d = tsr_domain_of(&p->domains, v);
    return (d->ranges[rank].end - d->ranges[rank].begin) * (cols / d->units);
}

static void localize_attrs(const tsr_sharding *s, const graph_plan *p, int rank, tsr_node *n,
                           tsr_model *local)
{
    if (n->op == TSR_OP_EMBED) {
        const tsr_range *rows = s->placement[n->weight[0]].rows;
        if (rows) n->attrs.embed.first_row = (long)rows[rank].begin;
    } else if (n->op == TSR_OP_ROPE && p->layout[n->out[0]] == TSR_LAYOUT_SPLIT) {
        const tsr_range *r = tsr_domain_of(&p->domains, n->out[0])->ranges;
        n->attrs.rope.heads = (int)(r[rank].end - r[rank].begin);
    } else if (n->op == TSR_OP_ATTENTION && p->layout[n->out[0]] == TSR_LAYOUT_SPLIT) {
        tsr_range q = tsr_domain_of(&p->domains, n->in[0])->ranges[rank];
        tsr_range kv = tsr_domain_of(&p->domains, n->in[1])->ranges[rank];
        n->attrs.attention.heads = (int)(q.end - q.begin);
        n->attrs.attention.kv_heads = (int)(kv.end - kv.begin);
        n->attrs.attention.first_head = (int)q.begin;
        n->attrs.attention.first_kv = (int)kv.begin;
        local->cache_layers[n->attrs.attention.layer].kv_heads = n->attrs.attention.kv_heads;
    }
}

/* Sums the partial value v over the ranks; *now[v] becomes the summed value. */
static tsr_status add_reduction(tsr_graph *out, tsr_value v, int layer, tsr_value *now)
{
    tsr_node n = {.op = TSR_OP_ALL_REDUCE, .n_inputs = 1, .n_outputs = 1, .in = {now[v]}, .layer = layer};
    TSR_TRY(tsr_graph_add_value(out, out->values[now[v]].rows, out->values[now[v]].cols, &n.out[0]));
    now[v] = n.out[0];
    return tsr_graph_add_node(out, &n);
}

static tsr_status localize_nodes(const tsr_sharding *s, int index, int rank, tsr_model *local, tsr_graph *out,
                                 tsr_value *now)
{
    const tsr_graph *g = &s->model->graphs[index];
    const graph_plan *p = &s->graph[index];
    for (int64_t i = 0; i < g->n_nodes; i++) {
        tsr_node n = g->nodes[i];
        for (int k = 0; k < n.n_inputs; k++) {
            bool again = k > 0 && n.in[k] == g->nodes[i].in[0];
            if (p->reduce_before[n.in[k]] == i && !again) TSR_TRY(add_reduction(out, n.in[k], n.layer, now));
        }
        for (int k = 0; k < n.n_inputs; k++) n.in[k] = now[n.in[k]];
        localize_attrs(s, p, rank, &n, local);
        for (int k = 0; k < n.n_weights; k++)
            if (n.weight[k] != TSR_NONE && s->placement[n.weight[k]].first_rank_only && rank > 0)
                n.weight[k] = TSR_NONE;
        for (int k = 0; k < n.n_outputs; k++) n.out[k] = now[n.out[k]];
        TSR_TRY(tsr_graph_add_node(out, &n));
    }
    return TSR_OK;
}

static tsr_status localize_graph(const tsr_sharding *s, int index, int rank, tsr_model *local)
{
    const tsr_graph *g = &s->model->graphs[index];
    const graph_plan *p = &s->graph[index];
    tsr_graph *out;
    void *mem;
    TSR_TRY(tsr_model_add_graph(local, g->name, &out));
    TSR_TRY(tsr_alloc(g->n_values * (int64_t)sizeof(tsr_value), "the sharding", &mem));
    tsr_value *now = mem; /* value of g -> its latest form in out */
    tsr_status status = TSR_OK;
    for (tsr_value v = 0; v < g->n_values && status == TSR_OK; v++)
        status = tsr_graph_add_value(out, g->values[v].rows, local_cols(p, g, v, rank), &now[v]);
    if (status == TSR_OK) status = localize_nodes(s, index, rank, local, out, now);
    if (status == TSR_OK && g->output != TSR_NONE) {
        if (p->reduce_before[g->output] == g->n_nodes) status = add_reduction(out, g->output, TSR_NONE, now);
        out->output = now[g->output];
        if (p->layout[g->output] == TSR_LAYOUT_SPLIT)
            out->output_first = tsr_domain_of(&p->domains, g->output)->ranges[rank].begin;
    }
    tsr_free(mem);
    return status;
}

tsr_status tsr_sharding_localize(const tsr_sharding *s, int rank, tsr_model **out)
{
    const tsr_model *m = s->model;
    tsr_model *local = NULL;
    tsr_status status;
    int index;
    *out = NULL;
    TSR_TRY_OUT(tsr_model_create(&local));
    local->family = m->family;
    local->name_prefix = m->name_prefix;
    local->vocabulary = m->vocabulary;
    local->max_positions = m->max_positions;
    local->prefix = m->prefix;
    local->task = m->task;
    local->classifier = m->classifier;
    local->positions_are_hard = m->positions_are_hard;
    for (int64_t i = 0; i < m->n_ropes; i++) TSR_TRY_OUT(tsr_model_add_rope(local, &m->ropes[i], &index));
    for (int64_t i = 0; i < m->n_cache_layers; i++)
        TSR_TRY_OUT(tsr_model_add_cache_layer(local, m->cache_layers[i], &index));
    TSR_TRY_OUT(localize_weights(s, rank, local));
    for (int i = 0; i < m->n_graphs; i++) TSR_TRY_OUT(localize_graph(s, i, rank, local));
    *out = local;
    return TSR_OK;
out:
    tsr_model_destroy(&local);
    return status;
}
