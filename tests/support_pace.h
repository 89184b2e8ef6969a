/* support_pace.h: for tests of pacing: clients that talk to a scheduler on a machine whose steps take what a formula says.
 *
 * The scheduler and its requests are real, the time is not: a step is planned, the formula says how long it takes, the
 * clock goes on by that, and every row gives a token. What clients see is kept: the time from each token of an answer to
 * the next.
 */
#ifndef TSR_TESTS_SUPPORT_PACE_H
#define TSR_TESTS_SUPPORT_PACE_H

#include "base/rng.h"
#include "layers/kernel.h"
#include "runtime/page_pool.h"
#include "runtime/scheduler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST_TALKS = 512, MOST_TIMES = 1 << 20, LONGEST_PROMPT = 2048, LONGEST = 1 << 15 };

/* Seconds of a step by its work. */
typedef double (*machine)(const tsr_step_work *work);

/* Who comes, and with what. */
typedef struct traffic {
    int clients;           /* each asks anew as soon as it has its answer */
    int shortest, longest; /* tokens of their prompts, short ones more often: the logarithm is uniform */
    int fewest, most;      /* new tokens */
    double alone;          /* seconds before all but the first come */
    double every;          /* seconds between further arrivals, 0: none, */
    int at_once;           /* of so many, */
    int prompt, answer;    /* with so many tokens at most, and half of them at least */
} traffic;

typedef struct talk {
    tsr_request *request;
    double asked, latest; /* when; latest 0: no token yet */
    bool again;           /* by a client, who asks anew */
} talk;

typedef struct play {
    const traffic *traffic;
    machine machine;
    double noise; /* a step takes up to so much longer, as a part of it */
    tsr_rng rng;
    tsr_step_limits limits;
    tsr_scheduler *scheduler;
    tsr_step_pace *pace; /* NULL: none */
    tsr_step_record *record;
    tsr_sample_result *results;
    int n_underway; /* steps planned and not ended: two where the scheduler goes ahead */
    tsr_step_work underway[2];
    talk talks[MOST_TALKS];
    double clock, next_arrival;
    float *between, *first; /* [n_between], [n_first] of [MOST_TIMES] seconds */
    int n_between, n_first, steps;
    int64_t tokens, prompt_tokens;
} play;

static inline int uniform(play *p, int low, int high)
{
    return low + (int)tsr_rng_below(&p->rng, (uint64_t)(high - low + 1));
}

static inline void ask(play *p, int n_prompt, int n_new, bool again)
{
    static const int32_t zeros[LONGEST_PROMPT];
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    talk *t = p->talks;
    while (t->request) t++;
    assert_true(t < p->talks + MOST_TALKS);
    spec.prompt = zeros;
    spec.n_prompt = n_prompt;
    spec.max_new_tokens = n_new;
    *t = (talk){.asked = p->clock, .again = again};
    assert_int_equal(tsr_request_create(&spec, &p->limits, &t->request), TSR_OK);
    t->request->user = t;
    assert_int_equal(tsr_scheduler_submit(p->scheduler, t->request), TSR_OK);
}

static inline void ask_as_client(play *p)
{
    const traffic *t = p->traffic;
    double part = pow((double)t->longest / t->shortest, tsr_rng_uniform(&p->rng));
    ask(p, (int)(t->shortest * part), uniform(p, t->fewest, t->most), true);
}

static inline void play_create(play *p, const traffic *t, machine m, bool paced, double noise)
{
    *p = (play){.traffic = t, .machine = m, .noise = noise, .rng = {7}};
    p->limits = (tsr_step_limits){.max_tokens = 512,
                                  .max_sequences = 64,
                                  .max_rows = 64,
                                  .max_context = LONGEST,
                                  .n_pages = 64 * (LONGEST / TSR_PAGE_TOKENS),
                                  .vocabulary = 10};
    assert_int_equal(tsr_scheduler_create(&p->limits, &p->scheduler), TSR_OK);
    assert_int_equal(tsr_step_record_create(&p->limits, &p->record), TSR_OK);
    if (paced) assert_int_equal(tsr_step_pace_create(&p->pace), TSR_OK);
    tsr_scheduler_set_pace(p->scheduler, p->pace);
    p->results = calloc((size_t)p->limits.max_rows, sizeof *p->results);
    p->between = calloc(MOST_TIMES, sizeof *p->between);
    p->first = calloc(MOST_TIMES, sizeof *p->first);
    p->next_arrival = t->every > 0 ? 1 : INFINITY;
}

