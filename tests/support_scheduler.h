/* support_scheduler.h: for tests of scheduling: random requests through scheduler, records, slot tables and step
 * builder, on a model that is a hash (support_hash_model.h).
 */
#ifndef TSR_TESTS_SUPPORT_SCHEDULER_H
#define TSR_TESTS_SUPPORT_SCHEDULER_H

#include "runtime/page_pool.h"
#include "runtime/scheduler.h"
#include "support_hash_model.h"

enum { MOST_REQUESTS = 64 };

/* ---- The simulation ---- */

/* A step that was run and not committed. */
typedef struct flight {
    tsr_sample_result *results; /* [n] of [max_rows] */
    int32_t n;
} flight;

typedef struct simulation {
    tsr_rng rng;
    tsr_step_limits limits;
    tsr_scheduler *scheduler;
    tsr_step_pace *pace; /* NULL: none is kept */
    int held_back;       /* steps that could have read more of prompts, but for the pace */
    rank root, follower;
    void *bytes;
    tsr_request *requests[MOST_REQUESTS];
    bool ended_outside[MOST_REQUESTS];
    int n_requests, n_submitted, last_started, refused, steps;
    flight flights[2];
    int n_flights, went_ahead;
    bool shares; /* pages; then texts begin alike */
} simulation;

static inline int32_t between(tsr_rng *rng, int32_t low, int32_t high)
{
    return low + (int32_t)tsr_rng_below(rng, (uint64_t)(high - low + 1));
}

static inline tsr_step_limits random_limits(tsr_rng *rng)
{
    tsr_step_limits l = {.max_tokens = between(rng, 1, 80), .vocabulary = between(rng, 2, 60)};
    l.max_rows = between(rng, 1, l.max_tokens);
    l.max_sequences = between(rng, 1, l.max_rows < 12 ? l.max_rows : 12);
    l.max_context = between(rng, 2, 250);
    l.n_pages = between(rng, 1, 24);
    return l;
}

/* A beginning of what an earlier request says or is told, as a rule all of it; returns its length. */
static inline int32_t begin_alike(simulation *s, int number, int32_t most, int32_t *prompt)
{
    static expected e;
    if (!s->shares || number == 0 || between(&s->rng, 0, 3) == 0) return 0;
    const tsr_request_spec *spec = &s->requests[between(&s->rng, 0, number - 1)]->spec;
    expect_alone(spec, s->limits.vocabulary, &e);
    int32_t n = spec->n_prompt + e.n;
    if (between(&s->rng, 0, 3) == 0) n = between(&s->rng, 1, n);
    if (n > most) n = most;
    for (int32_t i = 0; i < n; i++)
        prompt[i] = i < spec->n_prompt ? spec->prompt[i] : e.ids[i - spec->n_prompt];
    return n;
}

static inline tsr_request *random_request(simulation *s, int number)
{
    tsr_rng *rng = &s->rng;
    int32_t prompt[250], ids[4], context = s->limits.max_context, v = s->limits.vocabulary;
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    bool small = !s->shares && tsr_rng_below(rng, 2) && context > 20;
    spec.n_prompt = between(rng, 1, small ? 20 : context);
    spec.max_new_tokens = between(rng, 0, tsr_rng_below(rng, 3) ? 10 : 250);
    if (spec.n_prompt + spec.max_new_tokens > context) spec.max_new_tokens = context - spec.n_prompt;
    for (int32_t i = begin_alike(s, number, spec.n_prompt, prompt); i < spec.n_prompt; i++)
        prompt[i] = between(rng, 0, v - 1);
    for (int i = 0; i < 4; i++) ids[i] = between(rng, 0, v - 1);
    spec.prompt = prompt;
    spec.eos_ids = ids;
    spec.n_eos = between(rng, 0, 1) * between(rng, 0, 2);
    spec.stop_ids = ids + 2;
    spec.n_stop = between(rng, 0, 1) * between(rng, 0, 2);
    spec.ignore_eos = between(rng, 0, 3) == 0;
    spec.prompt_logprobs = between(rng, 0, 3) == 0 || spec.max_new_tokens == 0;
    spec.n_prompt_top = spec.prompt_logprobs ? between(rng, 0, MOST_TOP) : 0;
    spec.n_top = between(rng, 0, MOST_TOP);
    spec.sampling.seed = tsr_rng_next(rng);
    spec.sampling.repetition_penalty = between(rng, 0, 2) ? 1 : 1.5f;
    spec.sampling.frequency_penalty = between(rng, 0, 4) ? 0 : 0.25f;
    spec.sampling.presence_penalty = between(rng, 0, 4) ? 0 : -0.5f;
    const tsr_logit_bias biases[2] = {{ids[0], -3}, {ids[1], 100}};
    spec.biases = biases;
    spec.n_biases = between(rng, 0, 1) * between(rng, 1, 1 + (ids[0] != ids[1]));
    tsr_request *r;
    assert_int_equal(tsr_request_create(&spec, &s->limits, &r), TSR_OK);
    r->user = (void *)(intptr_t)number;
    return r;
}

