/* test_cuda_sample.c: tokens chosen on a GPU are those that the CPU's sampler chooses from the same logits and seeds, by
 * every rule, at one rank and, by a communicator of threads, at several. */
#include "support_gpu.h"

#include "base/rng.h"
#include "runtime/cuda/step_sampler.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum { ROWS = 24, MOST_RANKS = 3 };

static bool quick; /* small vocabularies only: under tools that slow all down */

/* --- Several ranks on one GPU: each a thread; sums go through the host. --- */

typedef struct team {
    int n;
    pthread_barrier_t barrier;
    float *data[MOST_RANKS];
} team;

typedef struct thread_comm {
    tsr_cuda_comm comm;
    team *team;
} thread_comm;

static tsr_status team_all_reduce(tsr_cuda_comm *comm, void *data, tsr_dtype dtype, int64_t n,
                                  const tsr_cuda_step *step)
{
    team *t = ((thread_comm *)comm)->team;
    float *own = malloc((size_t)n * sizeof *own), *sum = calloc((size_t)n, sizeof *sum);
    assert_int_equal(dtype, TSR_F32);
    cuda_ok(cudaStreamSynchronize(step->stream));
    to_host(own, data, (size_t)n * sizeof *own);
    t->data[comm->rank] = own;
    pthread_barrier_wait(&t->barrier);
    for (int r = 0; r < t->n; r++)
        for (int64_t i = 0; i < n; i++) sum[i] += t->data[r][i];
    pthread_barrier_wait(&t->barrier);
    cuda_ok(cudaMemcpy(data, sum, (size_t)n * sizeof *sum, cudaMemcpyHostToDevice));
    cuda_ok(cudaStreamSynchronize(NULL)); /* a copy from ordinary memory may return before its end */
    free(own);
    free(sum);
    return TSR_OK;
}

/* --- One case: rows of logits, what is asked of each, what comes of it. --- */

typedef struct sample_case {
    int32_t vocabulary;
    float *logits; /* [ROWS][vocabulary] */
    tsr_sample_row rows[ROWS];
    int32_t ids[ROWS][64]; /* seen, then banned */
    tsr_logit_bias terms[ROWS][40];
    tsr_sample_result wanted[ROWS];
} sample_case;

typedef struct rank_job {
    const sample_case *c;
    thread_comm comm;
    int ranks;
    tsr_sample_result found[ROWS];
    int32_t tokens[ROWS];
} rank_job;

static void *run_rank(void *arg)
{
    rank_job *j = arg;
    const sample_case *c = j->c;
    int rank = j->comm.comm.rank;
    int32_t first = (int32_t)((int64_t)c->vocabulary * rank / j->ranks);
    int32_t n = (int32_t)((int64_t)c->vocabulary * (rank + 1) / j->ranks) - first, ld = n + 3;
    tsr_step_sampler_limits limits = {ROWS, c->vocabulary, first, n, j->ranks > 1 ? &j->comm.comm : NULL};
    tsr_step_sampler *s;
    tsr_cuda_step step = {.n_processors = 132};
    cuda_ok(cudaStreamCreateWithFlags(&step.stream, cudaStreamNonBlocking));
    assert_int_equal(tsr_step_sampler_create(&limits, &s), TSR_OK);
    float *own = malloc((size_t)ROWS * (size_t)ld * sizeof *own);
    for (int r = 0; r < ROWS; r++)
        memcpy(own + (int64_t)r * ld, c->logits + (int64_t)r * c->vocabulary + first,
               (size_t)n * sizeof *own);
    float *logits = to_device(own, (size_t)ROWS * (size_t)ld * sizeof *own);
    cuda_ok(cudaDeviceSynchronize());
    assert_true(tsr_step_sampler_takes(c->rows, ROWS));
    tsr_status status = tsr_step_sampler_enqueue(s, logits, ld, c->rows, ROWS, 1, &step);
    if (status != TSR_OK) print_error("%s\n", tsr_error_text());
    assert_int_equal(status, TSR_OK);
    cuda_ok(cudaStreamSynchronize(step.stream));
    tsr_step_sampler_results(s, 1, j->found);
    to_host(j->tokens, tsr_step_sampler_tokens(s), sizeof j->tokens);
    cudaFree(logits);
    free(own);
    tsr_step_sampler_destroy(&s);
    cudaStreamDestroy(step.stream);
    return NULL;
}

static void expect(sample_case *c)
{
    tsr_gather alone = {NULL, 0, 1, NULL};
    const tsr_sample_result *results;
    tsr_sampler *s;
    assert_int_equal(tsr_sampler_create(c->vocabulary, 0, c->vocabulary, &alone, NULL, &s), TSR_OK);
    assert_int_equal(tsr_sampler_run(s, c->logits, c->vocabulary, c->rows, ROWS, &results), TSR_OK);
    memcpy(c->wanted, results, sizeof c->wanted);
    tsr_sampler_destroy(&s);
}

