/* domains.c: joins values into domains, decides which are split, and deals their units to the ranks. */
#include "parallel/domains.h"
#include "base/checked.h"

static int find(const tsr_domains *d, int v)
{
    while (d->parent[v] != v) {
        d->parent[v] = d->parent[d->parent[v]];
        v = d->parent[v];
    }
    return v;
}

tsr_domain *tsr_domain_of(const tsr_domains *d, tsr_value v)
{
    return &d->domain[find(d, v)];
}

static void join(tsr_domains *d, tsr_value a, tsr_value b)
{
    a = find(d, a);
    b = find(d, b);
    if (a != b) d->parent[b] = a;
}

/* Ops whose inputs and output are cut alike. */
static bool works_by_column(tsr_op op)
{
    switch (tsr_op_table[op].shard) {
    case TSR_SHARD_ELEMENTWISE:
    case TSR_SHARD_SUM:
    case TSR_SHARD_SELECT:
        return true;
    case TSR_SHARD_PER_HEAD:
        return op != TSR_OP_ATTENTION;
    default:
        return false;
    }
}

static void join_values(tsr_domains *d, const tsr_graph *g)
{
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        if (n->op == TSR_OP_ATTENTION) {
            join(d, n->in[0], n->out[0]);
            join(d, n->in[1], n->in[2]);
        } else if (works_by_column(n->op)) {
            for (int k = 0; k < n->n_inputs; k++) join(d, n->in[k], n->out[0]);
        }
    }
}

static void set_units(tsr_domains *d, const tsr_graph *g)
{
    for (int64_t v = 0; v < d->n_values; v++)
        d->domain[v] =
            (tsr_domain){.units = g->values[v].cols, .split = true, .queries = TSR_NONE, .keys = TSR_NONE};
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        if (n->op == TSR_OP_ROPE) tsr_domain_of(d, n->out[0])->units = n->attrs.rope.heads;
        if (n->op != TSR_OP_ATTENTION) continue;
        tsr_domain *q = tsr_domain_of(d, n->in[0]), *kv = tsr_domain_of(d, n->in[1]);
        q->units = n->attrs.attention.heads;
        q->group = n->attrs.attention.group;
        kv->units = n->attrs.attention.kv_heads;
        q->keys = find(d, n->in[1]);
        kv->queries = find(d, n->in[0]);
    }
}

/* Domains that whole-row ops make or use stay whole, and so do outputs that no linear makes. */
static void keep_whole_rows(tsr_domains *d, const tsr_graph *g)
{
    bool output_from_linear = false;
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        tsr_shard_class c = tsr_op_table[n->op].shard;
        if (c == TSR_SHARD_LINEAR && n->out[0] == g->output) output_from_linear = true;
        if (c != TSR_SHARD_ROWWISE && c != TSR_SHARD_SOURCE && c != TSR_SHARD_COLLECTIVE) continue;
        for (int k = 0; k < n->n_inputs; k++) tsr_domain_of(d, n->in[k])->split = false;
        for (int k = 0; k < n->n_outputs; k++) tsr_domain_of(d, n->out[k])->split = false;
    }
    if (g->output != TSR_NONE && !output_from_linear) tsr_domain_of(d, g->output)->split = false;
}

/* Queries and keys are split together or not at all; a linear between two splits keeps its output whole, but the one
 * that makes the graph's output its input: logits are the largest product. */
static void settle(tsr_domains *d, const tsr_graph *g)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (int64_t i = 0; i < g->n_nodes; i++) {
            const tsr_node *n = &g->nodes[i];
            tsr_domain *in = n->n_inputs ? tsr_domain_of(d, n->in[0]) : NULL,
                       *out = tsr_domain_of(d, n->out[0]);
            if (n->op == TSR_OP_ATTENTION) {
                tsr_domain *kv = tsr_domain_of(d, n->in[1]);
                if (in->split != kv->split) in->split = kv->split = false, changed = true;
            } else if (n->op == TSR_OP_LINEAR && in->split && out->split) {
                (n->out[0] == g->output ? in : out)->split = false;
                changed = true;
            }
        }
    }
}

