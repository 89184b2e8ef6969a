/* test_stage.c: the stages of models are found by the flow of values, fused or not, alone and sharded, and their work is
 * what the shapes say; rope angles that are remembered are those that are computed. */
#include "layers/fuse.h"
#include "layers/model.h"
#include "parallel/shard.h"
#include "runtime/rope_memo.h"
#include "runtime/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OK(expression) assert_int_equal((expression), TSR_OK)

typedef struct counts {
    int of[TSR_STAGE_COUNT];
} counts;

static tsr_model *local_model(const char *instance, int ranks, tsr_kernels_choice choice)
{
    char path[1024];
    tsr_json config = {0};
    tsr_model *whole, *local;
    tsr_sharding *sharding;
    tsr_fuse_report report;
    snprintf(path, sizeof path, "%s/oracle/%s/config.json", TSR_TEST_DATA, instance);
    OK(tsr_json_read(path, TSR_JSON_CONFIG_CAP, &config));
    OK(tsr_model_from_config(&config, &whole));
    OK(tsr_sharding_derive(whole, ranks, &sharding));
    OK(tsr_sharding_localize(sharding, 0, &local));
    OK(tsr_fuse(local, choice, &report));
    tsr_sharding_destroy(&sharding);
    tsr_model_destroy(&whole);
    tsr_json_free(&config);
    return local;
}

static counts count(const char *instance, int ranks, tsr_kernels_choice choice, bool gated)
{
    counts c = {{0}};
    tsr_model *m = local_model(instance, ranks, choice);
    int n;
    if (gated) OK(tsr_fuse_gated_linears(m, &n));
    for (int64_t i = 0; i < m->graphs[0].n_nodes; i++) c.of[tsr_stage_of(&m->graphs[0], i, ranks == 1)]++;
    tsr_model_destroy(&m);
    return c;
}

/* A llama of two layers. */
static void stages_are_found(void **state)
{
    (void)state;
    counts plain = count("llama_gqa", 2, TSR_KERNELS_REFERENCE, false);
    assert_int_equal(plain.of[TSR_STAGE_EMBED], 1);
    assert_int_equal(plain.of[TSR_STAGE_QKV], 6);
    assert_int_equal(plain.of[TSR_STAGE_ATTENTION], 6); /* two rotations each */
    assert_int_equal(plain.of[TSR_STAGE_ATTENTION_OUT], 2);
    assert_int_equal(plain.of[TSR_STAGE_FFN_UP], 6); /* gate, up and what multiplies them */
    assert_int_equal(plain.of[TSR_STAGE_FFN_DOWN], 2);
    assert_int_equal(plain.of[TSR_STAGE_HEAD], 1);
    counts fused = count("llama_gqa", 2, TSR_KERNELS_AUTO, false);
    assert_int_equal(fused.of[TSR_STAGE_QKV], 2);
    assert_int_equal(fused.of[TSR_STAGE_ATTENTION], 2);
    assert_int_equal(fused.of[TSR_STAGE_FFN_UP], 4);
    assert_true(fused.of[TSR_STAGE_COLLECTIVE] >= 4);
    counts gated = count("llama_gqa", 2, TSR_KERNELS_AUTO, true);
    assert_int_equal(gated.of[TSR_STAGE_FFN_UP], 2);
    assert_int_equal(gated.of[TSR_STAGE_FFN_DOWN], 2);
    counts alone = count("llama_gqa", 1, TSR_KERNELS_AUTO, false);
    assert_true(alone.of[TSR_STAGE_NORM] > fused.of[TSR_STAGE_NORM]); /* no sum over ranks is left in them */
}

/* Attention and MLP side by side: one linear makes queries, keys, values and the MLP's input. */
static void parallel_blocks_have_stages(void **state)
{
    (void)state;
    counts c = count("gptj_partial", 1, TSR_KERNELS_REFERENCE, false);
    assert_int_equal(c.of[TSR_STAGE_QKV], 6);
    assert_int_equal(c.of[TSR_STAGE_FFN_DOWN], 2);
    c = count("gptj_partial", 1, TSR_KERNELS_AUTO, false);
    assert_int_equal(c.of[TSR_STAGE_QKV], 2);
    assert_int_equal(c.of[TSR_STAGE_ATTENTION_OUT], 2);
    assert_int_equal(c.of[TSR_STAGE_OTHER], 1); /* the rows that are wanted */
}