static inline void submit_next(simulation *s)
{
    tsr_request *r = s->requests[s->n_submitted++];
    bool fits = tsr_pages_for(tsr_request_cached_tokens(&r->spec)) <= s->limits.n_pages;
    assert_int_equal(tsr_scheduler_submit(s->scheduler, r), fits ? TSR_OK : TSR_ERR_CAPACITY);
    s->refused += !fits;
    if (fits) assert_int_equal(tsr_scheduler_submit(s->scheduler, r), TSR_ERR_USAGE);
}

static inline void end_random(simulation *s)
{
    int i = between(&s->rng, 0, s->n_submitted - 1);
    tsr_request *r = s->requests[i];
    if (r->state == TSR_REQUEST_NEW) return; /* refused */
    tsr_finish before = r->finish, reason = between(&s->rng, 0, 1) ? TSR_FINISH_CANCELLED : TSR_FINISH_STOP;
    tsr_scheduler_finish(s->scheduler, r, reason);
    assert_int_equal(r->finish, before == TSR_FINISH_NONE ? reason : before);
    if (before == TSR_FINISH_NONE) s->ended_outside[i] = true;
}

static inline void check_counts(const simulation *s)
{
    tsr_scheduler_counts c;
    int waiting = 0, running = 0, pages = 0, reserved = 0;
    tsr_scheduler_get_counts(s->scheduler, &c);
    for (int i = 0; i < s->n_submitted; i++) {
        const tsr_request *r = s->requests[i];
        waiting += r->state == TSR_REQUEST_WAITING;
        running += r->state == TSR_REQUEST_RUNNING;
        if (r->state != TSR_REQUEST_RUNNING) continue;
        int worst = tsr_pages_for(tsr_request_cached_tokens(&r->spec));
        pages += tsr_pages_for(r->n_computed);
        assert_int_equal(r->reserved, worst - tsr_pages_for(r->n_computed));
        reserved += r->reserved;
    }
    assert_int_equal(c.waiting, waiting);
    assert_int_equal(c.running, running);
    assert_true(s->shares ? c.pages_used <= 2 * pages : c.pages_used == pages);
    assert_true(pages == 0 || c.pages_used > 0);
    assert_int_equal(c.pages_reserved, reserved);
    assert_true(c.pages_used + reserved <= s->limits.n_pages);
    assert_int_equal(tsr_scheduler_idle(s->scheduler), waiting + running == 0);
}

/* Of the plan just made: the budget holds and is used, decodes come first and none is left out, and new
 * sequences start in the order in which they were submitted. */
