/* support_graph.h: for tests: runs a graph in float64, by plain loops over whole matrices, no cache and no
 * packing.
 *
 * The graphs of N ranks run in step, node by node, so that an all_reduce can add up what they hold:
 *
 *     plain_run run;
 *     plain_run_graphs(&run, graphs, n_ranks, source, ids, n_tokens);
 *     double x = plain_at(&run, rank, graphs[rank]->output, row, column);
 *     plain_run_free(&run);
 *
 * The tokens are one sequence from position 0, and every row is selected. Slow on purpose: it shares nothing
 * with the kernels. Ends the test with a message when something fails. Include after cmocka.h.
 */
#ifndef TSR_TESTS_SUPPORT_GRAPH_H
#define TSR_TESTS_SUPPORT_GRAPH_H

#include "layers/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PLAIN_RANKS = 16 };

typedef struct plain_value {
    double *data; /* row r begins at data + r * ld */
    int64_t ld;
    double *owned; /* NULL for a window of another value */
} plain_value;

typedef struct plain_run {
    const tsr_graph *graphs[PLAIN_RANKS];
    plain_value *values[PLAIN_RANKS];
    double **weights[PLAIN_RANKS]; /* [model->n_weights], read when first used */
    const tsr_source *source;
    const int *ids;
    int n_ranks, n_tokens;
    tsr_prefix prefix; /* as the model's rules find it in the ids; none if they find none */
} plain_run;

static inline void *plain_alloc(int64_t count, size_t size)
{
    void *p = calloc((size_t)count + 1, size);
    assert_non_null(p);
    return p;
}

static inline double *plain_row(const plain_run *run, int rank, tsr_value v, int64_t row)
{
    return run->values[rank][v].data + row * run->values[rank][v].ld;
}

static inline double plain_at(const plain_run *run, int rank, tsr_value v, int64_t row, int64_t column)
{
    return plain_row(run, rank, v, row)[column];
}

/* A weight as the checkpoint holds it: [rows, cols]. NULL where there is none. */
static inline const double *plain_weight(plain_run *run, int rank, tsr_weight w)
{
    if (w == TSR_NONE) return NULL;
    const tsr_model *m = run->graphs[rank]->model;
    const tsr_weight_info *info = &m->weights[w];
    double **slot = &run->weights[rank][w];
    if (*slot) return *slot;
    float *narrow = plain_alloc(info->rows * info->cols, sizeof *narrow);
    if (tsr_view_read_f32(info->view, run->source, m->name_prefix, 0, info->rows, narrow) != TSR_OK)
        fail_msg("%s: %s", info->name, tsr_error_text());
    *slot = plain_alloc(info->rows * info->cols, sizeof **slot);
    for (int64_t i = 0; i < info->rows * info->cols; i++) (*slot)[i] = narrow[i];
    for (int64_t i = 0; i < info->rows * info->cols && info->scale != 0; i++)
        (*slot)[i] *= (double)info->scale;
    for (int64_t r = 0; r < info->rows && info->unit_rows; r++) {
        double squares = 0;
        for (int64_t c = 0; c < info->cols; c++) squares += pow((*slot)[r * info->cols + c], 2);
        for (int64_t c = 0; c < info->cols; c++) (*slot)[r * info->cols + c] /= sqrt(squares);
    }
    free(narrow);
    return *slot;
}

static inline double plain_activate(tsr_activation kind, double x)
{
    switch (kind) {
    case TSR_ACT_GELU:
        return x * (1 + erf(x / sqrt(2))) / 2;
    case TSR_ACT_GELU_TANH:
        return x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))) / 2;
    case TSR_ACT_QUICK_GELU:
        return x / (1 + exp(-1.702 * x));
    case TSR_ACT_SILU:
        return x / (1 + exp(-x));
    case TSR_ACT_RELU:
        return x > 0 ? x : 0;
    case TSR_ACT_TANH:
        return tanh(x);
    case TSR_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case TSR_ACT_RELU2:
        return x > 0 ? x * x : 0;
    case TSR_ACT_IDENTITY:
        return x;
    default:
        fail_msg("no activation %d", (int)kind);
        return 0;
    }
}

