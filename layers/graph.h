/* graph.h: a model as mathematics over named checkpoint tensors.
 *
 * A tsr_model owns weights (views, checkpoint/view.h), rope tables, cache layers and one or more named
 * graphs. A graph is a list of nodes in execution order; a node applies an op (layers/ops.h) to values and
 * weights and makes one value (add_norm, reduce_add_norm: two). A value is a matrix: rows are symbolic (the
 * tokens of a step, or the rows selected for output), the columns are fixed. Nothing here knows ranks,
 * devices, number formats or memory: those are passes over the graph.
 *
 * Building: the tsr_graph_* functions check shapes and append; they return the new value through `out`
 * (TSR_NONE on failure). The model owns everything reached from it; arrays move when they grow, so hold
 * indices and not pointers into them. Errors: TSR_ERR_INTERNAL for a graph that does not fit together (a bug
 * of a model file), TSR_ERR_FORMAT where a config asks for impossible sizes, TSR_ERR_MEMORY. Local; not
 * thread-safe.
 */
#ifndef TSR_LAYERS_GRAPH_H
#define TSR_LAYERS_GRAPH_H

#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/view.h"
#include "layers/ops.h"
#include "layers/prefix.h"
#include "layers/rope.h"
#include "layers/task.h"

#include <stdbool.h>

enum { TSR_NONE = -1, TSR_MAX_INPUTS = 3, TSR_MAX_WEIGHTS = 2, TSR_MAX_GRAPHS = 8 };

typedef int tsr_value;  /* index into graph->values, or TSR_NONE */
typedef int tsr_weight; /* index into model->weights, or TSR_NONE */

typedef enum tsr_rows {
    TSR_ROWS_TOKENS,  /* T: every token of the step */
    TSR_ROWS_SELECTED /* R: the rows whose outputs are wanted */
} tsr_rows;

typedef struct tsr_value_info {
    tsr_rows rows;
    int64_t cols;
    tsr_value
        parent; /* TSR_NONE, or the value this one is a window of: columns offset .. offset + cols - 1 */
    int64_t offset;
} tsr_value_info;

/* Row `row` of a table that no checkpoint holds because a formula gives it: out [cols]. */
typedef void (*tsr_weight_rule)(int64_t row, int64_t cols, float *out);

typedef struct tsr_weight_info {
    const char *name;     /* for people: the checkpoint name of its main tensor */
    const tsr_view *view; /* [rows, cols], or [rows] for a vector; NULL for a computed one */
    tsr_weight_rule rule; /* of a computed one, else NULL */
    int64_t rows, cols;   /* a vector has cols = 1 */
    bool is_vector;
    float scale;    /* multiplied into it when it is loaded; 0: nothing is */
    bool unit_rows; /* each row is divided by its Euclidean length when it is loaded */
} tsr_weight_info;

typedef struct tsr_node {
    tsr_op op;
    int n_inputs, n_weights, n_outputs;
    tsr_value in[TSR_MAX_INPUTS];
    tsr_weight weight[TSR_MAX_WEIGHTS]; /* linear: W, bias; norm: w, b. TSR_NONE where absent */
    tsr_value out[2];                   /* add_norm, reduce_add_norm: [0] the normed row, [1] the sum */
    tsr_attrs attrs;
    int layer; /* transformer layer it belongs to, TSR_NONE outside: for people */
} tsr_node;

typedef struct tsr_cache_layer {
    int kv_heads, head_dim, value_dim;
} tsr_cache_layer;

typedef struct tsr_graph {
    const char *name; /* "decode", ... */
    struct tsr_model *model;
    tsr_node *nodes;
    int64_t n_nodes, nodes_capacity;
    tsr_value_info *values;
    int64_t n_values, values_capacity;
    tsr_value output;     /* logits [R, vocabulary], or whatever the graph is for */
    int64_t output_first; /* after sharding: the vocabulary id of the output's first column on this rank */
    int current_layer;    /* builders stamp nodes with it */
} tsr_graph;

typedef struct tsr_model {
    tsr_arena *arena;
    const char *family;      /* the row of the family table that built it */
    const char *name_prefix; /* head prefix that checkpoints may carry or lack ("model.", "transformer.") */
    int64_t vocabulary;      /* rows of the embedding: ids are 0 .. vocabulary - 1 */
    int64_t max_positions;   /* longest context the model was made for */
    bool
        positions_are_hard; /* true: a position past max_positions has no embedding at all (learned tables) */
    tsr_prefix_ids prefix;  /* of models that read the beginning of a text in both directions */
    tsr_task task;          /* never AUTO once it is built */
    tsr_classifier classifier; /* of a task that classifies */
    tsr_weight_info *weights;
    int64_t n_weights, weights_capacity;
    tsr_rope *ropes;
    int64_t n_ropes, ropes_capacity;
    tsr_cache_layer *cache_layers;
    int64_t n_cache_layers, cache_layers_capacity;
    tsr_graph graphs[TSR_MAX_GRAPHS];
    int n_graphs;
} tsr_model;