static inline void check_plan(simulation *s, const bool *decoding)
{
    const tsr_step_record *r = s->root.record;
    bool in_step[MOST_REQUESTS] = {false}, unread = false, prompts = false;
    assert_int_equal(tsr_step_record_check(r, &s->limits), TSR_OK);
    for (int32_t q = 0; q < r->n_sequences; q++) {
        int who = -1;
        for (int i = 0; i < s->n_submitted; i++)
            if (s->requests[i]->slot == r->sequences[q].slot) who = i;
        assert_true(who >= 0);
        in_step[who] = true;
        if (decoding[who]) assert_int_equal(r->sequences[q].n_tokens, 1);
        if (decoding[who]) assert_false(prompts);
        prompts |= !decoding[who];
        if (r->sequences[q].start < 0) continue;
        assert_true(who > s->last_started);
        for (int i = s->last_started + 1; i < who; i++)
            assert_true(s->requests[i]->state == TSR_REQUEST_FINISHED ||
                        s->requests[i]->state == TSR_REQUEST_NEW);
        s->last_started = who;
    }
    for (int i = 0; i < s->n_submitted; i++) {
        const tsr_request *q = s->requests[i];
        if (decoding[i]) assert_true(in_step[i]);
        unread |= q->state == TSR_REQUEST_RUNNING && q->n_computed < q->spec.n_prompt;
    }
    bool held_back = unread && r->n_tokens < s->limits.max_tokens && r->n_rows < s->limits.max_rows;
    assert_true(s->pace || !held_back);
    s->held_back += held_back;
    if (s->n_flights == 0 && !tsr_scheduler_idle(s->scheduler)) assert_int_equal(r->kind, TSR_RECORD_STEP);
}

/* The record as the follower gets it. */
static inline void send_record(simulation *s)
{
    int64_t bytes = tsr_step_record_encode(s->root.record, s->bytes), peeked;
    assert_true(bytes <= tsr_step_record_max_bytes(&s->limits));
    assert_int_equal(tsr_step_record_peek(s->bytes, &s->limits, &peeked), TSR_OK);
    assert_int_equal(peeked, bytes);
    assert_int_equal(tsr_step_record_decode(s->bytes, bytes, &s->limits, s->follower.record), TSR_OK);
}

static inline void note_decoding(const simulation *s, bool *decoding)
{
    for (int i = 0; i < s->n_submitted; i++) {
        const tsr_request *r = s->requests[i];
        decoding[i] = r->state == TSR_REQUEST_RUNNING && r->n_computed >= r->spec.n_prompt &&
                      r->n_computed < tsr_request_cached_tokens(&r->spec);
    }
}

static inline void check_updated(const simulation *s, const int32_t *before)
{
    int32_t n;
    bool listed[MOST_REQUESTS] = {false};
    tsr_request *const *updated = tsr_scheduler_updated(s->scheduler, &n);
    for (int32_t i = 0; i < n; i++) {
        int who = (int)(intptr_t)updated[i]->user;
        assert_false(listed[who]);
        listed[who] = true;
    }
    for (int i = 0; i < s->n_submitted; i++)
        if (s->requests[i]->n_generated > before[i]) assert_true(listed[i]);
}

/* Plans a step and runs it on both ranks; what it gives is kept for later. */
static inline void launch_step(simulation *s)
{
    bool decoding[MOST_REQUESTS];
    note_decoding(s, decoding);
    tsr_scheduler_plan(s->scheduler, s->root.record);
    check_plan(s, decoding);
    check_counts(s);
    send_record(s);
    for (int i = 0; i < 2; i++) {
        rank *r = i ? &s->follower : &s->root;
        assert_int_equal(tsr_slot_table_apply(r->slots, r->record), TSR_OK);
        if (r->record->kind == TSR_RECORD_STEP) rank_run(r);
    }
    int32_t n = s->root.record->n_rows;
    for (int32_t i = 0; i < n; i++) assert_int_equal(s->root.results[i].id, s->follower.results[i].id);
    if (s->root.record->kind != TSR_RECORD_STEP) return;
    flight *f = &s->flights[s->n_flights++];
    f->n = n;
    memcpy(f->results, s->root.results, (size_t)n * sizeof *f->results);
}

static inline void commit_step(simulation *s)
{
    int32_t before[MOST_REQUESTS];
    for (int i = 0; i < s->n_submitted; i++) before[i] = s->requests[i]->n_generated;
    const flight oldest = s->flights[0];
    if (s->pace) tsr_scheduler_measured(s->scheduler, 1e-3 * between(&s->rng, 0, 100));
    assert_int_equal(tsr_scheduler_commit(s->scheduler, oldest.results, oldest.n), TSR_OK);
    s->flights[0] = s->flights[1];
    s->flights[1] = oldest;
    s->n_flights--;
    check_updated(s, before);
    check_counts(s);
}

