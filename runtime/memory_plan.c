/* memory_plan.c: liveness, sharing in place, and first-fit placement of the rest. */
#include "runtime/memory_plan.h"
#include "base/checked.h"

typedef struct life {
    int64_t born, dies; /* node indices; -1: never made */
    tsr_value root;     /* the value whose memory it lies in; itself unless it shares */
    int64_t shift;      /* columns from the root's first */
} life;

enum { ALIGN_FLOATS = 16 };

static void find_lives(const tsr_graph *g, life *l)
{
    for (tsr_value v = 0; v < g->n_values; v++) l[v] = (life){.born = -1, .dies = -1, .root = v};
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        for (int k = 0; k < n->n_outputs; k++) l[n->out[k]].born = l[n->out[k]].dies = i;
        for (int k = 0; k < n->n_inputs; k++) l[n->in[k]].dies = i;
    }
    if (g->output != TSR_NONE) l[g->output].dies = g->n_nodes;
}

/* Windows are made when their parent is, and keep it alive. */
static void resolve_windows(const tsr_graph *g, life *l)
{
    for (tsr_value v = 0; v < g->n_values; v++) {
        tsr_value parent = g->values[v].parent;
        if (parent == TSR_NONE) continue;
        l[v].born = l[parent].born;
        l[v].root = parent;
        l[v].shift = g->values[v].offset;
        l[parent].dies = tsr_max(l[parent].dies, l[v].dies);
    }
}

/* May output `out` of an op lie over its input `in`? */
static bool works_in_place(tsr_op op, int out, int in)
{
    switch (op) {
    case TSR_OP_ADD:
        return true;
    case TSR_OP_ADD_NORM:
        return out == 1;
    case TSR_OP_REDUCE_ADD_NORM:
        return out == in;
    case TSR_OP_ACT:
    case TSR_OP_CLAMP:
    case TSR_OP_GATED:
    case TSR_OP_ROPE:
    case TSR_OP_NORM:
    case TSR_OP_ALL_REDUCE:
        return in == 0;
    default:
        return false;
    }
}

static void share_output(const tsr_graph *g, life *l, int64_t i, int which)
{
    const tsr_node *n = &g->nodes[i];
    tsr_value out = n->out[which];
    for (int k = 0; k < n->n_inputs && l[out].root == out; k++) {
        tsr_value in = n->in[k];
        if (!works_in_place(n->op, which, k) || l[in].dies != i) continue;
        if (g->values[in].cols != g->values[out].cols) continue;
        tsr_value root = l[in].root;
        l[out].root = root;
        l[out].shift = l[in].shift;
        l[root].dies = tsr_max(l[root].dies, l[out].dies);
    }
}

/* Lets outputs take the place of an input that dies at their node. */
static void share_in_place(const tsr_graph *g, life *l)
{
    for (int64_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_outputs; k++) share_output(g, l, i, k);
}

typedef struct placer {
    const tsr_graph *g;
    const life *lives;
    tsr_value_place *place;
    int64_t *size; /* [n_values] floats of roots already placed, 0 for others */
    int64_t total;
} placer;

static bool overlap_in_time(const life *a, const life *b)
{
    return a->born <= b->dies && b->born <= a->dies;
}

/* The lowest offset at which `size` floats collide with no placed value alive at the same time. */
static int64_t lowest_fit(const placer *p, tsr_value v, int64_t size)
{
    int64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (tsr_value u = 0; u < p->g->n_values; u++) {
            if (p->size[u] == 0 || !overlap_in_time(&p->lives[u], &p->lives[v])) continue;
            int64_t begin = p->place[u].offset, end = begin + p->size[u];
            if (at < end && begin < at + size) at = end, moved = true;
        }
    }
    return at;
}

static tsr_status place_roots(placer *p, int64_t max_tokens, int64_t max_rows)
{
    for (tsr_value v = 0; v < p->g->n_values; v++) {
        if (p->lives[v].born < 0 || p->lives[v].root != v) continue;
        const tsr_value_info *info = &p->g->values[v];
        int64_t rows = info->rows == TSR_ROWS_TOKENS ? max_tokens : max_rows, size, end;
        if (!tsr_mul(rows, tsr_max(info->cols, 1), &size) || size > INT64_MAX / 16)
            return tsr_fail(TSR_ERR_CAPACITY, "activations of %lld x %lld floats are too large",
                            (long long)rows, (long long)info->cols);
        size = tsr_round_up(size, ALIGN_FLOATS);
        p->place[v] = (tsr_value_place){lowest_fit(p, v, size), info->cols};
        p->size[v] = size;
        if (!tsr_add(p->place[v].offset, size, &end) || end > INT64_MAX / 16)
            return tsr_fail(TSR_ERR_CAPACITY, "the activations of a step are too large");
        p->total = tsr_max(p->total, end);
    }
    return TSR_OK;
}

static tsr_status plan_with(const tsr_graph *g, life *l, int64_t *size, int64_t max_tokens, int64_t max_rows,
                            tsr_memory_plan *out)
{
    find_lives(g, l);
    resolve_windows(g, l);
    share_in_place(g, l);
    placer p = {.g = g, .lives = l, .place = out->place, .size = size};
    TSR_TRY(place_roots(&p, max_tokens, max_rows));
    for (tsr_value v = 0; v < g->n_values; v++) {
        tsr_value root = l[v].root;
        if (l[v].born < 0 || root == v) continue;
        out->place[v] = (tsr_value_place){out->place[root].offset + l[v].shift, out->place[root].ld};
    }
    out->floats = tsr_max(p.total, ALIGN_FLOATS);
    return TSR_OK;
}

tsr_status tsr_memory_plan_make(const tsr_graph *g, int64_t max_tokens, int64_t max_rows,
                                tsr_memory_plan *out)
{
    void *place = NULL, *lives = NULL, *size = NULL;
    tsr_status status;
    *out = (tsr_memory_plan){0};
    TSR_TRY_OUT(tsr_calloc(g->n_values, sizeof(tsr_value_place), "the memory plan", &place));
    out->place = place;
    TSR_TRY_OUT(tsr_calloc(g->n_values, sizeof(life), "the memory plan", &lives));
    TSR_TRY_OUT(tsr_calloc(g->n_values, sizeof(int64_t), "the memory plan", &size));
    TSR_TRY_OUT(plan_with(g, lives, size, max_tokens, max_rows, out));
out:
    tsr_free(lives);
    tsr_free(size);
    if (status != TSR_OK) tsr_memory_plan_free(out);
    return status;
}

void tsr_memory_plan_free(tsr_memory_plan *plan)
{
    tsr_free(plan->place);
    *plan = (tsr_memory_plan){0};
}
