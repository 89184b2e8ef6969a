/* test_ranks.c: N ranks compute what one rank computes, whatever N; fused kernels what plain ones compute;
 * chunks what the whole prompt gives. Every instance of tests/oracle, ranks as threads of this process. */
#include "support_ranks.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

enum { N_TOKENS = 61 };

enum { MAX_INSTANCES = 256 };

static char instances[MAX_INSTANCES][512];
static int n_instances;

static int list_instances(void **state)
{
    (void)state;
    DIR *d = opendir(TSR_TEST_DATA "/oracle");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) && n_instances < MAX_INSTANCES;) {
        char path[700];
        snprintf(path, sizeof path, "%s/oracle/%s/config.json", TSR_TEST_DATA, e->d_name);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        fclose(f);
        snprintf(instances[n_instances++], sizeof instances[0], "%s/oracle/%.200s", TSR_TEST_DATA, e->d_name);
    }
    closedir(d);
    return 0;
}

static int64_t vocabulary_of(const char *dir)
{
    tsr_model *m;
    assert_int_equal(tsr_model_from_dir(dir, &m), TSR_OK);
    int64_t v = m->vocabulary;
    tsr_model_destroy(&m);
    return v;
}

static rank_run run_with(const char *dir, int ranks, int chunk, tsr_kernels_choice kernels, tsr_dtype dtype)
{
    static int32_t ids[N_TOKENS];
    int64_t v = vocabulary_of(dir);
    for (int i = 0; i < N_TOKENS; i++) ids[i] = (int32_t)((i * 37 + 11) % v);
    rank_run run = {.model_dir = dir,
                    .n_ranks = ranks,
                    .chunk = chunk,
                    .kernels = kernels,
                    .dtype = dtype,
                    .n_tokens = N_TOKENS,
                    .ids = ids};
    run_ranks(&run);
    if (run.error[0]) fail_msg("%s on %d ranks: %s", dir, ranks, run.error);
    return run;
}

/* The same with a communicator that takes rows. */
static rank_run run_by_rows(const rank_run *like)
{
    rank_run run = *like;
    run.by_rows = true;
    run_ranks(&run);
    if (run.error[0]) fail_msg("%s on %d ranks by rows: %s", run.model_dir, run.n_ranks, run.error);
    return run;
}

static double worst_difference(const rank_run *a, const rank_run *b)
{
    double worst = 0;
    assert_int_equal(a->vocabulary, b->vocabulary);
    for (int64_t i = 0; i < a->n_tokens * a->vocabulary; i++) {
        double d = fabs((double)a->logits[i] - (double)b->logits[i]);
        if (!(d <= worst)) worst = d; /* NaN too */
    }
    return worst;
}

static void compare(const rank_run *a, const rank_run *b, double bound, const char *what)
{
    double worst = worst_difference(a, b);
    if (!(worst <= bound)) fail_msg("%s, %s: logits differ by %g", a->model_dir, what, worst);
}

static void test_any_number_of_ranks(void **state)
{
    (void)state;
    assert_true(n_instances >= 12);
    for (int i = 0; i < n_instances; i++) {
        rank_run one = run_with(instances[i], 1, N_TOKENS, TSR_KERNELS_AUTO, TSR_F32);
        for (int n = 2; n <= 7; n++) {
            char what[32];
            snprintf(what, sizeof what, "%d ranks", n);
            rank_run many = run_with(instances[i], n, N_TOKENS, TSR_KERNELS_AUTO, TSR_F32);
            compare(&one, &many, 5e-5, what);
            assert_true(many.reductions > 0);
            free(many.logits);
        }
        free(one.logits);
    }
}

static void test_fused_as_plain(void **state)
{
    (void)state;
    for (int i = 0; i < n_instances; i++)
        for (int n = 1; n <= 3; n += 2) {
            rank_run plain = run_with(instances[i], n, N_TOKENS, TSR_KERNELS_REFERENCE, TSR_F32);
            rank_run fused = run_with(instances[i], n, N_TOKENS, TSR_KERNELS_AUTO, TSR_F32);
            compare(&plain, &fused, 1e-5, "fused against plain");
            free(plain.logits);
            free(fused.logits);
        }
}

