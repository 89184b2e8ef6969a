/* test_sampler.c: the sharded sampler against a float64 reference on one shard, and its draws against their
 * distributions.
 *
 * Ranks are threads that meet in a barrier. The reference sorts the whole row in double and follows the
 * documented order of operations; it shares only the noise function, which the chi-square tests judge.
 */
#include "base/memory.h"
#include "base/rng.h"
#include "runtime/sampler.h"
#include "runtime/sampler_candidates.h"
#include "runtime/sampler_scan.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- Ranks as threads ---- */

enum { MAX_RANKS = 7 };

typedef struct fake_world {
    int size;
    pthread_barrier_t barrier;
    const void *in[MAX_RANKS];
    int gathers; /* counted by rank 0 */
} fake_world;

typedef struct fake_rank {
    fake_world *world;
    int rank;
} fake_rank;

static tsr_status fake_all_gather(void *ctx, const void *in, int64_t bytes, void *out)
{
    fake_rank *me = ctx;
    fake_world *w = me->world;
    w->in[me->rank] = in;
    pthread_barrier_wait(&w->barrier);
    for (int i = 0; i < w->size; i++) memcpy((char *)out + i * bytes, w->in[i], (size_t)bytes);
    if (me->rank == 0) w->gathers++;
    pthread_barrier_wait(&w->barrier);
    return TSR_OK;
}

/* Results that outlive the sampler. */
typedef struct kept_result {
    tsr_sample_result result;
    tsr_token_logprob top[TSR_MAX_TOP];
} kept_result;

typedef struct job {
    fake_rank me;
    int32_t vocabulary, first, count;
    int threads;
    const float *logits; /* [n_rows][vocabulary] */
    const tsr_sample_row *rows;
    int32_t n_rows;
    tsr_status status;
    kept_result *results; /* [n_rows] */
} job;

static void keep(job *j, const tsr_sample_result *results)
{
    for (int32_t i = 0; i < j->n_rows; i++) {
        j->results[i].result = results[i];
        memcpy(j->results[i].top, results[i].top, (size_t)results[i].n_top * sizeof(tsr_token_logprob));
        j->results[i].result.top = NULL;
    }
}

static void *run_rank(void *arg)
{
    job *j = arg;
    tsr_sampler *sampler = NULL;
    tsr_pool *pool = NULL;
    const tsr_sample_result *results;
    tsr_gather gather = {&j->me, j->me.rank, j->me.world->size, fake_all_gather};
    if (j->threads > 1) tsr_pool_create(j->threads, NULL, true, &pool);
    j->status = tsr_sampler_create(j->vocabulary, j->first, j->count, &gather, pool, &sampler);
    if (j->status == TSR_OK)
        j->status =
            tsr_sampler_run(sampler, j->logits + j->first, j->vocabulary, j->rows, j->n_rows, &results);
    if (j->status == TSR_OK) keep(j, results);
    tsr_sampler_destroy(&sampler);
    tsr_pool_destroy(&pool);
    return NULL;
}

/* Runs the rows on `size` ranks, whose shards begin at cut[i] (cut[size] = vocabulary). All must agree to the
 * bit; returns rank 0's results, to be freed, and the number of gathers. */
static kept_result *run_sharded(int size, int threads, const int32_t *cut, const float *logits,
                                const tsr_sample_row *rows, int32_t n_rows, int *gathers)
{
    fake_world world = {.size = size};
    job jobs[MAX_RANKS] = {0};
    pthread_t thread[MAX_RANKS];
    pthread_barrier_init(&world.barrier, NULL, (unsigned)size);
    for (int i = 0; i < size; i++) {
        jobs[i] = (job){.me = {&world, i},
                        .vocabulary = cut[size],
                        .first = cut[i],
                        .count = cut[i + 1] - cut[i],
                        .threads = threads,
                        .logits = logits,
                        .rows = rows,
                        .n_rows = n_rows,
                        .results = calloc((size_t)n_rows, sizeof(kept_result))};
        pthread_create(&thread[i], NULL, run_rank, &jobs[i]);
    }
    for (int i = 0; i < size; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&world.barrier);
    for (int i = 0; i < size; i++) {
        assert_int_equal(jobs[i].status, TSR_OK);
        assert_memory_equal(jobs[i].results, jobs[0].results, (size_t)n_rows * sizeof(kept_result));
        if (i > 0) free(jobs[i].results);
    }
    if (gathers) *gathers = world.gathers;
    return jobs[0].results;
}

/* ---- The reference ---- */

typedef struct reference {
    int32_t id;
    double logprob, log_sum;
    bool doubtful; /* a decision hung on a difference that rounding can change */
} reference;

typedef struct entry {
    double logit;
    int32_t id;
} entry;

