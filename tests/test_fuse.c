/* test_fuse.c: which patterns of a graph become one op, and which only look like it. */
#include "layers/fuse.h"
#include "layers/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OK(expression) assert_int_equal((expression), TSR_OK)

/* x [T, 8] -> q, k, v -> rotated q, k -> attention, two heads of 4 */
typedef struct fixture {
    tsr_model *m;
    tsr_graph *g;
    int rope[2];
    tsr_value q, k, v, turned_q, turned_k, out;
} fixture;

static const tsr_attention_spec spec = {.heads = 2, .kv_heads = 2, .head_dim = 4, .scale = 1};

static void project(fixture *f, tsr_value x, tsr_value *out)
{
    tsr_weight w;
    OK(tsr_model_matrix(f->m, &w, 8, 8, "projection.%d.weight", (int)f->m->n_weights));
    OK(tsr_graph_linear(f->g, x, w, TSR_NONE, out));
}

static int set_up(void **state)
{
    static fixture f;
    static const float frequencies[] = {1, 0.5f};
    tsr_rope rope = {.dims = 4, .exponent_dims = 4, .inv_freq = frequencies, .attention_factor = 1};
    tsr_weight table;
    tsr_value x;
    OK(tsr_model_create(&f.m));
    OK(tsr_model_add_graph(f.m, "decode", &f.g));
    OK(tsr_model_add_rope(f.m, &rope, &f.rope[0]));
    OK(tsr_model_add_rope(f.m, &rope, &f.rope[1]));
    OK(tsr_model_matrix(f.m, &table, 11, 8, "wte.weight"));
    OK(tsr_graph_embed(f.g, table, TSR_EMBED_IDS, 0, 1, &x));
    project(&f, x, &f.q);
    project(&f, x, &f.k);
    project(&f, x, &f.v);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    tsr_model_destroy(&f->m);
    return 0;
}

static void turn(fixture *f, int table_of_q, tsr_rope_style style_of_q)
{
    OK(tsr_graph_rope(f->g, f->q, 2, 4, 4, style_of_q, f->rope[table_of_q], &f->turned_q));
    OK(tsr_graph_rope(f->g, f->k, 2, 4, 4, TSR_ROPE_HALF, f->rope[0], &f->turned_k));
}

static void attend(fixture *f)
{
    tsr_value y;
    OK(tsr_graph_attention(f->g, f->turned_q, f->turned_k, f->v, &spec, &y));
    project(f, y, &f->out);
    f->g->output = f->out;
}

static int count(const tsr_graph *g, tsr_op op, const tsr_node **last)
{
    int n = 0;
    for (int64_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != op) continue;
        *last = &g->nodes[i];
        n++;
    }
    return n;
}

/* Were the rotations taken into the attention? All or none. */
static bool is_fused(fixture *f, tsr_kernels_choice choice)
{
    tsr_fuse_report report;
    const tsr_node *rope = NULL, *attention = NULL;
    OK(tsr_fuse(f->m, choice, &report));
    int ropes = count(f->g, TSR_OP_ROPE, &rope);
    assert_int_equal(count(f->g, TSR_OP_ATTENTION, &attention), 1);
    assert_int_equal(report.ropes, ropes == 0);
    assert_int_equal(attention->attrs.attention.rotary_dim, ropes == 0 ? 4 : 0);
    assert_int_equal(attention->in[0], ropes == 0 ? f->q : f->turned_q);
    assert_int_equal(attention->in[1], ropes == 0 ? f->k : f->turned_k);
    assert_int_equal(attention->in[2], f->v);
    return ropes == 0;
}

static void rotations_become_part_of_attention(void **state)
{
    fixture *f = *state;
    const tsr_node *attention = NULL;
    turn(f, 0, TSR_ROPE_HALF);
    attend(f);
    assert_true(is_fused(f, TSR_KERNELS_AUTO));
    count(f->g, TSR_OP_ATTENTION, &attention);
    assert_int_equal(attention->attrs.attention.style, TSR_ROPE_HALF);
    assert_int_equal(attention->attrs.attention.rope, f->rope[0]);
}

static void reference_kernels_fuse_nothing(void **state)
{
    fixture *f = *state;
    turn(f, 0, TSR_ROPE_HALF);
    attend(f);
    assert_false(is_fused(f, TSR_KERNELS_REFERENCE));
}

static void rotations_that_differ_stay(void **state)
{
    fixture *f = *state;
    turn(f, 1, TSR_ROPE_HALF);
    attend(f);
    assert_false(is_fused(f, TSR_KERNELS_AUTO));
}

static void styles_that_differ_stay(void **state)
{
    fixture *f = *state;
    turn(f, 0, TSR_ROPE_INTERLEAVED);
    attend(f);
    assert_false(is_fused(f, TSR_KERNELS_AUTO));
}

/* Somebody else wants the rotated keys. */
static void a_second_reader_keeps_them(void **state)
{
    fixture *f = *state;
    turn(f, 0, TSR_ROPE_HALF);
    attend(f);
    OK(tsr_graph_add(f->g, f->out, f->turned_k, &f->g->output));
    assert_false(is_fused(f, TSR_KERNELS_AUTO));
}

/* Attention writes over the queries it rotates: nobody else may need them as they were. */
static void queries_that_are_needed_stay(void **state)
{
    fixture *f = *state;
    turn(f, 0, TSR_ROPE_HALF);
    attend(f);
    OK(tsr_graph_add(f->g, f->out, f->q, &f->g->output));
    assert_false(is_fused(f, TSR_KERNELS_AUTO));
}

/* x [T, 8] -> gate, up [T, 6] -> silu(gate) * up */
static void gate(fixture *f, tsr_value *up)
{
    tsr_weight wg, wu;
    tsr_value g;
    OK(tsr_model_matrix(f->m, &wg, 6, 8, "gate.weight"));
    OK(tsr_model_matrix(f->m, &wu, 6, 8, "up.weight"));
    OK(tsr_graph_linear(f->g, f->q, wg, TSR_NONE, &g));
    OK(tsr_graph_linear(f->g, f->q, wu, TSR_NONE, up));
    OK(tsr_graph_gated(f->g, g, *up, TSR_ACT_SILU, &f->g->output));
}

static int fused_gates(fixture *f)
{
    tsr_fuse_report report;
    int gates;
    OK(tsr_fuse(f->m, TSR_KERNELS_AUTO, &report));
    OK(tsr_fuse_gated_linears(f->m, &gates));
    return gates;
}

static void gates_become_part_of_their_product(void **state)
{
    fixture *f = *state;
    tsr_value up;
    gate(f, &up);
    assert_int_equal(fused_gates(f), 1);
    const tsr_node *last = &f->g->nodes[f->g->n_nodes - 1];
    assert_int_equal(last->op, TSR_OP_GATED_LINEAR);
    assert_int_equal(last->in[0], f->q);
    assert_int_equal(last->out[0], f->g->output);
    assert_int_equal(f->m->weights[last->weight[0]].rows, 12);
}

static void gates_that_others_read_stay(void **state)
{
    fixture *f = *state;
    tsr_value up;
    gate(f, &up);
    OK(tsr_graph_add(f->g, f->g->output, up, &f->g->output));
    assert_int_equal(fused_gates(f), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rotations_become_part_of_attention), TEST(reference_kernels_fuse_nothing),
        TEST(rotations_that_differ_stay),         TEST(styles_that_differ_stay),
        TEST(a_second_reader_keeps_them),         TEST(queries_that_are_needed_stay),
        TEST(gates_become_part_of_their_product), TEST(gates_that_others_read_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