static void work_is_counted(void **state)
{
    (void)state;
    tsr_model *m = local_model("llama_gqa", 1, TSR_KERNELS_REFERENCE);
    const tsr_graph *g = &m->graphs[0];
    const tsr_step_sequence sequences[2] = {{.n_tokens = 3, .position = 4},
                                            {.first_token = 3, .n_tokens = 1}};
    const int32_t rows[2] = {2, 3};
    const tsr_step step = {
        .n_tokens = 4, .n_sequences = 2, .n_rows = 2, .sequences = sequences, .rows = rows};
    tsr_step_load load = tsr_step_get_load(&step);
    assert_false(load.decode);
    assert_true(load.cached == 8 && load.pairs == 5 + 6 + 7 + 1);
    for (int64_t i = 0; i < g->n_nodes; i++) {
        const tsr_node *n = &g->nodes[i];
        tsr_work w = tsr_stage_work(g, i, &load, 2);
        assert_true(w.bytes > 0);
        if (n->op == TSR_OP_LINEAR) {
            double size = (double)m->weights[n->weight[0]].rows * (double)m->weights[n->weight[0]].cols;
            double r = tsr_stage_of(g, i, true) == TSR_STAGE_HEAD ? 2 : 4;
            assert_true(w.flops == 2 * size * r);
            assert_true(w.bytes > 2 * size && w.bytes < 2 * size + 2 * r * 1000);
        } else if (n->op == TSR_OP_ATTENTION) {
            double heads = n->attrs.attention.heads, dim = n->attrs.attention.head_dim;
            assert_true(w.flops == 2 * load.pairs * heads * 2 * dim);
        } else {
            assert_true(w.flops == 0);
        }
    }
    const int32_t first[1] = {0};
    const tsr_step one = {
        .n_tokens = 1, .n_sequences = 1, .n_rows = 1, .sequences = sequences + 1, .rows = first};
    assert_true(tsr_step_get_load(&one).decode);
    tsr_model_destroy(&m);
}

static void remembered_angles_are_the_same(void **state)
{
    (void)state;
    static const float frequencies[] = {1, 0.3f, 0.01f, 0.5f};
    const tsr_rope ropes[] = {
        {.dims = 8, .exponent_dims = 8, .inv_freq = frequencies, .attention_factor = 1.1f},
        {.dims = 8, .exponent_dims = 8, .inv_freq = frequencies, .attention_factor = 1, .two_rows = true},
        {.kind = TSR_ROPE_DYNAMIC,
         .dims = 8,
         .exponent_dims = 8,
         .inv_freq = frequencies,
         .theta = 100,
         .factor = 2,
         .max_positions = 20,
         .attention_factor = 1},
    };
    for (size_t k = 0; k < sizeof ropes / sizeof *ropes; k++) {
        tsr_rope_memo *memo;
        OK(tsr_rope_memo_create(&ropes[k], 30, &memo));
        for (int64_t i = 0; i < 200; i++) {
            int64_t first = i * 7 % 40, second = i % 3, length = i % 2 ? 40 : first + 1;
            float found[8], wanted[8];
            tsr_rope_memo_angles(memo, first, second, length, found);
            tsr_rope_angles_of_rows(&ropes[k], first, second, length, wanted, wanted + 4);
            assert_memory_equal(found, wanted, sizeof found);
        }
        tsr_rope_memo_destroy(&memo);
        tsr_rope_memo_destroy(&memo);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_are_found),
        cmocka_unit_test(parallel_blocks_have_stages),
        cmocka_unit_test(work_is_counted),
        cmocka_unit_test(remembered_angles_are_the_same),
    };
    return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