static int by_logit(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static double reference_log_sum(const float *l, int32_t n)
{
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++) max = l[i] > max ? l[i] : max;
    for (int32_t i = 0; i < n; i++) sum += exp((double)l[i] - max);
    return max + log(sum);
}

/* The finite logits after the penalty, best first. */
static int32_t penalised_entries(const float *l, int32_t n, const tsr_sample_row *row, entry *out)
{
    double p = row->sampling.repetition_penalty;
    int32_t m = 0;
    for (int32_t i = 0; i < n; i++) out[i] = (entry){l[i], i};
    for (int32_t i = 0; i < row->n_seen; i++) {
        double *x = &out[row->seen[i]].logit;
        *x = (double)(float)(*x > 0 ? *x / p : *x * p);
    }
    for (int32_t i = 0; i < n; i++)
        if (out[i].logit > -INFINITY) out[m++] = out[i];
    qsort(out, (size_t)m, sizeof *out, by_logit);
    return m;
}

static bool close_to(double a, double b)
{
    return fabs(a - b) <= 2e-6 * (fabs(a) + fabs(b));
}

static int32_t reference_filter(const entry *e, int32_t n, const tsr_sampling *s, bool *doubtful)
{
    double mass = 0, sum = 0, t = s->temperature;
    if (s->top_k > 0 && s->top_k < n) n = s->top_k;
    if (s->top_p < 1) {
        for (int32_t i = 0; i < n; i++) mass += exp((e[i].logit - e[0].logit) / t);
        for (int32_t i = 0; i < n; i++) {
            sum += exp((e[i].logit - e[0].logit) / t);
            *doubtful |= close_to(sum, s->top_p * mass);
            if (sum >= s->top_p * mass) n = i + 1;
        }
    }
    int32_t m = 1;
    for (; s->min_p > 0 && m < n; m++) {
        double ratio = exp((e[m].logit - e[0].logit) / t);
        *doubtful |= ratio != s->min_p && close_to(ratio, s->min_p);
        if (ratio < s->min_p) break;
    }
    return s->min_p > 0 ? m : n;
}

static reference reference_sample(const float *l, int32_t vocabulary, const tsr_sample_row *row)
{
    entry *e = malloc((size_t)vocabulary * sizeof *e);
    const tsr_sampling *s = &row->sampling;
    reference r = {.log_sum = reference_log_sum(l, vocabulary)};
    int32_t n = penalised_entries(l, vocabulary, row, e);
    r.id = e[0].id;
    if (s->temperature > 0) {
        uint64_t key = tsr_noise_key(s->seed, (uint64_t)row->draw);
        double best = -INFINITY, second = -INFINITY;
        n = reference_filter(e, n, s, &r.doubtful);
        for (int32_t i = 0; i < n; i++) {
            double score = (e[i].logit - e[0].logit) / s->temperature + tsr_scan_noise(key, e[i].id);
            if (score > best) {
                second = best;
                best = score;
                r.id = e[i].id;
            } else if (score > second) {
                second = score;
            }
        }
        r.doubtful |= best - second < 1e-4;
    }
    r.logprob = l[r.id] - r.log_sum;
    free(e);
    return r;
}

/* ---- Cases ---- */

typedef enum shape { NORMAL, SHARP, FLAT, TIED, MASKED, HUGE_VALUES, SPIKE, SHAPES } shape;

static float normal(tsr_rng *rng)
{
    double u = tsr_rng_uniform(rng), v = tsr_rng_uniform(rng);
    return (float)(sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v));
}

static void fill_logits(tsr_rng *rng, shape kind, float *l, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        float x = normal(rng);
        switch (kind) {
        case SHARP:
            x *= 6;
            break;
        case FLAT:
            x = 0.25f;
            break;
        case TIED:
            x = roundf(x * 2);
            break; /* also many zeros of both signs */
        case MASKED:
            x = tsr_rng_below(rng, 3) ? -INFINITY : x;
            break;
        case HUGE_VALUES:
            x = x * 1e37f;
            break;
        case SPIKE:
            x = x * 0.01f;
            break;
        default:
            break;
        }
        l[i] = x;
    }
    int32_t at = (int32_t)tsr_rng_below(rng, (uint64_t)n);
    if (kind == SPIKE) l[at] = 30;
    if (kind == MASKED) l[at] = 1;
}

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

static void check_logprob(double expected, float found, bool wanted)
{
    if (!wanted)
        assert_true(isnan(found));
    else if (isinf(expected))
        assert_true(found == (float)expected);
    else
        assert_true(fabs(expected - found) <= 2e-6 * (1 + fabs(expected)));
}