tsr_status tsr_model_create(tsr_model **out);
void tsr_model_destroy(tsr_model **model);
tsr_status tsr_model_add_graph(tsr_model *m, const char *name, tsr_graph **out);
tsr_graph *tsr_model_graph(tsr_model *m, const char *name); /* NULL if it has none of that name */
tsr_status tsr_model_add_rope(tsr_model *m, const tsr_rope *rope, int *out);
tsr_status tsr_model_add_cache_layer(tsr_model *m, tsr_cache_layer layer, int *out);

/* A weight from a view whose first axis is the rows; rank 1 makes a vector. `name` is copied. */
tsr_status tsr_model_add_weight(tsr_model *m, const char *name, const tsr_view *view, tsr_weight *out);

/* A matrix that is computed and not read, for tables of positions; it cannot be split among ranks. */
tsr_status tsr_model_add_computed(tsr_model *m, const char *name, tsr_weight_rule rule, int64_t rows,
                                  int64_t cols, tsr_weight *out);

/* Shorthands for model files: the tensor `format` names, of the given shape, as a weight. */
tsr_status tsr_model_vector(tsr_model *m, tsr_weight *out, int64_t n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
tsr_status tsr_model_matrix(tsr_model *m, tsr_weight *out, int64_t rows, int64_t cols, const char *format,
                            ...) __attribute__((format(printf, 5, 6)));

/* Appends a node; for the builders below and for passes. Values of `out` must have been added. */
tsr_status tsr_graph_add_value(tsr_graph *g, tsr_rows rows, int64_t cols, tsr_value *out);
tsr_status tsr_graph_add_node(tsr_graph *g, const tsr_node *node);

tsr_status tsr_graph_embed(tsr_graph *g, tsr_weight table, tsr_embed_index index, long offset, float scale,
                           tsr_value *out);
/* bias may be TSR_NONE. */
tsr_status tsr_graph_linear(tsr_graph *g, tsr_value x, tsr_weight w, tsr_weight bias, tsr_value *out);
/* w and b may be TSR_NONE (an affine-free norm). */
tsr_status tsr_graph_norm(tsr_graph *g, tsr_value x, tsr_norm_kind kind, float eps, tsr_weight w,
                          tsr_weight b, tsr_value *out);
tsr_status tsr_graph_add(tsr_graph *g, tsr_value a, tsr_value b, tsr_value *out);
tsr_status tsr_graph_act(tsr_graph *g, tsr_value x, tsr_activation kind, tsr_value *out);
tsr_status tsr_graph_clamp(tsr_graph *g, tsr_value x, float limit, tsr_value *out);
tsr_status tsr_graph_gated(tsr_graph *g, tsr_value a, tsr_value b, tsr_activation kind, tsr_value *out);
tsr_status tsr_graph_rope(tsr_graph *g, tsr_value x, int heads, int head_dim, int rotary_dim,
                          tsr_rope_style style, int rope, tsr_value *out);

typedef struct tsr_attention_spec {
    int heads, kv_heads, head_dim;
    int value_dim; /* 0: head_dim */
    float scale;
    long window; /* 0: none */
    float alibi; /* factor of the ALiBi biases, 0: none; see ops.h for these three */
    float alibi_max;
    bool alibi_bf16;
} tsr_attention_spec;
/* Adds the cache layer too. q [T, heads*head_dim], k [T, kv_heads*head_dim], v [T, kv_heads*value_dim]. */
tsr_status tsr_graph_attention(tsr_graph *g, tsr_value q, tsr_value k, tsr_value v,
                               const tsr_attention_spec *spec, tsr_value *out);
tsr_status tsr_graph_select_rows(tsr_graph *g, tsr_value x, tsr_value *out);

/* Appends the graph as text, one node a line, for tests and for people:
 *   v7 [T, 192] = linear(v6; model.layers.0.self_attn.q_proj.weight, model.layers.0.self_attn.q_proj.bias)
 *   v9 [T, 192] = rope(v7) heads 3 x 64, 64 rotated, half, table 0
 * Inputs stand before the ';', weights after it. */
tsr_status tsr_graph_print(const tsr_graph *g, tsr_text *out);

const char *tsr_activation_name(tsr_activation kind); /* "GELU_TANH" */
/* "silu" -> TSR_ACT_SILU; an unknown one is TSR_ERR_FORMAT naming `where` and the ones we have. */
tsr_status tsr_activation_from_name(const char *name, const char *where, tsr_activation *out);

#endif