static inline void plain_embed(plain_run *run, int rank, const tsr_node *n)
{
    const tsr_weight_info *table = &run->graphs[rank]->model->weights[n->weight[0]];
    const double *w = plain_weight(run, rank, n->weight[0]);
    for (int t = 0; t < run->n_tokens; t++) {
        bool by_id = n->attrs.embed.index == TSR_EMBED_IDS;
        int64_t at = t;
        if (n->attrs.embed.index == TSR_EMBED_FIRST_ROW) at = tsr_prefix_first_row(&run->prefix, t);
        if (n->attrs.embed.index == TSR_EMBED_SECOND_ROW) at = tsr_prefix_second_row(&run->prefix, t);
        int64_t row = (by_id ? run->ids[t] : at + n->attrs.embed.offset) - n->attrs.embed.first_row;
        bool here = row >= 0 && row < table->rows;
        double *out = plain_row(run, rank, n->out[0], t);
        for (int64_t c = 0; c < table->cols; c++)
            out[c] = here ? n->attrs.embed.scale * w[row * table->cols + c] : 0;
    }
}

static inline void plain_linear(plain_run *run, int rank, const tsr_node *n)
{
    const tsr_weight_info *info = &run->graphs[rank]->model->weights[n->weight[0]];
    const double *w = plain_weight(run, rank, n->weight[0]), *b = plain_weight(run, rank, n->weight[1]);
    for (int t = 0; t < run->n_tokens; t++) {
        const double *x = plain_row(run, rank, n->in[0], t);
        double *out = plain_row(run, rank, n->out[0], t);
        for (int64_t r = 0; r < info->rows; r++) {
            out[r] = b ? b[r] : 0;
            for (int64_t c = 0; c < info->cols; c++) out[r] += w[r * info->cols + c] * x[c];
        }
    }
}

static inline void plain_norm_row(plain_run *run, int rank, const tsr_node *n, const double *x, double *out,
                                  int64_t cols)
{
    const double *w = plain_weight(run, rank, n->weight[0]), *b = plain_weight(run, rank, n->weight[1]);
    double mean = 0, square = 0;
    for (int64_t c = 0; c < cols && n->attrs.norm.kind == TSR_NORM_LAYER; c++) mean += x[c] / (double)cols;
    for (int64_t c = 0; c < cols; c++) square += (x[c] - mean) * (x[c] - mean) / (double)cols;
    double scale = 1 / sqrt(square + (double)n->attrs.norm.eps);
    for (int64_t c = 0; c < cols; c++) out[c] = (x[c] - mean) * scale * (w ? w[c] : 1) + (b ? b[c] : 0);
}

/* The input of a norm: the row, for add_norm with the residual, for reduce_add_norm of all ranks. */
static inline double plain_norm_input(const plain_run *run, int rank, int64_t node, int t, int64_t c)
{
    const tsr_node *n = &run->graphs[rank]->nodes[node];
    double sum = n->op == TSR_OP_NORM ? 0 : plain_row(run, rank, n->in[1], t)[c];
    if (n->op != TSR_OP_REDUCE_ADD_NORM) return sum + plain_row(run, rank, n->in[0], t)[c];
    for (int r = 0; r < run->n_ranks; r++) sum += plain_row(run, r, run->graphs[r]->nodes[node].in[0], t)[c];
    return sum;
}

/* norm, add_norm and reduce_add_norm; the latter two also give the sum. */
static inline void plain_norm(plain_run *run, int rank, int64_t node)
{
    const tsr_node *n = &run->graphs[rank]->nodes[node];
    int64_t cols = run->graphs[rank]->values[n->in[0]].cols;
    double *sum = plain_alloc(cols, sizeof *sum);
    for (int t = 0; t < run->n_tokens; t++) {
        for (int64_t c = 0; c < cols; c++) sum[c] = plain_norm_input(run, rank, node, t, c);
        plain_norm_row(run, rank, n, sum, plain_row(run, rank, n->out[0], t), cols);
        if (n->n_outputs > 1) memcpy(plain_row(run, rank, n->out[1], t), sum, (size_t)cols * sizeof *sum);
    }
    free(sum);
}

static inline void plain_rope(plain_run *run, int rank, const tsr_node *n)
{
    const tsr_rope *table = &run->graphs[rank]->model->ropes[n->attrs.rope.rope];
    int half = n->attrs.rope.rotary_dim / 2, head_dim = n->attrs.rope.head_dim;
    bool halves = n->attrs.rope.style == TSR_ROPE_HALF;
    float *cosine = plain_alloc(half, sizeof(float)), *sine = plain_alloc(half, sizeof(float));
    for (int t = 0; t < run->n_tokens; t++) {
        tsr_rope_angles_of_rows(table, tsr_prefix_first_row(&run->prefix, t),
                                tsr_prefix_second_row(&run->prefix, t), run->n_tokens, cosine, sine);
        for (int h = 0; h < n->attrs.rope.heads; h++) {
            const double *x = plain_row(run, rank, n->in[0], t) + h * head_dim;
            double *out = plain_row(run, rank, n->out[0], t) + h * head_dim;
            memmove(out, x, (size_t)head_dim * sizeof *x);
            for (int i = 0; i < half; i++) {
                int a = halves ? i : 2 * i, b = halves ? i + half : 2 * i + 1;
                double first = x[a], second = x[b];
                out[a] = first * cosine[i] - second * sine[i];
                out[b] = second * cosine[i] + first * sine[i];
            }
        }
    }
    free(cosine);
    free(sine);
}