static void test_chunks_as_whole(void **state)
{
    (void)state;
    for (int i = 0; i < n_instances; i++) {
        rank_run whole = run_with(instances[i], 2, N_TOKENS, TSR_KERNELS_AUTO, TSR_F32);
        rank_run chunks = run_with(instances[i], 2, 7, TSR_KERNELS_AUTO, TSR_F32);
        rank_run steps = run_with(instances[i], 1, 1, TSR_KERNELS_AUTO, TSR_F32);
        compare(&whole, &chunks, 5e-5, "chunks of 7 against the whole");
        compare(&whole, &steps, 5e-5, "single tokens on one rank against the whole on two");
        free(whole.logits);
        free(chunks.logits);
        free(steps.logits);
    }
}

/* Rows summed and normed by their owners alone, and what nobody is to read made NaN: the very bits of sums of
 * whole vectors. Chunks of 3 leave ranks without a row. */
static void test_dealt_rows_as_vectors(void **state)
{
    (void)state;
    long dealt = 0;
    for (int i = 0; i < n_instances; i++)
        for (int n = 2; n <= 4; n++) {
            rank_run vectors = run_with(instances[i], n, n == 4 ? 3 : N_TOKENS, TSR_KERNELS_AUTO, TSR_F32);
            rank_run rows = run_by_rows(&vectors);
            compare(&vectors, &rows, 0, "rows against vectors");
            assert_int_equal(rows.reductions, vectors.reductions);
            assert_int_equal(vectors.dealt, 0);
            dealt += rows.dealt;
            free(vectors.logits);
            free(rows.logits);
        }
    assert_true(dealt > 0);
}

/* Parallel residual: attention and MLP share one all-reduce a layer; sequential: two. One more for the
 * embedding. */
static void test_reductions_per_layer(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int per_layer;
    } cases[] = {
        {"gpt_neox_parallel", 1}, {"gpt_neox_sequential", 2}, {"llama_gqa", 2}, {"gpt2_prefixed", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dir[512];
        tsr_model *m;
        tsr_sharding *s;
        const tsr_reduction *list;
        int64_t n;
        snprintf(dir, sizeof dir, "%s/oracle/%s", TSR_TEST_DATA, cases[i].name);
        assert_int_equal(tsr_model_from_dir(dir, &m), TSR_OK);
        assert_int_equal(tsr_sharding_derive(m, 2, &s), TSR_OK);
        assert_int_equal(tsr_sharding_reductions(s, 0, &list, &n), TSR_OK);
        assert_int_equal(n, cases[i].per_layer * m->n_cache_layers + 1);
        tsr_sharding_destroy(&s);
        tsr_model_destroy(&m);
    }
}

/* Every element of every weight is held by at least one rank, and only keys and values by more than one. */
static void test_weights_are_covered(void **state)
{
    (void)state;
    for (int i = 0; i < n_instances; i++)
        for (int ranks = 1; ranks <= 8; ranks++) {
            tsr_model *m;
            tsr_sharding *s;
            assert_int_equal(tsr_model_from_dir(instances[i], &m), TSR_OK);
            assert_int_equal(tsr_sharding_derive(m, ranks, &s), TSR_OK);
            for (tsr_weight w = 0; w < m->n_weights; w++) {
                const tsr_placement *p = tsr_sharding_placement(s, w);
                const tsr_range *r = p->rows ? p->rows : p->cols;
                int64_t reached = 0, size = p->rows ? m->weights[w].rows : m->weights[w].cols;
                assert_false(p->rows && p->cols);
                for (int k = 0; k < ranks && r; k++) {
                    assert_true(r[k].begin <= reached && r[k].end > r[k].begin && r[k].end <= size);
                    reached = r[k].end;
                }
                if (r) assert_int_equal(reached, size);
            }
            tsr_sharding_destroy(&s);
            tsr_model_destroy(&m);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_number_of_ranks),  cmocka_unit_test(test_fused_as_plain),
        cmocka_unit_test(test_chunks_as_whole),      cmocka_unit_test(test_dealt_rows_as_vectors),
        cmocka_unit_test(test_reductions_per_layer), cmocka_unit_test(test_weights_are_covered),
    };
    return cmocka_run_group_tests(tests, list_instances, NULL);
}
