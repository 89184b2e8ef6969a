/* graph.c: the model container, its weights, and appending nodes that are well formed.
 *
 * Everything a builder or a pass adds goes through the functions here, so caps and index checks stand in one
 * place; what one op demands of its shapes is in graph_ops.c.
 */
#include "layers/graph.h"
#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_NODES = 1000000,
    MAX_VALUES = 2000000,
    MAX_WEIGHTS = 1000000,
    MAX_ROPES = 1024,
    MAX_CACHE_LAYERS = 100000,
    MAX_COLS = 1 << 24,
    NAME_BYTES = 512
};

static tsr_status too_many(const char *what, int64_t cap)
{
    return tsr_fail(TSR_ERR_FORMAT, "the model has too many %s: at most %lld are accepted", what,
                    (long long)cap);
}

tsr_status tsr_model_create(tsr_model **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_model), "a model", &p));
    tsr_model *m = p;
    tsr_status status = tsr_arena_create("a model", &m->arena);
    if (status != TSR_OK) {
        tsr_free(m);
        return status;
    }
    m->family = m->name_prefix = "";
    m->task = TSR_TASK_TEXT_GENERATION;
    m->classifier.pad_id = -1;
    *out = m;
    return TSR_OK;
}

void tsr_model_destroy(tsr_model **model)
{
    tsr_model *m = *model;
    if (!m) return;
    for (int i = 0; i < m->n_graphs; i++) {
        tsr_free(m->graphs[i].nodes);
        tsr_free(m->graphs[i].values);
    }
    tsr_free(m->weights);
    tsr_free(m->ropes);
    tsr_free(m->cache_layers);
    tsr_arena_destroy(&m->arena);
    tsr_free(m);
    *model = NULL;
}

tsr_status tsr_model_add_graph(tsr_model *m, const char *name, tsr_graph **out)
{
    const char *copy;
    *out = NULL;
    if (m->n_graphs == TSR_MAX_GRAPHS) return tsr_fail(TSR_ERR_INTERNAL, "no room for graph \"%s\"", name);
    TSR_TRY(tsr_arena_strdup(m->arena, name, &copy));
    tsr_graph *g = &m->graphs[m->n_graphs++];
    *g = (tsr_graph){.name = copy, .model = m, .output = TSR_NONE, .current_layer = TSR_NONE};
    *out = g;
    return TSR_OK;
}

tsr_graph *tsr_model_graph(tsr_model *m, const char *name)
{
    for (int i = 0; i < m->n_graphs; i++)
        if (strcmp(m->graphs[i].name, name) == 0) return &m->graphs[i];
    return NULL;
}

/* Makes room for one more element of an array and gives its index. */
static tsr_status append(void **array, int64_t *count, int64_t *capacity, int64_t size, int64_t cap,
                         const char *what, int *index)
{
    *index = TSR_NONE;
    if (*count >= cap) return too_many(what, cap);
    TSR_TRY(tsr_grow(array, capacity, *count + 1, size, what));
    *index = (int)(*count)++;
    return TSR_OK;
}

tsr_status tsr_model_add_rope(tsr_model *m, const tsr_rope *rope, int *out)
{
    TSR_TRY(append((void **)&m->ropes, &m->n_ropes, &m->ropes_capacity, sizeof *rope, MAX_ROPES,
                   "rope tables", out));
    m->ropes[*out] = *rope;
    return TSR_OK;
}

tsr_status tsr_model_add_cache_layer(tsr_model *m, tsr_cache_layer layer, int *out)
{
    TSR_TRY(append((void **)&m->cache_layers, &m->n_cache_layers, &m->cache_layers_capacity, sizeof layer,
                   MAX_CACHE_LAYERS, "cache layers", out));
    m->cache_layers[*out] = layer;
    return TSR_OK;
}

static tsr_status append_weight(tsr_model *m, const char *name, tsr_weight_info info, tsr_weight *out)
{
    if (info.rows < 1 || info.cols < 1 || info.rows > MAX_COLS || info.cols > MAX_COLS)
        return tsr_fail(TSR_ERR_FORMAT, "weight \"%s\" would be %lld x %lld: each must lie in 1..%d", name,
                        (long long)info.rows, (long long)info.cols, MAX_COLS);
    TSR_TRY(tsr_arena_strdup(m->arena, name, &info.name));
    TSR_TRY(append((void **)&m->weights, &m->n_weights, &m->weights_capacity, sizeof info, MAX_WEIGHTS,
                   "weights", out));
    m->weights[*out] = info;
    return TSR_OK;
}

