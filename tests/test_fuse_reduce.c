/* test_fuse_reduce.c: which sums over the ranks become one op with the norm behind them, which of these may deal their rows,
 * and that the graphs compute the same, fused or not. */
#include "layers/fuse.h"
#include "layers/model.h"
#include "parallel/shard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "support_graph.h"

enum { MOST_RANKS = 3, N_TOKENS = 9 };

/* An instance of tests/oracle, localized for some ranks. */
typedef struct instance {
    tsr_model *model, *local[MOST_RANKS];
    tsr_sharding *sharding;
    tsr_source *source;
    tsr_graph *graph[MOST_RANKS];
    tsr_fuse_report report;
    int ranks;
} instance;

static void open_instance(instance *s, const char *name, int ranks, tsr_kernels_choice kernels)
{
    char dir[512];
    *s = (instance){.ranks = ranks};
    snprintf(dir, sizeof dir, "%s/oracle/%s", TSR_TEST_DATA, name);
    assert_int_equal(tsr_model_from_dir(dir, &s->model), TSR_OK);
    assert_int_equal(tsr_source_open(dir, &s->source), TSR_OK);
    assert_int_equal(tsr_sharding_derive(s->model, ranks, &s->sharding), TSR_OK);
    for (int r = 0; r < ranks; r++) {
        assert_int_equal(tsr_sharding_localize(s->sharding, r, &s->local[r]), TSR_OK);
        assert_int_equal(tsr_fuse(s->local[r], kernels, &s->report), TSR_OK);
        s->graph[r] = &s->local[r]->graphs[0];
    }
}

static void close_instance(instance *s)
{
    for (int r = 0; r < s->ranks; r++) tsr_model_destroy(&s->local[r]);
    tsr_sharding_destroy(&s->sharding);
    tsr_source_destroy(&s->source);
    tsr_model_destroy(&s->model);
}

static int64_t count(const tsr_graph *g, tsr_op op)
{
    int64_t n = 0;
    for (int64_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

/* Sequential residuals: every sum but the embedding's and the last one, which no norm follows directly, is fused and
 * dealt; only the last of these must be whole, for the sum that was not fused adds to it. */
static void check_chain(const char *name, int fused, int left)
{
    instance s;
    open_instance(&s, name, 2, TSR_KERNELS_AUTO);
    const tsr_graph *g = s.graph[1];
    int64_t seen = 0;
    assert_int_equal(count(g, TSR_OP_REDUCE_ADD_NORM), fused);
    assert_int_equal(s.report.reductions, fused);
    assert_int_equal(count(g, TSR_OP_ALL_REDUCE), left);
    for (int64_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != TSR_OP_REDUCE_ADD_NORM) continue;
        assert_true(g->nodes[i].attrs.norm.dealt);
        assert_int_equal(g->nodes[i].attrs.norm.whole_sum, ++seen == fused);
    }
    close_instance(&s);
}

static void sequential_residuals_are_dealt(void **state)
{
    (void)state;
    instance s;
    open_instance(&s, "llama_gqa", 2, TSR_KERNELS_REFERENCE);
    int layers = (int)s.model->n_cache_layers;
    assert_int_equal(count(s.graph[0], TSR_OP_REDUCE_ADD_NORM), 0);
    close_instance(&s);
    check_chain("llama_gqa", 2 * layers - 1, 2);
}

/* GPT-NeoX's parallel blocks: two norms read each sum, so all ranks need all of it, and nothing is dealt. */
static void sums_read_by_others_stay_whole(void **state)
{
    (void)state;
    instance s;
    open_instance(&s, "gpt_neox_parallel", 2, TSR_KERNELS_AUTO);
    const tsr_graph *g = s.graph[0];
    assert_true(count(g, TSR_OP_REDUCE_ADD_NORM) > 0);
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == TSR_OP_REDUCE_ADD_NORM) assert_false(g->nodes[i].attrs.norm.dealt);
    close_instance(&s);
}

/* Wherever a sum is read but as the residual of a dealt op, it is whole; so is a residual that is added everywhere. */
static void every_reader_gets_what_it_needs(void **state)
{
    (void)state;
    static const char *const names[] = {"llama_gqa", "gpt2_prefixed", "gpt_neox_sequential",
                                        "mistral_window"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        instance s;
        open_instance(&s, names[n], 3, TSR_KERNELS_AUTO);
        const tsr_graph *g = s.graph[2];
        for (int64_t i = 0; i < g->n_nodes; i++) {
            const tsr_node *a = &g->nodes[i];
            if (a->op != TSR_OP_REDUCE_ADD_NORM || !a->attrs.norm.dealt || a->attrs.norm.whole_sum) continue;
            assert_int_not_equal(g->output, a->out[1]);
            for (int64_t j = 0; j < g->n_nodes; j++)
                for (int k = 0; k < g->nodes[j].n_inputs; k++)
                    if (g->nodes[j].in[k] == a->out[1])
                        assert_true(k == 1 && g->nodes[j].op == TSR_OP_REDUCE_ADD_NORM &&
                                    g->nodes[j].attrs.norm.dealt);
        }
        close_instance(&s);
    }
}

static void fused_graphs_compute_the_same(void **state)
{
    (void)state;
    static const char *const names[] = {"llama_gqa", "gpt2_prefixed", "gpt_neox_parallel"};
    static const int ids[N_TOKENS] = {3, 1, 4, 1, 5, 9, 2, 6, 5};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
            instance plain, fused;
            plain_run a, b;
            open_instance(&plain, names[n], ranks, TSR_KERNELS_REFERENCE);
            open_instance(&fused, names[n], ranks, TSR_KERNELS_AUTO);
            plain_run_graphs(&a, plain.graph, ranks, plain.source, ids, N_TOKENS);
            plain_run_graphs(&b, fused.graph, ranks, fused.source, ids, N_TOKENS);
            tsr_value va = plain.graph[0]->output, vb = fused.graph[0]->output;
            for (int t = 0; t < N_TOKENS; t++)
                for (int64_t c = 0; c < plain.graph[0]->values[va].cols; c++)
                    assert_true(fabs(plain_at(&a, 0, va, t, c) - plain_at(&b, 0, vb, t, c)) < 1e-9);
            plain_run_free(&a);
            plain_run_free(&b);
            close_instance(&plain);
            close_instance(&fused);
        }
}

static void the_printed_form_tells(void **state)
{
    (void)state;
    instance s;
    tsr_text text;
    open_instance(&s, "llama_gqa", 2, TSR_KERNELS_AUTO);
    assert_int_equal(tsr_text_init(&text, 1 << 20), TSR_OK);
    assert_int_equal(tsr_graph_print(s.graph[0], &text), TSR_OK);
    assert_non_null(strstr(text.data, " = reduce_add_norm(v"));
    assert_non_null(strstr(text.data, ", rows dealt\n"));
    assert_non_null(strstr(text.data, ", rows dealt, sum whole\n"));
    tsr_text_free(&text);
    close_instance(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequential_residuals_are_dealt),  cmocka_unit_test(sums_read_by_others_stay_whole),
        cmocka_unit_test(every_reader_gets_what_it_needs), cmocka_unit_test(fused_graphs_compute_the_same),
        cmocka_unit_test(the_printed_form_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
