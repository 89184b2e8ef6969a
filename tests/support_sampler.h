/* support_sampler.h: for tests of the sampler: ranks that are threads and meet in a barrier, rows of logits of many
 * shapes, and a reference on one shard.
 *
 * The reference sorts the whole row in double and follows the documented order of operations; it shares only the noise
 * function with the sampler.
 */
#ifndef TSR_TESTS_SUPPORT_SAMPLER_H
#define TSR_TESTS_SUPPORT_SAMPLER_H

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

static inline tsr_status fake_all_gather(void *ctx, const void *in, int64_t bytes, void *out)
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

static inline void keep(job *j, const tsr_sample_result *results)
{
    for (int32_t i = 0; i < j->n_rows; i++) {
        j->results[i].result = results[i];
        memcpy(j->results[i].top, results[i].top, (size_t)results[i].n_top * sizeof(tsr_token_logprob));
        j->results[i].result.top = NULL;
    }
}

static inline void *run_rank(void *arg)
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
static inline kept_result *run_sharded(int size, int threads, const int32_t *cut, const float *logits,
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

static inline int by_logit(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static inline double reference_log_sum(const float *l, int32_t n)
{
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++) max = l[i] > max ? l[i] : max;
    for (int32_t i = 0; i < n; i++) sum += exp((double)l[i] - max);
    return max + log(sum);
}

/* The finite logits after penalty and terms, best first. */
static inline int32_t penalised_entries(const float *l, int32_t n, const tsr_sample_row *row, entry *out)
{
    double p = row->sampling.repetition_penalty;
    int32_t m = 0;
    for (int32_t i = 0; i < n; i++) out[i] = (entry){l[i], i};
    for (int32_t i = 0; i < row->n_seen; i++) {
        double *x = &out[row->seen[i]].logit;
        *x = (double)(float)(*x > 0 ? *x / p : *x * p);
    }
    for (int32_t i = 0; i < row->n_terms; i++) {
        double *x = &out[row->terms[i].id].logit;
        *x = (double)(float)(*x + row->terms[i].bias);
    }
    for (int32_t i = 0; i < n; i++)
        if (out[i].logit > -INFINITY) out[m++] = out[i];
    qsort(out, (size_t)m, sizeof *out, by_logit);
    return m;
}

static inline bool close_to(double a, double b)
{
    return fabs(a - b) <= 2e-6 * (fabs(a) + fabs(b));
}

static inline int32_t reference_filter(const entry *e, int32_t n, const tsr_sampling *s, bool *doubtful)
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

static inline reference reference_sample(const float *l, int32_t vocabulary, const tsr_sample_row *row)
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

/* ---- Rows of logits ---- */

typedef enum shape { NORMAL, SHARP, FLAT, TIED, MASKED, HUGE_VALUES, SPIKE, SHAPES } shape;

static inline float normal(tsr_rng *rng)
{
    double u = tsr_rng_uniform(rng), v = tsr_rng_uniform(rng);
    return (float)(sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v));
}

static inline void fill_logits(tsr_rng *rng, shape kind, float *l, int32_t n)
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

#endif