static tsr_status new_ranges(tsr_arena *arena, int ranks, tsr_range **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_arena_alloc(arena, ranks * (int64_t)sizeof(tsr_range), &p));
    *out = p;
    return TSR_OK;
}

static void deal_evenly(int64_t units, int ranks, int64_t grain, tsr_range *r)
{
    int64_t grains = units / grain, each = grains / ranks, more = grains % ranks, at = 0;
    for (int i = 0; i < ranks; i++) {
        r[i].begin = at;
        at += (each + (i < more)) * grain;
        r[i].end = at;
    }
    r[ranks - 1].end = units;
}

tsr_status tsr_deal(tsr_arena *arena, int64_t units, int ranks, const tsr_range **out)
{
    enum { PANEL = 32, LARGE = 8 * PANEL };
    tsr_range *r;
    TSR_TRY(new_ranges(arena, ranks, &r));
    deal_evenly(units, ranks, units / ranks >= LARGE ? PANEL : 1, r);
    *out = r;
    return TSR_OK;
}

/* The kv heads that query heads [q.begin, q.end) read. */
static tsr_range covering(tsr_range q, int group)
{
    return (tsr_range){q.begin / group, (q.end + group - 1) / group};
}

/* The largest share of attention weights among the ranks, in heads: query and output projections, keys and
 * values. */
static int64_t largest_share(const tsr_range *r, int ranks, int group)
{
    int64_t worst = 0;
    for (int i = 0; i < ranks; i++) {
        tsr_range kv = covering(r[i], group);
        worst = tsr_max(worst, 2 * (r[i].end - r[i].begin) + 2 * (kv.end - kv.begin));
    }
    return worst;
}

/* Deals query heads between or inside kv groups, whichever leaves the smaller largest share. */
static tsr_status deal_heads(tsr_arena *arena, tsr_domain *q, tsr_domain *kv, int ranks)
{
    tsr_range *by_head, *by_group, *keys;
    TSR_TRY(new_ranges(arena, ranks, &by_head));
    TSR_TRY(new_ranges(arena, ranks, &by_group));
    TSR_TRY(new_ranges(arena, ranks, &keys));
    deal_evenly(q->units, ranks, 1, by_head);
    deal_evenly(q->units, ranks, q->group, by_group);
    bool whole_groups = kv->units >= ranks &&
                        largest_share(by_group, ranks, q->group) <= largest_share(by_head, ranks, q->group);
    q->ranges = whole_groups ? by_group : by_head;
    for (int i = 0; i < ranks; i++) keys[i] = covering(q->ranges[i], q->group);
    kv->ranges = keys;
    return TSR_OK;
}

static tsr_status deal_domains(tsr_arena *arena, tsr_domains *d)
{
    for (int v = 0; v < d->n_values; v++) {
        tsr_domain *q = &d->domain[v];
        if (find(d, v) != v || !q->split || q->queries != TSR_NONE) continue;
        if (q->keys != TSR_NONE)
            TSR_TRY(deal_heads(arena, q, tsr_domain_of(d, q->keys), d->ranks));
        else
            TSR_TRY(tsr_deal(arena, q->units, d->ranks, &q->ranges));
    }
    return TSR_OK;
}

static void keep_small_whole(tsr_domains *d)
{
    for (int v = 0; v < d->n_values; v++)
        if (find(d, v) == v && d->domain[v].queries == TSR_NONE && d->domain[v].units < d->ranks)
            d->domain[v].split = false;
}

tsr_status tsr_domains_build(tsr_arena *arena, const tsr_graph *g, int ranks, tsr_domains *out)
{
    void *parent, *domain;
    *out = (tsr_domains){.ranks = ranks, .n_values = g->n_values};
    TSR_TRY(tsr_arena_alloc(arena, g->n_values * (int64_t)sizeof(int), &parent));
    TSR_TRY(tsr_arena_alloc(arena, g->n_values * (int64_t)sizeof(tsr_domain), &domain));
    out->parent = parent;
    out->domain = domain;
    for (int v = 0; v < g->n_values; v++) out->parent[v] = v;
    join_values(out, g);
    set_units(out, g);
    keep_whole_rows(out, g);
    keep_small_whole(out);
    settle(out, g);
    return deal_domains(arena, out);
}
