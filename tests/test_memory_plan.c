/* test_memory_plan.c: planned memory: values alive together never overlap, unless one is the other's window
 * or takes its place; and the plan is much smaller than all values side by side. */
#include "layers/model.h"
#include "parallel/shard.h"
#include "layers/fuse.h"
#include "runtime/memory_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { TOKENS = 40, ROWS = 7 };

/* Replays the graph on a map that says which value each float holds last: a read must find its value still
 * there. */
static void replay(const tsr_graph *g, const tsr_memory_plan *plan)
{
    tsr_value *owner = malloc((size_t)plan->floats * sizeof *owner);
    for (int64_t i = 0; i < plan->floats; i++) owner[i] = TSR_NONE;
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        for (int write = 0; write < 2; write++)
            for (int k = 0; k < (write ? n->n_outputs : n->n_inputs); k++) {
                tsr_value v = write ? n->out[k] : n->in[k];
                int64_t rows = g->values[v].rows == TSR_ROWS_TOKENS ? TOKENS : ROWS;
                for (int64_t r = 0; r < rows; r++)
                    for (int64_t c = 0; c < g->values[v].cols; c++) {
                        int64_t at = plan->place[v].offset + r * plan->place[v].ld + c;
                        assert_true(at >= 0 && at < plan->floats);
                        if (write)
                            owner[at] = v;
                        else if (owner[at] != v && owner[at] != g->values[v].parent)
                            fail_msg("node %d reads v%d where v%d lies", (int)i, v, owner[at]);
                    }
            }
    }
    if (g->output != TSR_NONE) assert_int_equal(owner[plan->place[g->output].offset], g->output);
    free(owner);
}

static void check_instance(const char *name, int ranks, tsr_kernels_choice kernels)
{
    char dir[512];
    tsr_model *m, *local;
    tsr_sharding *s;
    tsr_fuse_report report;
    tsr_memory_plan plan;
    snprintf(dir, sizeof dir, "%s/oracle/%s", TSR_TEST_DATA, name);
    assert_int_equal(tsr_model_from_dir(dir, &m), TSR_OK);
    assert_int_equal(tsr_sharding_derive(m, ranks, &s), TSR_OK);
    for (int r = 0; r < ranks; r++) {
        assert_int_equal(tsr_sharding_localize(s, r, &local), TSR_OK);
        assert_int_equal(tsr_fuse(local, kernels, &report), TSR_OK);
        assert_int_equal(tsr_memory_plan_make(&local->graphs[0], TOKENS, ROWS, &plan), TSR_OK);
        replay(&local->graphs[0], &plan);
        int64_t all = 0;
        for (int64_t v = 0; v < local->graphs[0].n_values; v++)
            all += TOKENS * local->graphs[0].values[v].cols;
        assert_true(plan.floats < all * 2 / 3);
        tsr_memory_plan_free(&plan);
        tsr_model_destroy(&local);
    }
    tsr_sharding_destroy(&s);
    tsr_model_destroy(&m);
}

static void test_no_value_is_overwritten(void **state)
{
    (void)state;
    static const char *const names[] = {"llama_gqa", "gpt2_prefixed", "gpt_neox_parallel",
                                        "gpt_neox_sequential", "mistral_window"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int ranks = 1; ranks <= 3; ranks++) {
            check_instance(names[i], ranks, TSR_KERNELS_AUTO);
            check_instance(names[i], ranks, TSR_KERNELS_REFERENCE);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_value_is_overwritten)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