tsr_status tsr_model_add_weight(tsr_model *m, const char *name, const tsr_view *view, tsr_weight *out)
{
    tsr_weight_info info = {.view = view, .rows = tsr_view_rows(view), .cols = tsr_view_cols(view)};
    *out = TSR_NONE;
    info.is_vector = tsr_view_rank(view) == 1;
    if (tsr_view_rank(view) < 1) return tsr_fail(TSR_ERR_INTERNAL, "weight \"%s\" is a scalar", name);
    return append_weight(m, name, info, out);
}

tsr_status tsr_model_add_computed(tsr_model *m, const char *name, tsr_weight_rule rule, int64_t rows,
                                  int64_t cols, tsr_weight *out)
{
    *out = TSR_NONE;
    return append_weight(m, name, (tsr_weight_info){.rule = rule, .rows = rows, .cols = cols}, out);
}

static tsr_status add_tensor(tsr_model *m, int rank, const int64_t *shape, tsr_weight *out,
                             const char *format, va_list args)
{
    char name[NAME_BYTES];
    const tsr_view *view;
    *out = TSR_NONE;
    int n = vsnprintf(name, sizeof name, format, args);
    if (n < 0 || n >= NAME_BYTES)
        return tsr_fail(TSR_ERR_INTERNAL, "tensor name too long: \"%.64s...\"", name);
    TSR_TRY(tsr_view_tensor(m->arena, name, rank, shape, &view));
    return tsr_model_add_weight(m, name, view, out);
}

tsr_status tsr_model_vector(tsr_model *m, tsr_weight *out, int64_t n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tsr_status status = add_tensor(m, 1, &n, out, format, args);
    va_end(args);
    return status;
}

tsr_status tsr_model_matrix(tsr_model *m, tsr_weight *out, int64_t rows, int64_t cols, const char *format,
                            ...)
{
    va_list args;
    va_start(args, format);
    tsr_status status = add_tensor(m, 2, (int64_t[]){rows, cols}, out, format, args);
    va_end(args);
    return status;
}

tsr_status tsr_graph_add_value(tsr_graph *g, tsr_rows rows, int64_t cols, tsr_value *out)
{
    *out = TSR_NONE;
    if (cols < 1 || cols > MAX_COLS)
        return tsr_fail(TSR_ERR_FORMAT, "graph \"%s\": a value of %lld columns, must lie in 1..%d", g->name,
                        (long long)cols, MAX_COLS);
    TSR_TRY(append((void **)&g->values, &g->n_values, &g->values_capacity, sizeof *g->values, MAX_VALUES,
                   "values", out));
    g->values[*out] = (tsr_value_info){.rows = rows, .cols = cols, .parent = TSR_NONE};
    return TSR_OK;
}

/* Every used slot refers to something that exists. Weights may be absent in the middle (norm without w). */
static bool slots_are_sound(const tsr_graph *g, const tsr_node *n)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (n->in[i] < 0 || n->in[i] >= g->n_values) return false;
    for (int i = 0; i < n->n_weights; i++)
        if (n->weight[i] < TSR_NONE || n->weight[i] >= g->model->n_weights) return false;
    for (int i = 0; i < n->n_outputs; i++)
        if (n->out[i] < 0 || n->out[i] >= g->n_values) return false;
    return true;
}

tsr_status tsr_graph_add_node(tsr_graph *g, const tsr_node *node)
{
    int index;
    if ((unsigned)node->op >= TSR_OP_COUNT)
        return tsr_fail(TSR_ERR_INTERNAL, "graph \"%s\": no op %d", g->name, node->op);
    const tsr_op_info *op = &tsr_op_table[node->op];
    bool counts = node->n_inputs >= op->min_inputs && node->n_inputs <= op->max_inputs &&
                  node->n_weights >= op->min_weights && node->n_weights <= op->max_weights &&
                  node->n_outputs >= 1 && node->n_outputs <= 2;
    if (!counts || !slots_are_sound(g, node))
        return tsr_fail(TSR_ERR_INTERNAL,
                        "graph \"%s\": a malformed %s node with %d inputs, %d weights, %d outputs", g->name,
                        op->name, node->n_inputs, node->n_weights, node->n_outputs);
    TSR_TRY(append((void **)&g->nodes, &g->n_nodes, &g->nodes_capacity, sizeof *node, MAX_NODES, "nodes",
                   &index));
    tsr_node *n = &g->nodes[index];
    *n = *node;
    for (int i = n->n_inputs; i < TSR_MAX_INPUTS; i++) n->in[i] = TSR_NONE;
    for (int i = n->n_weights; i < TSR_MAX_WEIGHTS; i++) n->weight[i] = TSR_NONE;
    for (int i = n->n_outputs; i < 2; i++) n->out[i] = TSR_NONE;
    return TSR_OK;
}
