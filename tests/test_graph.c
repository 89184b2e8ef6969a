/* test_graph.c: what the graph accepts and refuses, and its printed form. */
#include "layers/graph.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define OK(expression)                                                                                       \
    do {                                                                                                     \
        tsr_status ok_ = (expression);                                                                       \
        if (ok_ != TSR_OK) fail_msg("%s: %s: %s", #expression, tsr_status_name(ok_), tsr_error_text());      \
    } while (0)

/* The expression fails with this status, and its line has this text. */
#define FAILS(expression, status, text)                                                                      \
    do {                                                                                                     \
        tsr_status found_ = (expression);                                                                    \
        if (found_ != (status) || !strstr(tsr_error_text(), text))                                           \
            fail_msg("%s: %s: %s", #expression, tsr_status_name(found_), tsr_error_text());                  \
    } while (0)

/* A model with one graph, one rope table of 4 dimensions, and a few weights. */
typedef struct fixture {
    tsr_model *m;
    tsr_graph *g;
    tsr_weight table, square, wide, bias8, bias24;
    int rope;
    tsr_value x; /* [T, 8] */
} fixture;

static int set_up(void **state)
{
    static fixture f;
    static const float frequencies[] = {1, 0.5f};
    tsr_rope rope = {.dims = 4, .exponent_dims = 4, .inv_freq = frequencies, .attention_factor = 1};
    OK(tsr_model_create(&f.m));
    OK(tsr_model_add_graph(f.m, "decode", &f.g));
    OK(tsr_model_matrix(f.m, &f.table, 11, 8, "wte.weight"));
    OK(tsr_model_matrix(f.m, &f.square, 8, 8, "h.%d.square.weight", 3));
    OK(tsr_model_matrix(f.m, &f.wide, 24, 8, "wide.weight"));
    OK(tsr_model_vector(f.m, &f.bias8, 8, "square.bias"));
    OK(tsr_model_vector(f.m, &f.bias24, 24, "wide.bias"));
    OK(tsr_model_add_rope(f.m, &rope, &f.rope));
    OK(tsr_graph_embed(f.g, f.table, TSR_EMBED_IDS, 0, 1, &f.x));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    tsr_model_destroy(&f->m);
    assert_null(f->m);
    tsr_model_destroy(&f->m);
    return 0;
}

static void every_op_appends_one_node(void **state)
{
    fixture *f = *state;
    tsr_graph *g = f->g;
    tsr_value p, n, q, r, k, y, h, a, out;
    tsr_attention_spec spec = {
        .heads = 4, .kv_heads = 2, .head_dim = 2, .value_dim = 4, .scale = 0.5f, .window = 3};
    tsr_weight half;
    OK(tsr_model_matrix(f->m, &half, 4, 8, "k.weight"));
    OK(tsr_graph_embed(g, f->table, TSR_EMBED_POSITIONS, 2, 1.5f, &p));
    g->current_layer = 0;
    OK(tsr_graph_norm(g, f->x, TSR_NORM_RMS, 1e-6f, f->bias8, TSR_NONE, &n));
    OK(tsr_graph_norm(g, p, TSR_NORM_LAYER, 1e-5f, TSR_NONE, TSR_NONE, &h));
    OK(tsr_graph_linear(g, n, f->square, f->bias8, &q));
    OK(tsr_graph_rope(g, q, 2, 4, 4, TSR_ROPE_INTERLEAVED, f->rope, &r));
    OK(tsr_graph_linear(g, n, half, TSR_NONE, &k));
    OK(tsr_graph_attention(g, r, k, q, &spec, &y));
    OK(tsr_graph_linear(g, f->x, f->wide, f->bias24, &h));
    OK(tsr_graph_act(g, h, TSR_ACT_GELU_TANH, &a));
    OK(tsr_graph_gated(g, h, a, TSR_ACT_SILU, &out));
    OK(tsr_graph_add(g, f->x, p, &h));
    OK(tsr_graph_select_rows(g, h, &g->output));
    static const char expected[] = "v0 [T, 8] = embed(; wte.weight) by id\n"
                                   "v1 [T, 8] = embed(; wte.weight) by position + 2, times 1.5\n"
                                   "v2 [T, 8] = norm(v0; square.bias) RMS, eps 1e-06\n"
                                   "v3 [T, 8] = norm(v1) layer, eps 1e-05\n"
                                   "v4 [T, 8] = linear(v2; h.3.square.weight, square.bias)\n"
                                   "v5 [T, 8] = rope(v4) heads 2 x 4, 4 rotated, interleaved, table 0\n"
                                   "v6 [T, 4] = linear(v2; k.weight)\n"
                                   "v7 [T, 16] = attention(v5, v6, v4) heads 4 x 2, kv heads 2, scale 0.5, "
                                   "cache 0, values of 4, window 3\n"
                                   "v8 [T, 24] = linear(v0; wide.weight, wide.bias)\n"
                                   "v9 [T, 24] = act(v8) GELU_TANH\n"
                                   "v10 [T, 24] = gated(v8, v9) SILU\n"
                                   "v11 [T, 8] = add(v0, v1)\n"
                                   "v12 [R, 8] = select_rows(v11)\n";
    tsr_text text;
    OK(tsr_text_init(&text, 1 << 16));
    OK(tsr_graph_print(g, &text));
    assert_string_equal(text.data, expected);
    tsr_text_free(&text);
    assert_int_equal(g->nodes[0].layer, TSR_NONE);
    assert_int_equal(g->nodes[2].layer, 0);
    assert_int_equal(g->nodes[7].attrs.attention.group, 2);
    assert_int_equal(f->m->n_cache_layers, 1);
    assert_int_equal(f->m->cache_layers[0].value_dim, 4);
    assert_ptr_equal(tsr_model_graph(f->m, "decode"), g);
    assert_null(tsr_model_graph(f->m, "encode"));
}

static void misfits_are_refused(void **state)
{
    fixture *f = *state;
    tsr_graph *g = f->g;
    int64_t nodes = g->n_nodes;
    tsr_value v, wide, rows;
    OK(tsr_graph_linear(g, f->x, f->wide, TSR_NONE, &wide));
    OK(tsr_graph_select_rows(g, f->x, &rows));
    FAILS(tsr_graph_embed(g, f->bias8, TSR_EMBED_IDS, 0, 1, &v), TSR_ERR_INTERNAL, "needs a matrix");
    FAILS(tsr_graph_embed(g, f->table, TSR_EMBED_IDS, -1, 1, &v), TSR_ERR_INTERNAL, "offset");
    FAILS(tsr_graph_embed(g, 99, TSR_EMBED_IDS, 0, 1, &v), TSR_ERR_INTERNAL, "needs a matrix");
    FAILS(tsr_graph_linear(g, wide, f->square, TSR_NONE, &v), TSR_ERR_INTERNAL, "h.3.square.weight");
    FAILS(tsr_graph_linear(g, f->x, f->wide, f->bias8, &v), TSR_ERR_INTERNAL, "wide.weight");
    FAILS(tsr_graph_linear(g, f->x, f->bias8, TSR_NONE, &v), TSR_ERR_INTERNAL, "do not fit");
    FAILS(tsr_graph_linear(g, TSR_NONE, f->square, TSR_NONE, &v), TSR_ERR_INTERNAL, "no such input");
    FAILS(tsr_graph_norm(g, wide, TSR_NORM_RMS, 0, f->bias8, TSR_NONE, &v), TSR_ERR_INTERNAL, "do not fit");
    FAILS(tsr_graph_norm(g, f->x, TSR_NORM_RMS, -1, f->bias8, TSR_NONE, &v), TSR_ERR_INTERNAL, "eps");
    FAILS(tsr_graph_norm(g, f->x, TSR_NORM_RMS, NAN, f->bias8, TSR_NONE, &v), TSR_ERR_INTERNAL, "eps");
    FAILS(tsr_graph_norm(g, f->x, TSR_NORM_LAYER, 0, TSR_NONE, f->bias8, &v), TSR_ERR_INTERNAL,
          "without a weight");
    FAILS(tsr_graph_add(g, f->x, wide, &v), TSR_ERR_INTERNAL, "differ");
    FAILS(tsr_graph_add(g, f->x, rows, &v), TSR_ERR_INTERNAL, "differ");
    FAILS(tsr_graph_gated(g, f->x, wide, TSR_ACT_SILU, &v), TSR_ERR_INTERNAL, "differ");
    FAILS(tsr_graph_act(g, f->x, TSR_ACT_COUNT, &v), TSR_ERR_INTERNAL, "activation");
    FAILS(tsr_graph_rope(g, f->x, 3, 4, 4, TSR_ROPE_HALF, f->rope, &v), TSR_ERR_INTERNAL, "wide");
    FAILS(tsr_graph_rope(g, f->x, 1, 8, 6, TSR_ROPE_HALF, f->rope, &v), TSR_ERR_INTERNAL, "rotary_dim");
    FAILS(tsr_graph_rope(g, f->x, 4, 2, 4, TSR_ROPE_HALF, f->rope, &v), TSR_ERR_INTERNAL, "rotary_dim");
    FAILS(tsr_graph_rope(g, f->x, 1, 8, 4, TSR_ROPE_HALF, 1, &v), TSR_ERR_INTERNAL, "no such table");
    FAILS(tsr_graph_select_rows(g, rows, &v), TSR_ERR_INTERNAL, "rows of all tokens");
    assert_int_equal(v, TSR_NONE);
    assert_int_equal(g->n_nodes, nodes + 2);
}

static void attention_must_fit_its_heads(void **state)
{
    fixture *f = *state;
    const tsr_attention_spec good = {.heads = 4, .kv_heads = 4, .head_dim = 2, .scale = 1};
    tsr_value v;
    OK(tsr_graph_attention(f->g, f->x, f->x, f->x, &good, &v));
    int64_t cache_layers = f->m->n_cache_layers;
    for (int i = 0; i < 7; i++) {
        tsr_attention_spec bad = good;
        if (i == 0) bad.heads = 3;
        if (i == 1) bad.kv_heads = 3;
        if (i == 2) bad.head_dim = 0;
        if (i == 3) bad.value_dim = 3;
        if (i == 4) bad.scale = NAN;
        if (i == 5) bad.window = -1;
        if (i == 6) bad.heads = bad.kv_heads = -4;
        FAILS(tsr_graph_attention(f->g, f->x, f->x, f->x, &bad, &v), TSR_ERR_INTERNAL, "do not fit");
    }
    assert_int_equal(f->m->n_cache_layers, cache_layers);
}

static void malformed_nodes_are_refused(void **state)
{
    fixture *f = *state;
    const tsr_node good = {
        .op = TSR_OP_ADD, .n_inputs = 2, .n_outputs = 1, .in = {f->x, f->x}, .out = {f->x}};
    OK(tsr_graph_add_node(f->g, &good));
    assert_int_equal(f->g->nodes[f->g->n_nodes - 1].weight[0], TSR_NONE);
    for (int i = 0; i < 7; i++) {
        tsr_node bad = good;
        if (i == 0) bad.op = TSR_OP_COUNT;
        if (i == 1) bad.n_inputs = 1;
        if (i == 2) bad.in[1] = 77;
        if (i == 3) bad.out[0] = TSR_NONE;
        if (i == 4) bad.n_weights = 1;
        if (i == 5) bad.n_outputs = 3;
        if (i == 6) bad.in[0] = TSR_NONE;
        assert_int_equal(tsr_graph_add_node(f->g, &bad), TSR_ERR_INTERNAL);
    }
}

static void absurd_sizes_are_refused(void **state)
{
    fixture *f = *state;
    tsr_weight w;
    tsr_value v;
    FAILS(tsr_model_matrix(f->m, &w, 1 << 25, 8, "big.weight"), TSR_ERR_FORMAT, "big.weight");
    FAILS(tsr_model_matrix(f->m, &w, 8, INT64_MAX, "big.weight"), TSR_ERR_FORMAT, "big.weight");
    FAILS(tsr_model_vector(f->m, &w, 0, "empty.weight"), TSR_ERR_FORMAT, "empty.weight");
    FAILS(tsr_model_vector(f->m, &w, 8, "%01000d", 1), TSR_ERR_INTERNAL, "name too long");
    FAILS(tsr_graph_add_value(f->g, TSR_ROWS_TOKENS, 0, &v), TSR_ERR_FORMAT, "columns");
    FAILS(tsr_graph_add_value(f->g, TSR_ROWS_TOKENS, (1 << 24) + 1, &v), TSR_ERR_FORMAT, "columns");
    for (int i = 1; i < TSR_MAX_GRAPHS; i++) OK(tsr_model_add_graph(f->m, "more", &f->g));
    FAILS(tsr_model_add_graph(f->m, "more", &f->g), TSR_ERR_INTERNAL, "no room");
}

static void activations_have_the_names_of_configs(void **state)
{
    (void)state;
    tsr_activation a;
    OK(tsr_activation_from_name("gelu_fast", "config.json", &a));
    assert_int_equal(a, TSR_ACT_GELU_TANH);
    OK(tsr_activation_from_name("gelu", "config.json", &a));
    assert_int_equal(a, TSR_ACT_GELU);
    OK(tsr_activation_from_name("swish", "config.json", &a));
    assert_int_equal(a, TSR_ACT_SILU);
    FAILS(tsr_activation_from_name("gel", "config.json", &a), TSR_ERR_FORMAT,
          "config.json: activation \"gel\"");
    FAILS(tsr_activation_from_name("", "config.json", &a), TSR_ERR_FORMAT, "gelu_new|");
    FAILS(tsr_activation_from_name("silu|swish", "config.json", &a), TSR_ERR_FORMAT,
          "not one of those we have");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_op_appends_one_node),    TEST(misfits_are_refused),
        TEST(attention_must_fit_its_heads), TEST(malformed_nodes_are_refused),
        TEST(absurd_sizes_are_refused),     cmocka_unit_test(activations_have_the_names_of_configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
