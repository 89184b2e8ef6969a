/* test_cuda_engine.c: whole models on a GPU: tokens do not depend on which kernels run, on graphs, on planning ahead, on
 * who chooses them, or on the device. In float32, where the order of additions moves logits by some 1e-6. */
#include "support_gpu.h"

#include "tessera.h"

#include <math.h>
#include <string.h>

enum { REQUESTS = 7, NEW = 24 };

typedef struct answer {
    int32_t ids[NEW];
    float logprobs[NEW];
    int64_t n;
    tsr_finish finish;
} answer;

/* One way of running. */
typedef struct way {
    const char *name, *device, *kernels, *plan_ahead;
    bool no_graph;
    int step_tokens, max_sequences;
} way;

static const way ways[] = {
    {"CPU", "cpu", "auto", "off", false, 0, 64},
    {"GPU", "cuda", "auto", "auto", false, 0, 64},
    {"in step", "cuda", "auto", "off", false, 0, 64},
    {"injected", "cuda", "inject", "on", false, 0, 64},
    {"reference", "cuda", "reference", "on", false, 0, 64},
    {"no graphs", "cuda", "auto", "on", true, 0, 64},
    {"crowded", "cuda", "auto", "on", false, 5, 3},
};

/* What is asked of request i: greedy, by temperature, filtered, biased, penalised; with and without log-probabilities. */
static tsr_request_options request_of(int i, const int32_t *prompt)
{
    static const tsr_logit_bias biases[] = {{30, 2}, {7, -100}};
    tsr_request_options r = TSR_REQUEST_OPTIONS_INIT;
    r.ids = prompt;
    r.n_ids = 1 + 3 * i;
    r.max_new_tokens = NEW - i;
    r.seed = (uint64_t)i;
    r.logprobs = i % 2;
    if (i >= 2) r.temperature = 0.8;
    if (i == 2 || i == 3) r.logit_bias = biases, r.n_logit_bias = 2;
    if (i == 3) r.top_p = 0.9;
    if (i == 4 || i == 5) r.frequency_penalty = 0.7, r.presence_penalty = -0.2;
    if (i == 4) r.top_k = 12, r.min_p = 0.01;
    if (i == 5) r.repetition_penalty = 1.3;
    if (i == 6) r.no_repeat_ngram = 2, r.min_new_tokens = 5;
    return r;
}

static void take_answer(tsr_engine *engine, int64_t id, answer *a, int64_t *n_cached)
{
    tsr_result r;
    assert_int_equal(tsr_engine_result(engine, id, &r), TSR_OK);
    a->n = r.n_ids;
    a->finish = r.finish;
    memcpy(a->ids, r.ids, (size_t)r.n_ids * sizeof *r.ids);
    memcpy(a->logprobs, r.logprobs, (size_t)r.n_ids * sizeof *r.logprobs);
    *n_cached += r.n_cached;
}

static void create(const tsr_engine_options *o, tsr_engine **engine)
{
    tsr_status s = tsr_engine_create(o, engine);
    if (s != TSR_OK) print_error("%s: %s\n", o->model, tsr_last_error());
    assert_int_equal(s, TSR_OK);
}

static void run_way(const char *model, const way *w, answer *answers)
{
    tsr_engine_options o = TSR_ENGINE_OPTIONS_INIT;
    tsr_engine *engine;
    int64_t ids[REQUESTS], n_cached = 0;
    int32_t prompt[4 * REQUESTS]; /* request i takes 1 + 3 i of them, from i on */
    o.model = model;
    o.dtype = "float32";
    o.device = w->device;
    o.kernels = w->kernels;
    o.plan_ahead = w->plan_ahead;
    o.no_cuda_graph = w->no_graph;
    o.step_tokens = w->step_tokens;
    o.max_sequences = w->max_sequences;
    o.cache_bytes = 8 << 20;
    o.quiet = true;
    create(&o, &engine);
    for (int i = 0; i < 4 * REQUESTS; i++) prompt[i] = (i * 7 + 3) % 40;
    for (int i = 0; i < REQUESTS; i++) {
        tsr_request_options r = request_of(i, prompt + i);
        assert_int_equal(tsr_engine_submit(engine, &r, &ids[i]), TSR_OK);
    }
    assert_int_equal(tsr_engine_run(engine), TSR_OK);
    for (int i = 0; i < REQUESTS; i++) take_answer(engine, ids[i], &answers[i], &n_cached);
    tsr_engine_destroy(&engine);
}

