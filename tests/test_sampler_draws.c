/* test_sampler_draws.c: tokens are drawn with the probabilities that temperature and filters leave them, and draws are
 * independent: chi-square tests with fixed seeds. */
#include "support_sampler.h"

/* ---- Distributions ---- */

/* Draws n times from one row on one rank, with draw numbers from `first_draw` on. */
static void draw_many(const float *logits, int32_t vocabulary, const tsr_sampling *sampling,
                      int64_t first_draw, int n, int32_t *ids)
{
    enum { AT_ONCE = 500 };
    const tsr_gather alone = {.size = 1};
    tsr_sampler *sampler;
    tsr_sample_row rows[AT_ONCE];
    assert_int_equal(tsr_sampler_create(vocabulary, 0, vocabulary, &alone, NULL, &sampler), TSR_OK);
    for (int done = 0; done < n; done += AT_ONCE) {
        const tsr_sample_result *results;
        for (int i = 0; i < AT_ONCE; i++)
            rows[i] = (tsr_sample_row){.draw = first_draw + done + i, .sampling = *sampling};
        assert_int_equal(tsr_sampler_run(sampler, logits, 0, rows, AT_ONCE, &results), TSR_OK);
        for (int i = 0; i < AT_ONCE; i++) ids[done + i] = results[i].id;
    }
    tsr_sampler_destroy(&sampler);
}

/* The value that chi-square with df degrees of freedom exceeds once in about 10,000 times (Wilson and
 * Hilferty). */
static double chi_square_limit(int df)
{
    double a = 2.0 / (9.0 * df), z = 3.719;
    return df * pow(1 - a + z * sqrt(a), 3);
}

/* Bins of small expectation are put together. */
static void check_chi_square(const double *expected, const int *observed, int n)
{
    double statistic = 0, rest_expected = 0, rest_observed = 0;
    int bins = 0;
    for (int i = 0; i < n; i++) {
        if (expected[i] == 0) assert_int_equal(observed[i], 0);
        if (expected[i] < 10) {
            rest_expected += expected[i];
            rest_observed += observed[i];
            continue;
        }
        statistic += (observed[i] - expected[i]) * (observed[i] - expected[i]) / expected[i];
        bins++;
    }
    if (rest_expected >= 5) {
        statistic += (rest_observed - rest_expected) * (rest_observed - rest_expected) / rest_expected;
        bins++;
    }
    assert_true(bins >= 2);
    if (statistic > chi_square_limit(bins - 1)) print_error("chi-square %g with %d bins\n", statistic, bins);
    assert_true(statistic <= chi_square_limit(bins - 1));
}

static void expect_distribution(const float *logits, int32_t n, const tsr_sampling *s, double draws,
                                double *expected)
{
    entry *e = malloc((size_t)n * sizeof *e);
    bool doubtful = false;
    double sum = 0;
    int32_t m = penalised_entries(logits, n, &(tsr_sample_row){0}, e);
    int32_t kept = reference_filter(e, m, s, &doubtful);
    assert_false(doubtful);
    for (int32_t i = 0; i < n; i++) expected[i] = 0;
    for (int32_t i = 0; i < kept; i++) sum += exp((e[i].logit - e[0].logit) / s->temperature);
    for (int32_t i = 0; i < kept; i++)
        expected[e[i].id] = draws * exp((e[i].logit - e[0].logit) / s->temperature) / sum;
    free(e);
}

static void check_distribution(int32_t vocabulary, float spread, tsr_sampling s)
{
    enum { DRAWS = 40000, MOST = 2000 };
    static float logits[MOST];
    static int32_t ids[DRAWS];
    static double expected[MOST];
    static int observed[MOST];
    tsr_rng rng = {s.seed};
    for (int32_t i = 0; i < vocabulary; i++) logits[i] = spread * normal(&rng);
    memset(observed, 0, sizeof observed);
    draw_many(logits, vocabulary, &s, 1, DRAWS, ids);
    for (int i = 0; i < DRAWS; i++) observed[ids[i]]++;
    expect_distribution(logits, vocabulary, &s, DRAWS, expected);
    check_chi_square(expected, observed, vocabulary);
}

static void draws_follow_their_distribution(void **state)
{
    (void)state;
    const tsr_sampling plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 11};
    tsr_sampling s = plain;
    check_distribution(24, 1, s);
    check_distribution(2000, 2, s);
    check_distribution(2, 0.1f, s);
    s.temperature = 0.6f;
    check_distribution(300, 2, s);
    s.temperature = 3;
    check_distribution(300, 3, s);
    s = plain;
    s.top_k = 7;
    check_distribution(100, 1, s);
    s = plain;
    s.top_p = 0.8f;
    check_distribution(200, 2, s);
    check_distribution(1000, 0.5f, s); /* a nucleus of hundreds: longer lists have to be gathered */
    s = plain;
    s.min_p = 0.02f;
    check_distribution(200, 2, s);
    s.top_p = 0.9f;
    s.top_k = 40;
    s.temperature = 1.4f;
    check_distribution(200, 2, s);
}

/* Neighbouring draws, and the same draw of neighbouring seeds, are independent: pairs are evenly spread. */
static void draws_are_independent(void **state)
{
    (void)state;
    enum { DRAWS = 60000, V = 8 };
    static int32_t a[DRAWS], b[DRAWS];
    const float logits[V] = {0};
    double expected[V * V];
    int pairs[V * V] = {0}, seeds[V * V] = {0};
    tsr_sampling s = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 40};
    draw_many(logits, V, &s, 0, DRAWS, a);
    s.seed = 41;
    draw_many(logits, V, &s, 0, DRAWS, b);
    for (int i = 0; i < V * V; i++) expected[i] = (double)DRAWS / (V * V);
    for (int i = 0; i < DRAWS; i++) pairs[a[i] * V + a[(i + 1) % DRAWS]]++;
    for (int i = 0; i < DRAWS; i++) seeds[a[i] * V + b[i]]++;
    check_chi_square(expected, pairs, V * V);
    check_chi_square(expected, seeds, V * V);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_their_distribution),
        cmocka_unit_test(draws_are_independent),
    };
    return cmocka_run_group_tests_name("sampler draws", tests, NULL, NULL);
}
