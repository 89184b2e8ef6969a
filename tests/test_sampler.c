/* test_sampler.c: the sampler on any number of shards and threads against the float64 reference on one; how often it
 * communicates; what it does with bad logits, bad rows and little memory. */
#include "support_sampler.h"

/* ---- Cases ---- */

static float pick(tsr_rng *rng, const float *of, int n)
{
    return of[tsr_rng_below(rng, (uint64_t)n)];
}

static tsr_sampling random_sampling(tsr_rng *rng)
{
    static const float temperature[] = {0, 0, 0.3f, 0.7f, 1, 1, 1.7f, 20},
                       top_p[] = {1, 1, 0.1f, 0.5f, 0.9f, 0.999f};
    static const float min_p[] = {0, 0, 0, 0.02f, 0.3f, 1}, penalty[] = {1, 1, 1.3f, 0.8f},
                       k[] = {0, 0, 1, 3, 50, 2000, 1e6f};
    return (tsr_sampling){.seed = tsr_rng_next(rng),
                          .temperature = pick(rng, temperature, 8),
                          .top_p = pick(rng, top_p, 6),
                          .min_p = pick(rng, min_p, 6),
                          .repetition_penalty = pick(rng, penalty, 4),
                          .top_k = (int32_t)pick(rng, k, 7),
                          .logprobs = (int32_t)tsr_rng_below(rng, 2)};
}

/* Distinct ids. */
static int32_t random_seen(tsr_rng *rng, int32_t vocabulary, int32_t *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < vocabulary; i++)
        if (tsr_rng_below(rng, 8) == 0) out[n++] = i;
    return n;
}

/* Of one id in eight; a few that outdo all logits. */
static int32_t random_terms(tsr_rng *rng, int32_t vocabulary, tsr_logit_bias *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < vocabulary; i++) {
        uint64_t kind = tsr_rng_below(rng, 800);
        if (kind < 100) out[n++] = (tsr_logit_bias){i, kind ? 2 * normal(rng) : 100};
    }
    return n;
}

static tsr_sample_row random_row(tsr_rng *rng, int32_t vocabulary, const int32_t *seen, int32_t n_seen)
{
    static const float top[] = {0, 0, 0, 1, 5, 100, 1000};
    return (tsr_sample_row){.kind =
                                tsr_rng_below(rng, 4) ? TSR_ROW_SAMPLE : (tsr_row_kind)tsr_rng_below(rng, 3),
                            .target = (int32_t)tsr_rng_below(rng, (uint64_t)vocabulary),
                            .n_top = (int32_t)pick(rng, top, 7),
                            .draw = (int64_t)tsr_rng_below(rng, 10000),
                            .sampling = random_sampling(rng),
                            .seen = seen,
                            .n_seen = n_seen};
}

static void cut_randomly(tsr_rng *rng, int32_t vocabulary, int size, int32_t *cut)
{
    cut[0] = 0;
    cut[size] = vocabulary;
    for (int i = 1; i < size; i++) cut[i] = (int32_t)tsr_rng_below(rng, (uint64_t)vocabulary + 1);
    for (int i = 1; i < size; i++) /* sorted; equal cuts make ranks without ids */
        for (int j = i; j > 1 && cut[j] < cut[j - 1]; j--) {
            int32_t t = cut[j];
            cut[j] = cut[j - 1];
            cut[j - 1] = t;
        }
}

/* slack: what the precision of a logit allows besides. */
static void check_logprob(double expected, float found, bool wanted, double slack)
{
    if (!wanted)
        assert_true(isnan(found));
    else if (isinf(expected))
        assert_true(found == (float)expected);
    else
        assert_true(fabs(expected - found) <= 2e-6 * (1 + fabs(expected)) + slack);
}

/* What a row should give. */
typedef struct answer {
    reference r;
    int32_t n_top;
    entry top[TSR_MAX_TOP];
} answer;