static int differences(const rank_job *j, const char *name)
{
    int bad = 0;
    for (int r = 0; r < ROWS; r++) {
        const tsr_sample_result *w = &j->c->wanted[r], *f = &j->found[r];
        bool same = f->id == w->id && f->failed == w->failed && isnan(f->logprob) == isnan(w->logprob) &&
                    !(fabsf(f->logprob - w->logprob) > 1e-4f) && j->tokens[r] == (w->id < 0 ? 0 : w->id);
        if (same) continue;
        if (bad++ < 3)
            print_error("%s, %d ids, rank %d of %d, row %d: %d (%g), expected %d (%g)\n", name,
                        j->c->vocabulary, j->comm.comm.rank, j->ranks, r, f->id, (double)f->logprob, w->id,
                        (double)w->logprob);
    }
    return bad;
}

static int check(sample_case *c, const char *name)
{
    static const tsr_cuda_comm_ops ops = {.name = "threads", .all_reduce = team_all_reduce};
    int bad = 0;
    expect(c);
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
        team t = {.n = ranks};
        rank_job jobs[MOST_RANKS];
        pthread_t threads[MOST_RANKS];
        pthread_barrier_init(&t.barrier, NULL, (unsigned)ranks);
        for (int r = 0; r < ranks; r++) {
            jobs[r] = (rank_job){.c = c, .ranks = ranks, .comm = {{&ops, r, ranks}, &t}};
            pthread_create(&threads[r], NULL, run_rank, &jobs[r]);
        }
        for (int r = 0; r < ranks; r++) pthread_join(threads[r], NULL);
        for (int r = 0; r < ranks; r++) bad += differences(&jobs[r], name);
        pthread_barrier_destroy(&t.barrier);
    }
    return bad;
}

/* Normal-like numbers; `step` > 0 rounds them, which makes equal ones. */
static void fill(sample_case *c, tsr_rng *rng, float step)
{
    for (int64_t i = 0; i < (int64_t)ROWS * c->vocabulary; i++) {
        double x = 0;
        for (int k = 0; k < 4; k++) x += tsr_rng_uniform(rng) - 0.5;
        c->logits[i] = (float)(6 * x);
        if (step > 0) c->logits[i] = roundf(c->logits[i] / step) * step;
    }
    for (int r = 0; r < ROWS; r++)
        c->rows[r] =
            (tsr_sample_row){.kind = TSR_ROW_SAMPLE,
                             .draw = r,
                             .sampling = {.top_p = 1, .repetition_penalty = 1, .seed = tsr_rng_next(rng)}};
}

/* --- The rules --- */

static void greedy(sample_case *c, int r)
{
    c->rows[r].sampling.logprobs = r % 2;
}

static void plain_greedy(sample_case *c, int r)
{
    (void)c, (void)r;
}

static void temperature(sample_case *c, int r)
{
    c->rows[r].sampling.temperature = 0.3f + 0.1f * (float)r;
    c->rows[r].sampling.logprobs = r % 3 == 0;
}

static void top_k(sample_case *c, int r)
{
    c->rows[r].sampling.temperature = 1.5f;
    c->rows[r].sampling.top_k = 1 + r * r;
}

static void top_p(sample_case *c, int r)
{
    c->rows[r].sampling.temperature = 0.5f + 0.2f * (float)r;
    c->rows[r].sampling.top_p = r ? 1 - 0.04f * (float)r : 0.001f;
}

static void min_p(sample_case *c, int r)
{
    c->rows[r].sampling.temperature = 2;
    c->rows[r].sampling.min_p = 0.01f * (float)(r + 1);
}

static void all_filters(sample_case *c, int r)
{
    c->rows[r].sampling.temperature = 1.2f;
    c->rows[r].sampling.top_k = 20 + 10 * r;
    c->rows[r].sampling.top_p = 0.95f;
    c->rows[r].sampling.min_p = 0.02f;
    c->rows[r].sampling.logprobs = 1;
}

