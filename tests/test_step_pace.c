/* test_step_pace.c: what steps cost is learnt; how long they may be; and what clients see of it, in many kinds of traffic. */
#include "support_pace.h"

#include "base/memory.h"

/* ---- What steps cost ---- */

static tsr_step_work some_work(tsr_rng *rng, bool prompt)
{
    tsr_step_work work = {0};
    for (uint64_t n = tsr_rng_below(rng, 64); n > 0; n--)
        tsr_step_work_add_decoding(&work, (int32_t)tsr_rng_below(rng, 2000));
    if (prompt)
        tsr_step_work_add_prompt(&work, (int32_t)tsr_rng_below(rng, 2000),
                                 1 + (int32_t)tsr_rng_below(rng, 500), (int32_t)tsr_rng_below(rng, 2));
    return work;
}

/* Steps with prompts do something that the others do not, and for each token more. */
static double some_machine(const tsr_step_work *work)
{
    double each = work->prompt > 0 ? 3e-3 + 6e-5 * work->prompt : 1e-3;
    return each + 2e-5 * work->rows + 4e-8 * work->attended;
}

static double worst_error(const tsr_step_cost *cost, tsr_rng *rng, machine m)
{
    double worst = 0;
    for (int i = 0; i < 200; i++) {
        tsr_step_work work = some_work(rng, i % 2);
        worst = fmax(worst, fabs(tsr_step_cost_predict(cost, &work) / m(&work) - 1));
    }
    return worst;
}

static void learn(tsr_step_cost *cost, tsr_rng *rng, int n, machine m, double times)
{
    for (int i = 0; i < n; i++) {
        tsr_step_work work = some_work(rng, i % 2);
        tsr_step_cost_learn(cost, &work, times * m(&work) * (0.9 + 0.2 * tsr_rng_uniform(rng)));
    }
}

static void costs_are_learnt(void **state)
{
    (void)state;
    tsr_rng rng = {1};
    tsr_step_cost *cost;
    assert_int_equal(tsr_step_cost_create(&cost), TSR_OK);
    tsr_step_work work = some_work(&rng, true), bad = work;
    assert_true(tsr_step_cost_predict(cost, &work) == 0);
    learn(cost, &rng, 400, some_machine, 1);
    assert_true(worst_error(cost, &rng, some_machine) < 0.1);
    const double none[] = {0, -1, NAN, INFINITY, 1e-12};
    double before = tsr_step_cost_predict(cost, &work);
    for (int i = 0; i < 5; i++) tsr_step_cost_learn(cost, &bad, none[i]);
    assert_true(tsr_step_cost_predict(cost, &work) == before);
    learn(cost, &rng, 800, some_machine, 3); /* the machine is slower now */
    double slower = tsr_step_cost_predict(cost, &work) / some_machine(&work);
    assert_true(slower > 2.7 && slower < 3.3);
    tsr_step_cost_destroy(&cost);
    assert_null(cost);
    tsr_step_cost_destroy(&cost);
}

/* One step in ten is held up by something else, and takes ten times as long. */
static void what_holds_steps_up_counts_for_little(void **state)
{
    (void)state;
    tsr_rng rng = {2};
    tsr_step_cost *cost;
    assert_int_equal(tsr_step_cost_create(&cost), TSR_OK);
    for (int i = 0; i < 500; i++) learn(cost, &rng, 1 + i % 2, some_machine, i % 10 == 0 ? 10 : 1);
    assert_true(worst_error(cost, &rng, some_machine) < 0.25);
    tsr_step_cost_destroy(&cost);
}