static void find_answer(const float *l, int32_t vocabulary, const tsr_sample_row *row, answer *a)
{
    entry *e = malloc((size_t)vocabulary * sizeof *e);
    int32_t n = penalised_entries(l, vocabulary, &(tsr_sample_row){0}, e);
    a->n_top = n < row->n_top ? n : row->n_top;
    memcpy(a->top, e, (size_t)a->n_top * sizeof *e);
    a->r = (reference){.id = row->target, .log_sum = reference_log_sum(l, vocabulary)};
    if (row->kind == TSR_ROW_SCORE) a->r.logprob = l[row->target] - a->r.log_sum;
    if (row->kind == TSR_ROW_SAMPLE) a->r = reference_sample(l, vocabulary, row);
    if (row->kind == TSR_ROW_TOP) a->r.id = -1;
    free(e);
}

/* Returns whether the row hung on rounding and its token was not compared. */
static bool check_answer(const answer *a, const tsr_sample_row *row, const kept_result *k)
{
    assert_false(k->result.failed);
    assert_int_equal(k->result.n_top, a->n_top);
    for (int32_t i = 0; i < a->n_top; i++) {
        assert_int_equal(k->top[i].id, a->top[i].id);
        check_logprob(a->top[i].logit - a->r.log_sum, k->top[i].logprob, true, 0);
    }
    if (a->r.doubtful) return true;
    assert_int_equal(k->result.id, a->r.id);
    bool wanted = row->kind == TSR_ROW_SCORE || (row->kind == TSR_ROW_SAMPLE && row->sampling.logprobs);
    /* the raw logit is found again from the penalised one, but for a rounding */
    bool penalised = row->kind == TSR_ROW_SAMPLE && row->sampling.repetition_penalty != 1;
    double slack = penalised ? 1.2e-7 * fabs(a->r.logprob + a->r.log_sum) : 0;
    if (row->kind == TSR_ROW_SAMPLE && row->n_terms > 0)
        slack += 2e-7 * (fabs(a->r.logprob + a->r.log_sum) + 100);
    check_logprob(a->r.logprob, k->result.logprob, wanted, slack);
    return false;
}

static bool check_row(const float *l, int32_t vocabulary, const tsr_sample_row *row, const kept_result *k)
{
    answer a;
    find_answer(l, vocabulary, row, &a);
    return check_answer(&a, row, k);
}

enum { MOST_ROWS = 9 };

static void one_case(tsr_rng *rng, int32_t vocabulary, int32_t n_rows, int *compared, int *doubtful)
{
    static const int sizes[] = {1, 2, 3, 4, 7};
    static answer answers[MOST_ROWS];
    float *logits = malloc((size_t)n_rows * (size_t)vocabulary * sizeof *logits);
    int32_t *seen = malloc((size_t)vocabulary * sizeof *seen);
    tsr_logit_bias *terms = malloc((size_t)vocabulary * sizeof *terms);
    tsr_sample_row rows[MOST_ROWS];
    int32_t n_seen = random_seen(rng, vocabulary, seen), n_terms = random_terms(rng, vocabulary, terms);
    for (int32_t i = 0; i < n_rows; i++) {
        float *l = logits + (int64_t)i * vocabulary;
        fill_logits(rng, (shape)tsr_rng_below(rng, SHAPES), l, vocabulary);
        rows[i] = random_row(rng, vocabulary, seen, n_seen);
        rows[i].terms = terms;
        rows[i].n_terms = tsr_rng_below(rng, 2) ? n_terms : 0;
        find_answer(l, vocabulary, &rows[i], &answers[i]);
    }
    for (int c = 0; c < 5; c++) {
        int32_t cut[MAX_RANKS + 1];
        cut_randomly(rng, vocabulary, sizes[c], cut);
        int threads = c < 2 ? 1 + (int)tsr_rng_below(rng, 3) : 1;
        kept_result *k = run_sharded(sizes[c], threads, cut, logits, rows, n_rows, NULL);
        for (int32_t i = 0; i < n_rows; i++) *doubtful += check_answer(&answers[i], &rows[i], &k[i]);
        *compared += n_rows;
        free(k);
    }
    free(logits);
    free(seen);
    free(terms);
}