static inline void one_step(simulation *s)
{
    if (s->n_flights == 0) launch_step(s);
    if (s->n_flights > 0 && s->root.record->ahead) {
        if (between(&s->rng, 0, 9) == 0) end_random(s); /* perhaps nothing is left to run */
        launch_step(s);
        s->went_ahead++;
    }
    if (between(&s->rng, 0, 9) == 0) end_random(s); /* while the step is under way */
    if (s->n_flights > 0) commit_step(s);
    s->steps++;
}

static inline void simulation_create(simulation *s, uint64_t seed, const tsr_step_limits *limits)
{
    memset(s, 0, sizeof *s);
    s->rng.state = seed;
    s->last_started = -1;
    s->limits = limits ? *limits : random_limits(&s->rng);
    s->bytes = malloc((size_t)tsr_step_record_max_bytes(&s->limits));
    assert_int_equal(tsr_scheduler_create(&s->limits, &s->scheduler), TSR_OK);
    rank_create(&s->root, &s->limits);
    rank_create(&s->follower, &s->limits);
    for (int i = 0; i < 2; i++)
        s->flights[i].results = calloc((size_t)s->limits.max_rows, sizeof(tsr_sample_result));
}

/* Requests share pages, and begin alike. */
static inline void share(simulation *s)
{
    s->shares = true;
    assert_int_equal(tsr_scheduler_share_prefixes(s->scheduler, NULL, 0), TSR_OK);
}

/* The scheduler plans ahead of results; `device`: tokens then become known on the device alone. */
static inline void go_ahead(simulation *s, bool device)
{
    tsr_scheduler_set_ahead(s->scheduler, true);
    s->root.device = s->follower.device = device;
}

/* Pace is kept, of steps that take any time. */
static inline void keep_pace(simulation *s)
{
    assert_int_equal(tsr_step_pace_create(&s->pace), TSR_OK);
    tsr_scheduler_set_pace(s->scheduler, s->pace);
}

static inline void simulation_destroy(simulation *s)
{
    for (int i = 0; i < s->n_requests; i++) tsr_request_destroy(&s->requests[i]);
    tsr_scheduler_destroy(&s->scheduler);
    tsr_step_pace_destroy(&s->pace);
    rank_destroy(&s->root);
    rank_destroy(&s->follower);
    free(s->bytes);
    for (int i = 0; i < 2; i++) free(s->flights[i].results);
}

static inline void run_all(simulation *s, int n_requests)
{
    int64_t tokens = 0;
    for (int i = 0; i < n_requests; i++) {
        s->requests[i] = random_request(s, i);
        tokens += s->requests[i]->spec.n_prompt + s->requests[i]->spec.max_new_tokens;
    }
    s->n_requests = n_requests;
    while (s->n_submitted < n_requests || !tsr_scheduler_idle(s->scheduler)) {
        while (s->n_submitted < n_requests && between(&s->rng, 0, 2)) submit_next(s);
        if (s->n_submitted > 0 && between(&s->rng, 0, 19) == 0) end_random(s);
        one_step(s);
        assert_true(s->steps <= tokens * 4 + 1000); /* every step gets on */
    }
    while (s->n_flights > 0) commit_step(s); /* computed in vain */
    one_step(s);                             /* idle: the last releases */
    for (int i = 0; i < n_requests; i++) {
        if (s->requests[i]->state == TSR_REQUEST_NEW) continue;
        check_request(s->requests[i], s->limits.vocabulary, s->ended_outside[i]);
    }
    for (int32_t i = 0; i < s->limits.max_sequences; i++)
        assert_false(tsr_slot_table_get(s->follower.slots, i)->used);
    check_counts(s);
}

/* ---- For rules one by one ---- */

static const tsr_step_limits small = {
    .max_tokens = 8, .max_sequences = 4, .max_rows = 6, .max_context = 320, .n_pages = 10, .vocabulary = 50};

/* Of zeros. */
static inline tsr_request *plain_request(simulation *s, int32_t n_prompt, int32_t max_new_tokens)
{
    static const int32_t zeros[320];
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    spec.prompt = zeros;
    spec.n_prompt = n_prompt;
    spec.max_new_tokens = max_new_tokens;
    tsr_request *r;
    assert_int_equal(tsr_request_create(&spec, &s->limits, &r), TSR_OK);
    r->user = (void *)(intptr_t)s->n_requests;
    s->requests[s->n_requests++] = r;
    return r;
}

#endif
