/* test_sampler_scan.c: the vector loops of the sampler against libm, and its lists of candidates against sorting. */
#include "support_sampler.h"

/* exp and log of the vector loops against libm, over all magnitudes they meet. */
static void scans_are_accurate(void **state)
{
    (void)state;
    enum { N = 1000 };
    float x[N];
    tsr_rng rng = {3};
    for (int round = 0; round < 50; round++) {
        double sum = 0, shift = 10 * normal(&rng), scale = 0.1 + 3 * tsr_rng_uniform(&rng);
        int n = 1 + (int)tsr_rng_below(&rng, N);
        for (int i = 0; i < n; i++)
            x[i] = (float)(shift - 20 * tsr_rng_uniform(&rng) * tsr_rng_uniform(&rng));
        bool bad;
        tsr_scan_best max = tsr_scan_max(x, n, &bad);
        for (int i = 0; i < n; i++) {
            assert_true(x[i] <= max.value);
            sum += exp((double)((x[i] - max.value) * (float)scale));
        }
        assert_true(x[max.index] == max.value && !bad);
        assert_true(fabs(tsr_scan_sum_exp(x, n, max.value, (float)scale) / sum - 1) < 3e-7);
        tsr_scan_best race = tsr_scan_race(x, n, max.value, (float)scale, 99, 5), slow = {-INFINITY, -1};
        for (int i = 0; i < n; i++) {
            float score = (x[i] - max.value) * (float)scale + tsr_scan_noise(99, 5 + i);
            if (score > slow.value) slow = (tsr_scan_best){score, i};
        }
        assert_int_equal(race.index, slow.index);
        assert_true(fabsf(race.value - slow.value) < 1e-4f);
    }
    for (int32_t i = 0; i < 100000; i++) {
        double u = ((double)(tsr_noise32(7, (uint32_t)i) >> 1) + 0.5) * 0x1p-31;
        /* 1 - u has 24 bits: the low end of the noise, which never wins, is coarser */
        assert_true(fabs(tsr_scan_noise(7, i) + log(-log1p(-u))) < 4e-6 + 1e-7 / (1 - u));
    }
}

static void candidate_keys_order_as_logits(void **state)
{
    (void)state;
    const float ascending[] = {-INFINITY, -3e38f, -1, -1e-40f, 0, 1e-40f, 2, 3e38f};
    for (int i = 0; i < 8; i++) {
        for (int j = 0; j < 8; j++) {
            uint64_t a = tsr_candidate(ascending[i], 3), b = tsr_candidate(ascending[j], 4);
            assert_int_equal(a > b, i >= j);
        }
        assert_true(tsr_candidate_logit(tsr_candidate(ascending[i], 9)) == ascending[i]);
        assert_int_equal(tsr_candidate_id(tsr_candidate(ascending[i], INT32_MAX)), INT32_MAX);
        assert_true(tsr_candidate(ascending[i], INT32_MAX) != 0);
    }
}

static void selection_survives_every_order(void **state)
{
    (void)state;
    enum { N = 5000, C = 70 };
    static float x[N];
    uint64_t scratch[2 * C + 1], list[C];
    tsr_rng rng = {8};
    for (int order = 0; order < 4; order++) {
        entry e[N];
        for (int i = 0; i < N; i++)
            x[i] = order == 0   ? (float)i
                   : order == 1 ? (float)-i
                   : order == 2 ? normal(&rng)
                                : (float)(i % 3);
        tsr_candidates_select(x, N, 100, C, scratch, list);
        penalised_entries(x, N, &(tsr_sample_row){0}, e);
        for (int i = 0; i < C; i++) assert_int_equal(tsr_candidate_id(list[i]), e[i].id + 100);
    }
}

static int portable_loops(void **state)
{
    (void)state;
    tsr_scan_force_portable(true);
    return 0;
}

static int best_loops(void **state)
{
    (void)state;
    tsr_scan_force_portable(false);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans_are_accurate),
        cmocka_unit_test(candidate_keys_order_as_logits),
        cmocka_unit_test(selection_survives_every_order),
    };
    int failed = cmocka_run_group_tests_name("sampler scan, best loops", tests, NULL, NULL);
    return failed +
           cmocka_run_group_tests_name("sampler scan, portable loops", tests, portable_loops, best_loops);
}