/* What was learnt of prompts is still known when none came for a long time, whatever else is the same in every step. */
static void prompts_are_not_forgotten(void **state)
{
    (void)state;
    tsr_rng rng = {3};
    tsr_step_cost *cost;
    assert_int_equal(tsr_step_cost_create(&cost), TSR_OK);
    learn(cost, &rng, 400, some_machine, 1);
    const tsr_step_work same = {.decoding = 8, .rows = 8, .attended = 4000};
    for (int i = 0; i < 200000; i++) tsr_step_cost_learn(cost, &same, some_machine(&same));
    assert_true(fabs(tsr_step_cost_predict(cost, &same) / some_machine(&same) - 1) < 0.01);
    for (int i = 0; i < 100; i++) {
        tsr_step_work work = some_work(&rng, true);
        assert_true(fabs(tsr_step_cost_predict(cost, &work) / some_machine(&work) - 1) < 0.1);
    }
    tsr_step_cost_destroy(&cost);
}

/* ---- How long a step may be ---- */

/* A millisecond for ten tokens, after four for nothing. */
static double ten_tokens(const tsr_step_work *work)
{
    return 4e-3 + 1e-4 * (work->decoding + work->prompt);
}

static void tell(tsr_step_pace *pace, int n, int32_t decoding, int32_t prompt, double times)
{
    tsr_step_work work = {decoding, prompt, decoding, 0};
    for (int i = 0; i < n; i++) tsr_step_pace_measured(pace, &work, times * ten_tokens(&work));
}

/* For a step in which four sequences decode. */
static double limit_of(tsr_step_pace *pace)
{
    tsr_step_pace_begin(pace, &(tsr_step_work){.decoding = 4, .rows = 4});
    return tsr_step_pace_limit(pace);
}

/* The limit is that of steps of so many tokens. */
static void assert_usual(tsr_step_pace *pace, int32_t tokens)
{
    double expected = TSR_STEP_PACE_MOST * ten_tokens(&(tsr_step_work){.prompt = tokens});
    assert_true(fabs(limit_of(pace) / expected - 1) < 0.03);
}

static void limits_follow_what_is_usual(void **state)
{
    (void)state;
    tsr_step_pace *pace;
    assert_int_equal(tsr_step_pace_create(&pace), TSR_OK);
    for (int32_t n = 8; n <= 512; n += 8) tell(pace, 10, 0, n, 1); /* nothing decodes: no history */
    assert_true(isinf(limit_of(pace)));
    tell(pace, TSR_STEP_PACE_FEWEST - 1, 4, 0, 1);
    assert_true(isinf(limit_of(pace)));
    assert_int_equal(tsr_step_pace_allows(pace, &(tsr_step_work){.decoding = 4}, 0, 500, false), 500);
    tell(pace, 100 - (TSR_STEP_PACE_FEWEST - 1), 4, 0, 1);
    assert_usual(pace, 4);
    tell(pace, 100, 4, 36, 1); /* half of the steps: still not usual */
    assert_usual(pace, 4);
    tell(pace, 60, 4, 36, 1); /* three in five and more are */
    assert_usual(pace, 40);
    tell(pace, 10, 64, 96, 1); /* as many tokens as 160 steps of four */
    assert_usual(pace, 40);
    tell(pace, 15, 64, 96, 1);
    assert_usual(pace, 160);
    tell(pace, TSR_STEP_PACE_STEPS / 2, 4, 0, 1);
    assert_usual(pace, 40);
    tell(pace, TSR_STEP_PACE_STEPS / 2, 4, 0, 1); /* all else is long ago */
    assert_usual(pace, 4);
    tell(pace, 100, 4, 0, 10); /* something else holds the steps up, */
    tell(pace, 400, 4, 0, 1);  /* and is over */
    assert_true(limit_of(pace) < 1.1 * TSR_STEP_PACE_MOST * 4.4e-3);
    tsr_step_pace_begin(pace, &(tsr_step_work){0});
    assert_true(isinf(tsr_step_pace_limit(pace)));
    assert_int_equal(tsr_step_pace_allows(pace, &(tsr_step_work){0}, 0, 500, false), 500);
    tsr_step_pace_destroy(&pace);
    assert_null(pace);
    tsr_step_pace_destroy(&pace);
}