static void shards_agree_with_reference(void **state)
{
    (void)state;
    static const int32_t vocabularies[] = {1, 2, 7, 97, 256, 257, 1009, 5003, 20011};
    tsr_rng rng = {2024};
    int compared = 0, doubtful = 0;
    for (int c = 0; c < 9; c++)
        for (int i = 0; i < (vocabularies[c] < 2000 ? 12 : 3); i++)
            one_case(&rng, vocabularies[c], 1 + (int32_t)tsr_rng_below(&rng, MOST_ROWS), &compared,
                     &doubtful);
    assert_true(compared > 1000);
    assert_true(doubtful < compared / 50);
}

/* Wide rows, split among threads as well. */
static void threads_agree_with_reference(void **state)
{
    (void)state;
    tsr_rng rng = {77};
    int compared = 0, doubtful = 0;
    for (int i = 0; i < 3; i++) one_case(&rng, 49999, 1 + i, &compared, &doubtful);
    assert_true(doubtful < compared / 4);
}

/* ---- Communication ---- */

static int gathers_for(const tsr_sampling *sampling, shape kind)
{
    enum { V = 6000 };
    static float logits[V];
    tsr_rng rng = {5};
    int gathers;
    const int32_t cut[] = {0, 2500, V}, seen[] = {3, 4000};
    fill_logits(&rng, kind, logits, V);
    tsr_sample_row row = {.sampling = *sampling, .n_top = 3, .seen = seen, .n_seen = 2};
    kept_result *k = run_sharded(2, 1, cut, logits, &row, 1, &gathers);
    assert_false(check_row(logits, V, &row, k));
    free(k);
    return gathers;
}

static void most_rows_need_one_gather(void **state)
{
    (void)state;
    tsr_sampling s = TSR_SAMPLING_GREEDY;
    s.logprobs = 1;
    assert_int_equal(gathers_for(&s, NORMAL), 1);
    s.repetition_penalty = 1.5f;
    assert_int_equal(gathers_for(&s, NORMAL), 1);
    s.temperature = 0.8f;
    assert_int_equal(gathers_for(&s, NORMAL), 1);
    s.top_k = 500;
    s.top_p = 0.9f;
    assert_int_equal(gathers_for(&s, NORMAL), 1);
    s.top_k = 0;
    assert_int_equal(gathers_for(&s, SPIKE), 1);
    assert_in_range(gathers_for(&s, FLAT), 2, 4);
    s.top_p = 1;
    s.min_p = 0.5f;
    assert_in_range(gathers_for(&s, FLAT), 2, 4);
}

/* ---- What is not a number ---- */

static void bad_rows_fail_alone(void **state)
{
    (void)state;
    enum { V = 300, R = 6 };
    static float logits[R][V];
    const int32_t cut[] = {0, 100, 100, V};
    tsr_rng rng = {9};
    tsr_sample_row rows[R];
    for (int i = 0; i < R; i++) {
        fill_logits(&rng, NORMAL, logits[i], V);
        rows[i] =
            (tsr_sample_row){.kind = (tsr_row_kind)(i % 3), .n_top = 2, .sampling = TSR_SAMPLING_GREEDY};
        rows[i].sampling.temperature = (float)(i % 2);
        rows[i].sampling.top_p = 0.5f;
    }
    logits[0][299] = NAN;
    logits[1][0] = INFINITY;
    for (int i = 0; i < V; i++) logits[3][i] = -INFINITY;
    logits[4][7] = -NAN;
    kept_result *k = run_sharded(3, 1, cut, logits[0], rows, R, NULL);
    for (int i = 0; i < R; i++) {
        bool bad = i == 0 || i == 1 || i == 3 || i == 4;
        assert_int_equal(k[i].result.failed, bad);
        if (bad) {
            assert_int_equal(k[i].result.id, -1);
            assert_int_equal(k[i].result.n_top, 0);
        } else {
            check_row(logits[i], V, &rows[i], &k[i]);
        }
    }
    free(k);
}