static void check_top(const float *l, int32_t vocabulary, int32_t n_top, double log_sum, const kept_result *k)
{
    entry *e = malloc((size_t)vocabulary * sizeof *e);
    int32_t n = penalised_entries(l, vocabulary, &(tsr_sample_row){0}, e);
    assert_int_equal(k->result.n_top, n < n_top ? n : n_top);
    for (int32_t i = 0; i < k->result.n_top; i++) {
        assert_int_equal(k->top[i].id, e[i].id);
        check_logprob(e[i].logit - log_sum, k->top[i].logprob, true);
    }
    free(e);
}

/* Returns whether the row hung on rounding and its token was not compared. */
static bool check_row(const float *l, int32_t vocabulary, const tsr_sample_row *row, const kept_result *k)
{
    double log_sum = reference_log_sum(l, vocabulary);
    assert_false(k->result.failed);
    check_top(l, vocabulary, row->n_top, log_sum, k);
    if (row->kind == TSR_ROW_TOP) {
        assert_int_equal(k->result.id, -1);
        return false;
    }
    if (row->kind == TSR_ROW_SCORE) {
        assert_int_equal(k->result.id, row->target);
        check_logprob(l[row->target] - log_sum, k->result.logprob, true);
        return false;
    }
    reference r = reference_sample(l, vocabulary, row);
    if (r.doubtful) return true;
    assert_int_equal(k->result.id, r.id);
    check_logprob(r.logprob, k->result.logprob, row->sampling.logprobs);
    return false;
}

static void one_case(tsr_rng *rng, int32_t vocabulary, int32_t n_rows, int *compared, int *doubtful)
{
    static const int sizes[] = {1, 2, 3, 4, 7};
    float *logits = malloc((size_t)n_rows * (size_t)vocabulary * sizeof *logits);
    int32_t *seen = malloc((size_t)vocabulary * sizeof *seen);
    tsr_sample_row *rows = calloc((size_t)n_rows, sizeof *rows);
    int32_t n_seen = random_seen(rng, vocabulary, seen);
    for (int32_t i = 0; i < n_rows; i++) {
        fill_logits(rng, (shape)tsr_rng_below(rng, SHAPES), logits + (int64_t)i * vocabulary, vocabulary);
        rows[i] = random_row(rng, vocabulary, seen, n_seen);
    }
    for (int c = 0; c < 5; c++) {
        int32_t cut[MAX_RANKS + 1];
        cut_randomly(rng, vocabulary, sizes[c], cut);
        kept_result *k =
            run_sharded(sizes[c], 1 + (int)tsr_rng_below(rng, 3), cut, logits, rows, n_rows, NULL);
        for (int32_t i = 0; i < n_rows; i++) {
            *doubtful += check_row(logits + (int64_t)i * vocabulary, vocabulary, &rows[i], &k[i]);
            ++*compared;
        }
        free(k);
    }
    free(logits);
    free(seen);
    free(rows);
}

static void shards_agree_with_reference(void **state)
{
    (void)state;
    static const int32_t vocabularies[] = {1, 2, 7, 97, 256, 257, 1009, 5003, 20011};
    tsr_rng rng = {2024};
    int compared = 0, doubtful = 0;
    for (int c = 0; c < 9; c++)
        for (int i = 0; i < (vocabularies[c] < 2000 ? 12 : 3); i++)
            one_case(&rng, vocabularies[c], 1 + (int32_t)tsr_rng_below(&rng, 9), &compared, &doubtful);
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

/* A repetition penalty must not push large logits out of the range of floats. */
static void penalty_keeps_finite(void **state)
{
    (void)state;
    const float logits[4] = {3e38f, -3e38f, 1, 0};
    const int32_t cut[] = {0, 2, 4}, seen[] = {0, 1, 2, 3};
    tsr_sample_row row = {.sampling = TSR_SAMPLING_GREEDY, .seen = seen, .n_seen = 4};
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
    enum { DRAWS = 60000, MOST = 3000 };
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
    check_distribution(3000, 2, s);
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

/* ---- Parts ---- */

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
        cmocka_unit_test(scans_are_accurate),
        cmocka_unit_test(candidate_keys_order_as_logits),
        cmocka_unit_test(selection_survives_every_order),
        cmocka_unit_test(shards_agree_with_reference),
        cmocka_unit_test(threads_agree_with_reference),
        cmocka_unit_test(most_rows_need_one_gather),
        cmocka_unit_test(bad_rows_fail_alone),
        cmocka_unit_test(penalty_keeps_finite),
        cmocka_unit_test(equal_logits_go_to_the_lowest_id),
        cmocka_unit_test(draws_follow_their_distribution),
        cmocka_unit_test(draws_are_independent),
        cmocka_unit_test(sampling_is_checked),
        cmocka_unit_test(bad_rows_are_refused),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