/* Knows a machine, from steps without prompts and with up to 400 tokens of them. */
static tsr_step_pace *pace_that_knows(machine m)
{
    tsr_rng rng = {5};
    tsr_step_pace *pace;
    assert_int_equal(tsr_step_pace_create(&pace), TSR_OK);
    for (int i = 0; i < 600; i++) {
        tsr_step_work work = {.prompt = i % 4 ? 0 : 1 + (int32_t)tsr_rng_below(&rng, 400)};
        work.decoding = work.rows = 32;
        tsr_step_pace_measured(pace, &work, m(&work));
    }
    return pace;
}

static void prompts_get_the_time_that_is_left(void **state)
{
    (void)state;
    tsr_step_pace *pace = pace_that_knows(ten_tokens);
    tsr_step_work work = {.decoding = 32, .rows = 32};
    tsr_step_pace_begin(pace, &work); /* 1.7 times 7.2 ms: 50 tokens more */
    assert_true(fabs(tsr_step_pace_limit(pace) - 12.24e-3) < 0.05e-3);
    assert_int_equal(tsr_step_pace_allows(pace, &work, 0, 500, false), 48);
    assert_int_equal(tsr_step_pace_allows(pace, &work, 0, 49, false), 49); /* all: whatever a tile is */
    assert_int_equal(tsr_step_pace_allows(pace, &work, 0, 0, false), 0);
    tsr_step_work_add_prompt(&work, 0, 30, 1);
    assert_in_range(tsr_step_pace_allows(pace, &work, 0, 500, false), 18, 20);
    tsr_step_work_add_prompt(&work, 0, 300, 1);
    assert_int_equal(tsr_step_pace_allows(pace, &work, 0, 500, false), 0);
    tsr_step_pace_destroy(&pace);
}

/* With whatever prompt at all a step takes thrice as long: then a prompt gets on by more than the least. */
static double captured(const tsr_step_work *work)
{
    return work->prompt > 0 ? 9e-3 + 1e-6 * work->prompt : 3e-3;
}

/* Prompts are dear: the least there is to read takes thrice the time of the rest. */
static double dear(const tsr_step_work *work)
{
    return 5e-3 + 1e-3 * work->prompt;
}

static void something_is_always_read(void **state)
{
    (void)state;
    tsr_step_pace *pace = pace_that_knows(captured);
    tsr_step_work work = {.decoding = 32, .rows = 32};
    tsr_step_pace_begin(pace, &work);
    assert_true(tsr_step_pace_allows(pace, &work, 0, 2000, false) > 500);
    tsr_step_pace_destroy(&pace);
    pace = pace_that_knows(dear);
    tsr_step_pace_begin(pace, &work);
    assert_int_equal(tsr_step_pace_allows(pace, &work, 0, 500, false), TSR_STEP_PACE_LEAST);
    assert_int_equal(tsr_step_pace_allows(pace, &work, 0, 9, false), 9);
    tsr_step_work_add_prompt(&work, 0, 9, 1);
    assert_in_range(tsr_step_pace_allows(pace, &work, 0, 500, false), TSR_STEP_PACE_LEAST - 9,
                    TSR_STEP_PACE_LEAST);
    tsr_step_pace_destroy(&pace);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    for (int64_t i = 1; i <= 2; i++) {
        tsr_step_pace *pace;
        tsr_memory_fail_after(i);
        assert_int_equal(tsr_step_pace_create(&pace), TSR_ERR_MEMORY);
        assert_null(pace);
    }
    tsr_memory_fail_after(0);
}

/* ---- Who gets the time ---- */

/* Eight sequences that decode, on a machine that is known: 4.8 ms without prompts, so that 42 tokens of these have room. */
static void play_eight(play *p)
{
    static const traffic none = {0};
    play_create(p, &none, ten_tokens, true, 0);
    for (int i = 0; i < 8; i++) ask(p, 4 + 40 * i, 10000, false);
    while (p->steps < TSR_STEP_PACE_STEPS + 20) play_step(p);
}