/* Neither penalties nor biases may push large logits out of the range of floats. */
static void penalty_keeps_finite(void **state)
{
    (void)state;
    const float logits[4] = {3e38f, -3e38f, 1, 0};
    const int32_t cut[] = {0, 2, 4}, seen[] = {0, 1, 2, 3};
    const tsr_logit_bias terms[] = {{0, 100}, {1, -100}, {3, 100}};
    tsr_sample_row row = {.sampling = TSR_SAMPLING_GREEDY, .seen = seen, .n_seen = 4};
    row.terms = terms;
    row.n_terms = 3;
    row.sampling.repetition_penalty = 0.01f;
    kept_result *k = run_sharded(2, 1, cut, logits, &row, 1, NULL);
    assert_false(k->result.failed);
    assert_int_equal(k->result.id, 0);
    free(k);
    row.sampling.repetition_penalty = 100;
    k = run_sharded(2, 1, cut, logits, &row, 1, NULL);
    assert_false(k->result.failed);
    assert_int_equal(k->result.id, 0);
    free(k);
}

/* What has probability 0 keeps it, whatever is added; what is banned too. Reported is what the model said. */
static void terms_raise_and_lower_but_do_not_revive(void **state)
{
    (void)state;
    const float logits[5] = {1, 2, -INFINITY, 0, 3};
    const int32_t cut[] = {0, 1, 3, 5}, banned[] = {3};
    const tsr_logit_bias terms[] = {{0, 1.5f}, {2, 100}, {3, 100}, {4, -2}};
    tsr_sample_row row = {.sampling = TSR_SAMPLING_GREEDY, .n_top = 1};
    row.sampling.logprobs = 1;
    row.terms = terms;
    row.n_terms = 4;
    row.banned = banned;
    row.n_banned = 1;
    kept_result *k = run_sharded(3, 1, cut, logits, &row, 1, NULL);
    assert_int_equal(k->result.id, 0);
    assert_int_equal(k->top[0].id, 4);
    assert_true(fabs(k->result.logprob - (1 - reference_log_sum(logits, 5))) < 1e-6);
    free(k);
    row.n_banned = 0;
    k = run_sharded(3, 1, cut, logits, &row, 1, NULL);
    assert_int_equal(k->result.id, 3);
    free(k);
}

static void equal_logits_go_to_the_lowest_id(void **state)
{
    (void)state;
    enum { V = 700 };
    static float logits[V];
    const int32_t cut[] = {0, 0, 350, V};
    logits[20] = -0.0f; /* equal to the others */
    tsr_sample_row row = {.n_top = 100, .sampling = TSR_SAMPLING_GREEDY};
    kept_result *k = run_sharded(3, 1, cut, logits, &row, 1, NULL);
    assert_int_equal(k->result.id, 0);
    for (int i = 0; i < 100; i++) assert_int_equal(k->top[i].id, i);
    free(k);
    row.sampling.temperature = 1;
    row.sampling.top_k = 5;
    for (row.draw = 0; row.draw < 200; row.draw++) {
        k = run_sharded(1, 1, (const int32_t[]){0, V}, logits, &row, 1, NULL);
        assert_in_range(k->result.id, 0, 4);
        free(k);
    }
}

/* ---- Errors ---- */