/* The ALiBi bias of key j, as the papers state it: by slopes of the next power of 2, every second one first. */
static inline double plain_bias(const tsr_attrs *a, int local_head, int j)
{
    int head = a->attention.first_head + local_head, heads = a->attention.model_heads, power = 1;
    while (power < heads) power *= 2;
    int half = power / 2, index = power == heads ? head : head < half ? 2 * head + 1 : 2 * (head - half);
    double slope = pow(2, -(double)a->attention.alibi_max * (index + 1) / power);
    if (!a->attention.alibi_bf16) return a->attention.alibi * slope * j;
    float factor[2] = {(float)slope, (float)j}, product;
    uint16_t raw[2];
    tsr_from_f32(TSR_BF16, factor, raw, 2);
    tsr_to_f32(TSR_BF16, raw, factor, 2);
    product = factor[0] * factor[1];
    tsr_from_f32(TSR_BF16, &product, raw, 1);
    tsr_to_f32(TSR_BF16, raw, &product, 1);
    return a->attention.alibi * product;
}

/* One query head at one token: softmax(scale q.k + bias) v over the tokens it may see. */
static inline void plain_attend(const plain_run *run, int rank, const tsr_node *n, int t, int head,
                                double *score)
{
    int d = n->attrs.attention.head_dim, e = n->attrs.attention.value_dim;
    int kv = (n->attrs.attention.first_head + head) / n->attrs.attention.group - n->attrs.attention.first_kv;
    long window = n->attrs.attention.window;
    int first = window && t + 1 > window ? (int)(t + 1 - window) : 0;
    int end = t + 1 > run->prefix.length ? t + 1 : run->prefix.length;
    const double *q = plain_row(run, rank, n->in[0], t) + head * d;
    double *out = plain_row(run, rank, n->out[0], t) + head * e, top = -INFINITY, total = 0;
    assert_in_range(kv, 0, n->attrs.attention.kv_heads - 1);
    for (int j = first; j < end; j++) {
        const double *k = plain_row(run, rank, n->in[1], j) + kv * d;
        score[j] = n->attrs.attention.alibi == 0 ? 0 : plain_bias(&n->attrs, head, j);
        for (int i = 0; i < d; i++) score[j] += n->attrs.attention.scale * q[i] * k[i];
        top = fmax(top, score[j]);
    }
    for (int j = first; j < end; j++) total += score[j] = exp(score[j] - top);
    for (int i = 0; i < e; i++) out[i] = 0;
    for (int j = first; j < end; j++)
        for (int i = 0; i < e; i++)
            out[i] += score[j] / total * (plain_row(run, rank, n->in[2], j) + kv * e)[i];
}

/* The rotation that fusion made part of an attention: over q and k themselves. */
static inline void plain_rotate_input(plain_run *run, int rank, const tsr_node *n, int input, int heads)
{
    tsr_node rope = {.op = TSR_OP_ROPE, .in = {n->in[input]}, .out = {n->in[input]}};
    rope.attrs.rope.heads = heads;
    rope.attrs.rope.head_dim = n->attrs.attention.head_dim;
    rope.attrs.rope.rotary_dim = n->attrs.attention.rotary_dim;
    rope.attrs.rope.style = n->attrs.attention.style;
    rope.attrs.rope.rope = n->attrs.attention.rope;
    plain_rope(run, rank, &rope);
}

static inline void plain_attention(plain_run *run, int rank, const tsr_node *n)
{
    if (n->attrs.attention.rotary_dim > 0) {
        plain_rotate_input(run, rank, n, 0, n->attrs.attention.heads);
        plain_rotate_input(run, rank, n, 1, n->attrs.attention.kv_heads);
    }
    double *score = plain_alloc(run->n_tokens, sizeof *score);
    for (int t = 0; t < run->n_tokens; t++)
        for (int h = 0; h < n->attrs.attention.heads; h++) plain_attend(run, rank, n, t, h, score);
    free(score);
}