/* The one that came first gets all the time there is, until it is read. */
static void prompts_are_read_in_order(void **state)
{
    (void)state;
    static play p;
    play_eight(&p);
    for (int i = 0; i < 3; i++) ask(&p, 500, 1000, false);
    const tsr_request *first = p.talks[8].request, *second = p.talks[9].request, *third = p.talks[10].request;
    while (third->n_computed < 500) {
        int32_t before = first->n_computed + second->n_computed + third->n_computed;
        double clock = p.clock;
        play_step(&p);
        int32_t after = first->n_computed + second->n_computed + third->n_computed;
        assert_true(after - before >= 30 || third->n_computed == 500);
        assert_true(p.clock - clock < 2 * 4.8e-3);
        assert_true(second->n_computed == 0 || first->n_computed >= 500);
        assert_true(third->n_computed == 0 || second->n_computed >= 500);
    }
    play_destroy(&p);
}

/* A prefix is not cut, and takes no step that another prompt makes longer already; behind it the prompt is cut. */
static void a_prefix_is_read_whole(void **state)
{
    (void)state;
    static const int32_t zeros[400];
    static play p;
    play_eight(&p);
    ask(&p, 300, 1000, false);
    tsr_request_spec spec = {.prompt = zeros,
                             .n_prompt = 400,
                             .prefix_length = 250,
                             .mask_position = 3,
                             .max_new_tokens = 5,
                             .sampling = TSR_SAMPLING_GREEDY};
    talk *t = &p.talks[9];
    assert_int_equal(tsr_request_create(&spec, &p.limits, &t->request), TSR_OK);
    t->request->user = t;
    assert_int_equal(tsr_scheduler_submit(p.scheduler, t->request), TSR_OK);
    const tsr_request *before = p.talks[8].request;
    while (t->request->n_computed == 0) {
        int32_t computed = before->n_computed;
        play_step(&p);
        assert_true(p.steps < 1000);
        if (t->request->n_computed > 0) assert_true(computed >= 300);
    }
    assert_int_equal(t->request->n_computed, 250);
    play_step(&p);
    assert_in_range(t->request->n_computed, 250 + TSR_STEP_PACE_LEAST, 300);
    play_destroy(&p);
}

/* With nothing that decodes, prompts have the whole budget. */
static void what_disturbs_nobody_is_not_cut(void **state)
{
    (void)state;
    static play p;
    play_eight(&p);
    tsr_scheduler_finish_all(p.scheduler, TSR_FINISH_CANCELLED);
    ask(&p, 1500, 10, false);
    for (int i = 0; i < 2; i++) {
        play_step(&p);
        assert_int_equal(p.record->n_tokens, 512);
    }
    play_destroy(&p);
}

/* ---- What clients see ---- */

/* Every token takes its time. */
static double busy(const tsr_step_work *work)
{
    return 4e-3 + 8e-5 * (work->decoding + work->prompt);
}

/* Looking back takes time too, and so do rows. */
static double attentive(const tsr_step_work *work)
{
    return 2e-3 + 4e-5 * (work->decoding + work->prompt) + 1e-7 * work->attended + 5e-5 * work->rows;
}

/* The weights are streamed, and the first tokens cost nothing beside. */
static double streaming(const tsr_step_work *work)
{
    return 5e-3 + 1e-5 * fmax(0, work->decoding + work->prompt - 16);
}

/* Steps without prompts are captured graphs. */
static double device(const tsr_step_work *work)
{
    return 5e-3 + (work->prompt > 0 ? 2e-3 : 0) + 2e-5 * fmax(0, work->prompt - 64) + 1e-9 * work->attended;
}

static const struct {
    const char *name;
    traffic traffic;
    bool uneven; /* without pacing, where every token takes its time: the kinds to play everywhere */
} kinds[] = {
    {"prompts keep coming", {.clients = 64, .shortest = 20, .longest = 1500, .fewest = 8, .most = 64}, false},
    {"one alone, then all", {64, 20, 1500, 8, 64, .alone = 5}, false},
    {"a fifth of the steps",
     {.clients = 64, .shortest = 20, .longest = 1500, .fewest = 100, .most = 400},
     true},
    {"a few clients", {.clients = 16, .shortest = 20, .longest = 1500, .fewest = 8, .most = 64}, true},
    {"rare prompts", {32, 20, 40, 200, 400, .every = 1, .at_once = 1, .prompt = 1500, .answer = 40}, false},
    {"many prompts", {32, 20, 40, 200, 400, .every = 0.3, .at_once = 1, .prompt = 1500, .answer = 40}, true},
    {"bursts", {32, 20, 40, 200, 400, .every = 10, .at_once = 24, .prompt = 1500, .answer = 64}, true},
    {"small bursts", {16, 20, 40, 200, 400, .every = 3, .at_once = 8, .prompt = 1500, .answer = 64}, true},
    {"large bursts", {16, 20, 40, 200, 400, .every = 20, .at_once = 48, .prompt = 1500, .answer = 64}, true}};

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