static int32_t best_of(const sample_case *c, int r)
{
    const float *x = c->logits + (int64_t)r * c->vocabulary;
    int32_t best = 0;
    for (int32_t i = 0; i < c->vocabulary; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* Up to 40 ids all over the vocabulary, the best among them, which falls back. */
static void add_terms(sample_case *c, int r)
{
    int32_t n = c->vocabulary < 40 ? c->vocabulary : 40, stride = c->vocabulary / n, best = best_of(c, r);
    for (int32_t i = 0; i < n; i++)
        c->terms[r][i] = (tsr_logit_bias){i * stride + r % stride, 0.25f * (float)((i * 37 + r) % 17 - 8)};
    c->terms[r][best / stride < n ? best / stride : n - 1] = (tsr_logit_bias){best, -2.5f};
    c->rows[r].terms = c->terms[r];
    c->rows[r].n_terms = n;
}

static void terms(sample_case *c, int r)
{
    static const float far[] = {100, -100, 0.3f, -1e-3f};
    add_terms(c, r);
    c->terms[r][c->rows[r].n_terms / 2].bias = far[r % 4];
    c->rows[r].sampling.logprobs = 1;
    c->rows[r].sampling.temperature = r % 3 == 0 ? 0 : 0.8f;
    c->rows[r].sampling.top_p = r % 3 == 1 ? 0.9f : 1;
}

static void edits(sample_case *c, int r)
{
    tsr_sample_row *row = &c->rows[r];
    for (int i = 0; i < 64; i++) c->ids[r][i] = (int32_t)((int64_t)(i * 37 + r) * 7919 % c->vocabulary);
    int32_t best = best_of(c, r);
    if (r % 4 > 1) add_terms(c, r); /* of some that are seen or banned too */
    int there = 0;                  /* ids seen are distinct */
    while (there < 40 && c->ids[r][there] != best) there++;
    c->ids[r][r % 2 ? there % 40 : 40] = best; /* the best is seen, or banned */
    row->seen = c->ids[r];
    row->n_seen = c->vocabulary > 64 * 37 ? 40 : 1; /* distinct */
    row->banned = c->ids[r] + 40;
    row->n_banned = 1 + r % 20;
    row->sampling.repetition_penalty = 1.3f;
    row->sampling.logprobs = 1;
    row->sampling.temperature = r % 3 == 0 ? 0 : 0.8f;
    row->sampling.top_k = r % 3 == 1 ? 10 : 0;
}

static void scores(sample_case *c, int r)
{
    c->rows[r].kind = r % 3 ? TSR_ROW_SCORE : TSR_ROW_SAMPLE;
    c->rows[r].forced = r % 3 == 0;
    c->rows[r].target = (int32_t)((int64_t)r * 104729 % c->vocabulary);
}

static void no_numbers(sample_case *c, int r)
{
    float *x = c->logits + (int64_t)r * c->vocabulary;
    if (r % 4 == 0) x[(int64_t)r * 13 % c->vocabulary] = NAN;
    if (r % 4 == 1) x[c->vocabulary - 1] = INFINITY;
    for (int32_t i = 0; i < c->vocabulary && r % 4 == 2; i++) x[i] = -INFINITY;
    for (int32_t i = 1; i < c->vocabulary && r % 4 == 3; i++) x[i] = -INFINITY; /* one id is left */
    if (r > 11) c->rows[r].sampling.temperature = 1;
    if (r > 17) c->rows[r].sampling.top_p = 0.5f;
    c->rows[r].sampling.logprobs = r % 2;
}

static void mixed(sample_case *c, int r)
{
    static void (*const rules[])(sample_case *, int) = {greedy, temperature, top_k, top_p,
                                                        edits,  terms,       scores};
    rules[r % 7](c, r);
}

static void tokens_are_those_of_the_cpu(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*rule)(sample_case *, int);
    } rules[] = {{"plain greedy", plain_greedy},
                 {"greedy", greedy},
                 {"temperature", temperature},
                 {"top_k", top_k},
                 {"top_p", top_p},
                 {"min_p", min_p},
                 {"all filters", all_filters},
                 {"edits", edits},
                 {"terms", terms},
                 {"scores", scores},
                 {"no numbers", no_numbers},
                 {"mixed", mixed}};
    static const int32_t sizes[] = {5, 1000, 32000, 50257, 131075};
    static sample_case c;
    tsr_rng rng = {2026};
    int bad = 0;
    for (size_t k = 0; k < (quick ? 2 : sizeof sizes / sizeof *sizes); k++) {
        c.vocabulary = sizes[k];
        c.logits = malloc((size_t)ROWS * (size_t)c.vocabulary * sizeof *c.logits);
        for (size_t i = 0; i < 2 * sizeof rules / sizeof *rules; i++) {
            fill(&c, &rng, i % 2 ? 0.25f : 0);
            for (int r = 0; r < ROWS; r++) rules[i / 2].rule(&c, r);
            bad += check(&c, rules[i / 2].name);
        }
        free(c.logits);
    }
    assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
    quick = argc > 1 && strcmp(argv[1], "quick") == 0;
    need_gpus(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokens_are_those_of_the_cpu)};
    return cmocka_run_group_tests_name("cuda_sample", tests, NULL, NULL);
}