/* All requests with one prompt of 70 tokens, twice over. Returns how many tokens they did not read themselves. */
static int64_t run_alike(const char *model, const way *w, bool prefix_cache, answer answers[2][REQUESTS])
{
    tsr_engine_options o = TSR_ENGINE_OPTIONS_INIT;
    tsr_engine *engine;
    int64_t ids[REQUESTS], n_cached = 0;
    int32_t prompt[70];
    o.model = model;
    o.dtype = "float32";
    o.device = w->device;
    o.plan_ahead = w->plan_ahead;
    o.step_tokens = 48;
    o.cache_bytes = 8 << 20;
    o.quiet = true;
    o.prefix_cache = prefix_cache;
    create(&o, &engine);
    for (int i = 0; i < 70; i++) prompt[i] = (i * i + 3) % 40;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < REQUESTS; i++) {
            tsr_request_options r = request_of(i, prompt);
            r.n_ids = 70;
            assert_int_equal(tsr_engine_submit(engine, &r, &ids[i]), TSR_OK);
        }
        assert_int_equal(tsr_engine_run(engine), TSR_OK);
        for (int i = 0; i < REQUESTS; i++) take_answer(engine, ids[i], &answers[round][i], &n_cached);
    }
    tsr_engine_destroy(&engine);
    return n_cached;
}

static int differences(const char *model, const way *w, const answer *found, const answer *wanted)
{
    int bad = 0;
    for (int i = 0; i < REQUESTS; i++) {
        bool same = found[i].n == wanted[i].n && found[i].finish == wanted[i].finish &&
                    !memcmp(found[i].ids, wanted[i].ids, (size_t)wanted[i].n * sizeof *wanted[i].ids);
        for (int64_t k = 0; k < wanted[i].n && same; k++) {
            float a = found[i].logprobs[k], b = wanted[i].logprobs[k];
            same = isnan(a) == isnan(b) && !(fabsf(a - b) > 1e-3f);
        }
        if (!same) print_error("%s, %s: request %d differs\n", model, w->name, i);
        bad += !same;
    }
    return bad;
}

static void tokens_are_the_same_in_every_way(void **state)
{
    (void)state;
    static const char *const models[] = {"llama_gqa", "llama_eos", "gpt2_base", "gptj_partial"};
    int bad = 0, early = 0;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        static answer wanted[REQUESTS], found[REQUESTS];
        char path[1024];
        snprintf(path, sizeof path, "%s/oracle/%s", TSR_TEST_DATA, models[m]);
        run_way(path, &ways[0], wanted);
        for (int i = 0; i < REQUESTS; i++) early += wanted[i].finish == TSR_FINISH_EOS;
        for (size_t w = 1; w < sizeof ways / sizeof *ways; w++) {
            run_way(path, &ways[w], found);
            bad += differences(models[m], &ways[w], found, wanted);
        }
    }
    assert_int_equal(bad, 0);
    assert_true(early > 0);
}

static void shared_pages_change_nothing(void **state)
{
    (void)state;
    static const char *const models[] = {"llama_gqa", "gpt2_base", "mistral_window", "bloom_seven_heads"};
    int bad = 0;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        static answer wanted[2][REQUESTS], found[2][REQUESTS];
        char path[1024];
        snprintf(path, sizeof path, "%s/oracle/%s", TSR_TEST_DATA, models[m]);
        assert_int_equal(run_alike(path, &ways[0], false, wanted), 0);
        for (int w = 1; w < 3; w++) {
            int64_t n_cached = run_alike(path, &ways[w], true, found);
            assert_in_range(n_cached, REQUESTS * 64, 2 * REQUESTS * 64 - 64);
            for (int round = 0; round < 2; round++)
                bad += differences(models[m], &ways[w], found[round], wanted[round]);
        }
    }
    assert_int_equal(bad, 0);
}

int main(void)
{
    need_gpus(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokens_are_the_same_in_every_way),
                                       cmocka_unit_test(shared_pages_change_nothing)};
    return cmocka_run_group_tests_name("cuda_engine", tests, NULL, NULL);
}