typedef struct seen {
    double ratio;          /* of the time between tokens, the 95th percentile to the median */
    double tokens, in_all; /* new ones, and these with those of prompts, a second */
    double first;          /* the time to the first token, the median */
} seen;

static seen play_once(const traffic *t, machine m, bool paced, bool ahead)
{
    play p;
    play_create(&p, t, m, paced, 0.2);
    tsr_scheduler_set_ahead(p.scheduler, ahead);
    play_for(&p, 40);
    assert_true(p.n_between > 10000);
    double half = quantile(p.between, p.n_between, 0.5), most = quantile(p.between, p.n_between, 0.95);
    seen s = {most / half, (double)p.tokens / p.clock, (double)(p.tokens + p.prompt_tokens) / p.clock,
              quantile(p.first, p.n_first, 0.5)};
    play_destroy(&p);
    return s;
}

static void play_kinds(machine m, bool ahead, bool all)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!all && (!kinds[i].uneven || (SANITIZED && i % 2))) continue;
        if (all && SANITIZED && !kinds[i].uneven) continue;
        seen without = play_once(&kinds[i].traffic, m, false, ahead),
             with = play_once(&kinds[i].traffic, m, true, ahead);
        print_message(
            "%-20s 95%%/50%% %5.2f, was %5.2f; tokens %3.0f %%, in all %3.0f %%; first %4.0f ms, was %4.0f\n",
            kinds[i].name, with.ratio, without.ratio, 100 * with.tokens / without.tokens,
            100 * with.in_all / without.in_all, 1e3 * with.first, 1e3 * without.first);
        if (all && kinds[i].uneven) assert_true(without.ratio > 4);
        assert_true(with.ratio <= 2);
        assert_true(with.tokens >= 0.85 * without.tokens);
        assert_true(with.in_all >= 0.9 * without.in_all);
    }
}

static void tokens_come_evenly_where_each_takes_its_time(void **state)
{
    (void)state;
    play_kinds(busy, false, true);
}

static void tokens_come_evenly_where_looking_back_takes_time(void **state)
{
    (void)state;
    play_kinds(attentive, false, false);
}

static void tokens_come_evenly_where_weights_are_streamed(void **state)
{
    (void)state;
    play_kinds(streaming, false, false);
}

/* Where steps are planned ahead, what the last one took is not known yet. */
static void tokens_come_evenly_from_a_device(void **state)
{
    (void)state;
    play_kinds(device, true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs_are_learnt),
        cmocka_unit_test(what_holds_steps_up_counts_for_little),
        cmocka_unit_test(prompts_are_not_forgotten),
        cmocka_unit_test(limits_follow_what_is_usual),
        cmocka_unit_test(prompts_get_the_time_that_is_left),
        cmocka_unit_test(something_is_always_read),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(prompts_are_read_in_order),
        cmocka_unit_test(a_prefix_is_read_whole),
        cmocka_unit_test(what_disturbs_nobody_is_not_cut),
        cmocka_unit_test(tokens_come_evenly_where_each_takes_its_time),
        cmocka_unit_test(tokens_come_evenly_where_looking_back_takes_time),
        cmocka_unit_test(tokens_come_evenly_where_weights_are_streamed),
        cmocka_unit_test(tokens_come_evenly_from_a_device),
    };
    return cmocka_run_group_tests_name("step pace", tests, NULL, NULL);
}