static void sampling_is_checked(void **state)
{
    (void)state;
    const tsr_sampling good = {.temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1, .logprobs = 1};
    assert_int_equal(tsr_sampling_check(&good), TSR_OK);
    assert_int_equal(tsr_sampling_check(&TSR_SAMPLING_GREEDY), TSR_OK);
#define REFUSED(field, number)                                                                               \
    do {                                                                                                     \
        tsr_sampling s = good;                                                                               \
        s.field = number;                                                                                    \
        assert_int_equal(tsr_sampling_check(&s), TSR_ERR_USAGE);                                             \
        assert_non_null(strstr(tsr_error_text(), #field));                                                   \
    } while (0)
    REFUSED(temperature, -1);
    REFUSED(temperature, 1e-9f);
    REFUSED(temperature, 101);
    REFUSED(temperature, NAN);
    REFUSED(temperature, INFINITY);
    REFUSED(top_p, 0);
    REFUSED(top_p, 1.01f);
    REFUSED(top_p, NAN);
    REFUSED(min_p, -0.1f);
    REFUSED(min_p, NAN);
    REFUSED(repetition_penalty, 0);
    REFUSED(repetition_penalty, NAN);
    REFUSED(frequency_penalty, 2.1f);
    REFUSED(frequency_penalty, NAN);
    REFUSED(presence_penalty, -2.1f);
    REFUSED(presence_penalty, INFINITY);
    REFUSED(top_k, -1);
    REFUSED(logprobs, 2);
}

static void bad_rows_are_refused(void **state)
{
    (void)state;
    const float logits[10] = {0};
    const tsr_gather alone = {.size = 1};
    const tsr_sample_result *results;
    tsr_sampler *sampler;
    assert_int_equal(tsr_sampler_create(10, 5, 6, &alone, NULL, &sampler), TSR_ERR_INTERNAL);
    assert_null(sampler);
    assert_int_equal(tsr_sampler_create(10, 0, 10, &alone, NULL, &sampler), TSR_OK);
    tsr_sample_row row = {.kind = TSR_ROW_SCORE, .target = 10};
    assert_int_equal(tsr_sampler_run(sampler, logits, 10, &row, 1, &results), TSR_ERR_INTERNAL);
    row = (tsr_sample_row){.kind = TSR_ROW_TOP, .n_top = TSR_MAX_TOP + 1};
    assert_int_equal(tsr_sampler_run(sampler, logits, 10, &row, 1, &results), TSR_ERR_INTERNAL);
    row = (tsr_sample_row){.kind = TSR_ROW_OUTPUTS};
    assert_int_equal(tsr_sampler_run(sampler, logits, 10, &row, 1, &results), TSR_ERR_INTERNAL);
    row = (tsr_sample_row){.kind = TSR_ROW_SAMPLE}; /* top_p 0 */
    assert_int_equal(tsr_sampler_run(sampler, logits, 10, &row, 1, &results), TSR_ERR_USAGE);
    assert_int_equal(tsr_sampler_run(sampler, logits, 10, &row, 0, &results), TSR_OK);
    tsr_sampler_destroy(&sampler);
    tsr_sampler_destroy(&sampler);
}

/* Every allocation fails once: an error, no leak, and the next run is right. */
static void memory_may_run_out(void **state)
{
    (void)state;
    enum { V = 2000 };
    static float logits[V];
    tsr_rng rng = {6};
    const tsr_gather alone = {.size = 1};
    fill_logits(&rng, FLAT, logits, V);
    tsr_sample_row row = {.n_top = 10,
                          .sampling = {.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1}};
    for (int64_t k = 1;; k++) {
        tsr_sampler *sampler = NULL;
        const tsr_sample_result *results = NULL;
        tsr_memory_fail_after(k);
        tsr_status status = tsr_sampler_create(V, 0, V, &alone, NULL, &sampler);
        if (status == TSR_OK) status = tsr_sampler_run(sampler, logits, V, &row, 1, &results);
        tsr_memory_fail_after(0);
        if (sampler && status != TSR_OK) {
            assert_int_equal(status, TSR_ERR_MEMORY);
            assert_int_equal(tsr_sampler_run(sampler, logits, V, &row, 1, &results), TSR_OK);
        }
        tsr_sampler_destroy(&sampler);
        if (status == TSR_OK) {
            assert_true(k > 8);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_agree_with_reference),
        cmocka_unit_test(threads_agree_with_reference),
        cmocka_unit_test(most_rows_need_one_gather),
        cmocka_unit_test(bad_rows_fail_alone),
        cmocka_unit_test(penalty_keeps_finite),
        cmocka_unit_test(equal_logits_go_to_the_lowest_id),
        cmocka_unit_test(sampling_is_checked),
        cmocka_unit_test(bad_rows_are_refused),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(terms_raise_and_lower_but_do_not_revive),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