static inline void play_destroy(play *p)
{
    tsr_scheduler_destroy(&p->scheduler);
    for (int i = 0; i < MOST_TALKS; i++) tsr_request_destroy(&p->talks[i].request);
    tsr_step_pace_destroy(&p->pace);
    tsr_step_record_destroy(&p->record);
    free(p->results);
    free(p->between);
    free(p->first);
}

/* What the record makes the machine do. */
static inline tsr_step_work work_of(const tsr_step_record *r, int64_t prompt_tokens)
{
    tsr_step_work work = {.prompt = (int32_t)prompt_tokens, .rows = r->n_rows};
    work.decoding = r->n_tokens - work.prompt;
    for (int32_t i = 0; i < r->n_sequences; i++) {
        double n = r->sequences[i].n_tokens;
        work.attended += n * r->sequences[i].position + n * (n + 1) / 2;
    }
    return work;
}

static inline void take_token(play *p, talk *t)
{
    double since = p->clock - (t->latest > 0 ? t->latest : t->asked);
    assert_true(p->n_between < MOST_TIMES && p->n_first < MOST_TIMES);
    if (t->latest > 0)
        p->between[p->n_between++] = (float)since;
    else
        p->first[p->n_first++] = (float)since;
    t->latest = p->clock;
    p->tokens++;
}

static inline void plan_step(play *p)
{
    tsr_scheduler_counts before, after;
    tsr_scheduler_get_counts(p->scheduler, &before);
    tsr_scheduler_plan(p->scheduler, p->record);
    if (p->record->kind == TSR_RECORD_IDLE) return;
    tsr_scheduler_get_counts(p->scheduler, &after);
    p->underway[p->n_underway++] = work_of(p->record, after.prompt_tokens - before.prompt_tokens);
}

static inline void end_step(play *p)
{
    const tsr_step_work work = p->underway[0];
    double seconds = p->machine(&work) * (1 + p->noise * tsr_rng_uniform(&p->rng));
    int32_t n;
    p->underway[0] = p->underway[1];
    p->n_underway--;
    p->clock += seconds;
    p->prompt_tokens += work.prompt;
    p->steps++;
    tsr_scheduler_measured(p->scheduler, seconds);
    assert_int_equal(tsr_scheduler_commit(p->scheduler, p->results, work.rows), TSR_OK);
    tsr_request *const *updated = tsr_scheduler_updated(p->scheduler, &n);
    for (int32_t i = 0; i < n; i++) take_token(p, updated[i]->user);
    for (int i = 0; i < MOST_TALKS; i++) {
        talk *t = &p->talks[i];
        if (!t->request || t->request->state != TSR_REQUEST_FINISHED) continue;
        tsr_request_destroy(&t->request);
        if (t->again) ask_as_client(p);
    }
}

/* As an engine steps: where the last record says `ahead`, the next is planned before its results are there. */
static inline void play_step(play *p)
{
    if (p->n_underway == 0) plan_step(p);
    if (p->n_underway == 0)
        p->clock = p->next_arrival;
    else {
        if (p->record->ahead) plan_step(p);
        end_step(p);
    }
}

static inline void arrive(play *p)
{
    const traffic *t = p->traffic;
    while (p->clock >= p->next_arrival) {
        for (int i = 0; i < t->at_once; i++)
            ask(p, uniform(p, t->prompt / 2, t->prompt), uniform(p, t->answer / 2, t->answer), false);
        p->next_arrival += t->every;
    }
}

static inline void play_for(play *p, double seconds)
{
    int n = 0;
    while (p->clock < seconds) {
        for (; n < p->traffic->clients && (n == 0 || p->clock >= p->traffic->alone); n++) ask_as_client(p);
        arrive(p);
        play_step(p);
    }
}

static inline int compare_times(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* A part of the times is no longer than that. */
static inline double quantile(float *times, int n, double part)
{
    qsort(times, (size_t)n, sizeof *times, compare_times);
    return n > 0 ? times[(int)(part * (n - 1))] : 0;
}

#endif