/* add, act, clamp, gated, select_rows, all_reduce: one number at a time. */
static inline double plain_element(const plain_run *run, int rank, int64_t node, int64_t row, int64_t column)
{
    const tsr_node *n = &run->graphs[rank]->nodes[node];
    double a = plain_at(run, rank, n->in[0], row, column), sum = 0;
    switch (n->op) {
    case TSR_OP_ADD:
        return a + plain_at(run, rank, n->in[1], row, column);
    case TSR_OP_ACT:
        return plain_activate(n->attrs.act.kind, a);
    case TSR_OP_CLAMP:
        return fmin(fmax(a, -n->attrs.clamp.limit), n->attrs.clamp.limit);
    case TSR_OP_GATED:
        return plain_activate(n->attrs.act.kind, a) * plain_at(run, rank, n->in[1], row, column);
    case TSR_OP_SELECT_ROWS:
        return a;
    case TSR_OP_ALL_REDUCE:
        for (int r = 0; r < run->n_ranks; r++)
            sum += plain_at(run, r, run->graphs[r]->nodes[node].in[0], row, column);
        return sum;
    default:
        fail_msg("no plain kernel for op %s", tsr_op_table[n->op].name);
        return 0;
    }
}

static inline void plain_elementwise(plain_run *run, int rank, int64_t node)
{
    const tsr_graph *g = run->graphs[rank];
    tsr_value out = g->nodes[node].out[0];
    for (int t = 0; t < run->n_tokens; t++)
        for (int64_t c = 0; c < g->values[out].cols; c++)
            plain_row(run, rank, out, t)[c] = plain_element(run, rank, node, t, c);
}

static inline void plain_node(plain_run *run, int rank, int64_t node)
{
    const tsr_node *n = &run->graphs[rank]->nodes[node];
    switch (n->op) {
    case TSR_OP_EMBED:
        plain_embed(run, rank, n);
        break;
    case TSR_OP_LINEAR:
        plain_linear(run, rank, n);
        break;
    case TSR_OP_NORM:
    case TSR_OP_ADD_NORM:
    case TSR_OP_REDUCE_ADD_NORM:
        plain_norm(run, rank, node);
        break;
    case TSR_OP_ROPE:
        plain_rope(run, rank, n);
        break;
    case TSR_OP_ATTENTION:
        plain_attention(run, rank, n);
        break;
    default:
        plain_elementwise(run, rank, node);
    }
}

/* Windows share the memory of their parent, which may stand after them in the list. */
static inline void plain_place_value(plain_run *run, int rank, tsr_value v)
{
    const tsr_value_info *info = &run->graphs[rank]->values[v];
    plain_value *slot = &run->values[rank][v];
    if (slot->data) return;
    if (info->parent == TSR_NONE) {
        slot->owned = plain_alloc(info->cols * run->n_tokens, sizeof *slot->owned);
        *slot = (plain_value){slot->owned, info->cols, slot->owned};
    } else {
        plain_place_value(run, rank, info->parent);
        const plain_value *parent = &run->values[rank][info->parent];
        *slot = (plain_value){parent->data + info->offset, parent->ld, NULL};
    }
}

static inline void plain_run_graphs(plain_run *run, tsr_graph *const *graphs, int n_ranks,
                                    const tsr_source *source, const int *ids, int n_tokens)
{
    assert_in_range(n_ranks, 1, PLAIN_RANKS);
    *run = (plain_run){.source = source, .ids = ids, .n_ranks = n_ranks, .n_tokens = n_tokens};
    if (tsr_prefix_find(&graphs[0]->model->prefix, ids, n_tokens, &run->prefix) != TSR_OK)
        run->prefix = (tsr_prefix){0, 0};
    for (int r = 0; r < n_ranks; r++) {
        assert_int_equal(graphs[r]->n_nodes, graphs[0]->n_nodes);
        run->graphs[r] = graphs[r];
        run->values[r] = plain_alloc(graphs[r]->n_values, sizeof(plain_value));
        run->weights[r] = plain_alloc(graphs[r]->model->n_weights, sizeof(double *));
        for (int64_t v = 0; v < graphs[r]->n_values; v++) plain_place_value(run, r, (tsr_value)v);
    }
    for (int64_t i = 0; i < graphs[0]->n_nodes; i++)
        for (int r = 0; r < n_ranks; r++) plain_node(run, r, i);
}

static inline void plain_run_free(plain_run *run)
{
    for (int r = 0; r < run->n_ranks; r++) {
        for (int64_t v = 0; v < run->graphs[r]->n_values; v++) free(run->values[r][v].owned);
        for (int64_t w = 0; w < run->graphs[r]->model->n_weights; w++) free(run->weights[r][w]);
        free(run->values[r]);
        free(run->weights[r]);
    }
}

#endif
