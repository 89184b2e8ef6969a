/* test_scheduler.c: thousands of random requests give what each gives alone, and the rules of scheduling one by one. */
#include "support_scheduler.h"

static void batched_is_as_alone(void **state)
{
    (void)state;
    int submitted = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        simulation s;
        simulation_create(&s, seed * 7919, NULL);
        run_all(&s, between(&s.rng, 1, MOST_REQUESTS));
        submitted += s.n_submitted;
        refused += s.refused;
        simulation_destroy(&s);
    }
    assert_true(submitted > 20000);
    assert_true(refused > 50 && refused < submitted / 2);
}

/* Planning ahead of results changes nothing of them, whether tokens are known to the table or to the device alone. */
static void ahead_is_as_alone(void **state)
{
    (void)state;
    int steps = 0, ahead = 0;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        simulation s;
        simulation_create(&s, seed * 7919, NULL);
        go_ahead(&s, seed % 2);
        run_all(&s, between(&s.rng, 1, MOST_REQUESTS));
        steps += s.steps;
        ahead += s.went_ahead;
        simulation_destroy(&s);
    }
    assert_true(ahead > steps / 20);
}

/* Nor does keeping pace, whatever steps take. */
static void paced_is_as_alone(void **state)
{
    (void)state;
    int held_back = 0, steps = 0;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        simulation s;
        simulation_create(&s, seed * 7919, NULL);
        if (seed % 2) go_ahead(&s, seed % 3);
        if (seed % 4 < 2) share(&s);
        keep_pace(&s);
        run_all(&s, between(&s.rng, 1, MOST_REQUESTS));
        steps += s.steps;
        held_back += s.held_back;
        simulation_destroy(&s);
    }
    print_message("%d of %d steps were held back\n", held_back, steps);
    assert_true(held_back > steps / 100);
}

/* ---- Single rules ---- */

static void what_never_fits_is_refused(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 1, &small);
    plain_request(&s, 300, 20); /* 319 tokens are cached: exactly the 10 pages */
    s.n_submitted = 1;
    assert_int_equal(tsr_scheduler_submit(s.scheduler, s.requests[0]), TSR_OK);
    tsr_step_limits wide = small;
    wide.max_context = 1000;
    s.limits = wide;
    tsr_request *r = plain_request(&s, 300, 22);
    assert_int_equal(tsr_scheduler_submit(s.scheduler, r), TSR_ERR_CAPACITY);
    assert_string_equal(
        tsr_error_text(),
        "300 prompt tokens and 22 new ones need room for 321 in the cache, which holds 320 (10 pages of "
        "32 tokens)");
    assert_int_equal(r->state, TSR_REQUEST_NEW);
    tsr_scheduler_finish_all(s.scheduler, TSR_FINISH_CANCELLED);
    s.limits = small;
    simulation_destroy(&s);
}

static tsr_request *output_request(simulation *s, int32_t n_prompt, tsr_output_rows rows)
{
    static const int32_t ids[16] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
    tsr_request_spec spec = {.prompt = ids,
                             .n_prompt = n_prompt,
                             .sampling = TSR_SAMPLING_GREEDY,
                             .outputs = rows,
                             .output_cols = 2};
    tsr_request *r;
    assert_int_equal(tsr_request_create(&spec, &s->limits, &r), TSR_OK);
    s->requests[s->n_requests++] = r;
    return r;
}

/* Plans a step and answers each of its rows with (id of its token, 100 * its sequence); row `failing` is no numbers, -1:
 * all are. Returns how many rows there were. */
static int32_t answer_outputs(simulation *s, int32_t failing)
{
    tsr_sample_result results[6];
    float values[6][2];
    tsr_step_record *record = s->root.record;
    tsr_scheduler_plan(s->scheduler, record);
    for (int32_t i = 0; i < record->n_rows; i++) {
        assert_int_equal(record->rows[i].kind, TSR_ROW_OUTPUTS);
        values[i][0] = (float)record->ids[record->rows[i].token];
        values[i][1] = (float)(100 * record->rows[i].sequence);
        results[i] = (tsr_sample_result){.id = -1, .outputs = values[i], .failed = i == failing};
    }
    assert_int_equal(tsr_scheduler_commit(s->scheduler, results, record->n_rows), TSR_OK);
    return record->n_rows;
}

/* Six rows and eight tokens a step: one text wants the row of its last token, one that of every token. */
static void rows_of_outputs_are_kept_in_order(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 1, &small);
    tsr_request *every = output_request(&s, 9, TSR_OUTPUTS_EVERY),
                *last = output_request(&s, 3, TSR_OUTPUTS_LAST);
    for (; s.n_submitted < 2; s.n_submitted++)
        assert_int_equal(tsr_scheduler_submit(s.scheduler, s.requests[s.n_submitted]), TSR_OK);
    assert_int_equal(answer_outputs(&s, -1), 6); /* all rows are the first one's; two tokens of the other */
    assert_int_equal(every->n_outputs, 6);
    assert_int_equal(last->n_outputs, 0);
    assert_int_equal(answer_outputs(&s, -1), 4);
    assert_int_equal(every->finish, TSR_FINISH_LENGTH);
    assert_int_equal(last->finish, TSR_FINISH_LENGTH);
    assert_int_equal(every->n_outputs, 9);
    assert_int_equal(last->n_outputs, 1);
    for (int32_t i = 0; i < 9; i++) assert_true(every->outputs[2 * i] == (float)(9 - i));
    assert_true(last->outputs[0] == 7 && last->outputs[1] == 100);
    assert_true(tsr_scheduler_idle(s.scheduler));
    simulation_destroy(&s);
}

static void a_failed_row_of_outputs_ends_its_request(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 1, &small);
    tsr_request *bad = output_request(&s, 3, TSR_OUTPUTS_EVERY),
                *good = output_request(&s, 2, TSR_OUTPUTS_LAST);
    for (; s.n_submitted < 2; s.n_submitted++)
        assert_int_equal(tsr_scheduler_submit(s.scheduler, s.requests[s.n_submitted]), TSR_OK);
    assert_int_equal(answer_outputs(&s, 1), 4);
    assert_int_equal(bad->finish, TSR_FINISH_ERROR);
    assert_int_equal(good->finish, TSR_FINISH_LENGTH);
    tsr_request_spec both = good->spec;
    both.max_new_tokens = 1;
    assert_int_equal(tsr_request_check(&both, &small), TSR_ERR_INTERNAL);
    simulation_destroy(&s);
}

/* A large request at the head waits for pages; a small one behind it does not overtake. */
static void nobody_overtakes(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 1, &small);
    tsr_request *first = plain_request(&s, 4, 100), *large = plain_request(&s, 200, 60),
                *tiny = plain_request(&s, 1, 1);
    while (s.n_submitted < 3) submit_next(&s);
    one_step(&s);
    assert_int_equal(first->state, TSR_REQUEST_RUNNING);
    assert_int_equal(large->state, TSR_REQUEST_WAITING);
    assert_int_equal(tiny->state, TSR_REQUEST_WAITING);
    tsr_scheduler_finish(s.scheduler, first, TSR_FINISH_CANCELLED);
    one_step(&s);
    assert_int_equal(large->state, TSR_REQUEST_RUNNING);
    tsr_scheduler_finish_all(s.scheduler, TSR_FINISH_CANCELLED);
    assert_int_equal(tiny->finish, TSR_FINISH_CANCELLED);
    simulation_destroy(&s);
}

/* A prompt longer than the budget is read in chunks, and a sequence that decodes goes on beside it. */
static void long_prompts_do_not_stall_decoding(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 12, &small);
    tsr_request *decoding = plain_request(&s, 2, 20);
    submit_next(&s);
    one_step(&s);
    assert_int_equal(decoding->n_generated, 1);
    tsr_request *prompt = plain_request(&s, 50, 1);
    submit_next(&s);
    for (int i = 1; i <= 7; i++) {
        tsr_memory_fail_after(1); /* a step allocates nothing */
        tsr_scheduler_plan(s.scheduler, s.root.record);
        assert_int_equal(s.root.record->n_sequences, 2);
        assert_int_equal(s.root.record->n_tokens, 8);
        assert_int_equal(s.root.record->n_rows, 1);
        assert_int_equal(prompt->n_computed, 7 * i);
        assert_int_equal(tsr_slot_table_apply(s.root.slots, s.root.record), TSR_OK);
        rank_run(&s.root);
        assert_int_equal(tsr_scheduler_commit(s.scheduler, s.root.results, s.root.record->n_rows), TSR_OK);
        tsr_memory_fail_after(0);
        assert_int_equal(decoding->n_generated, 1 + i);
    }
    tsr_scheduler_finish_all(s.scheduler, TSR_FINISH_CANCELLED);
    simulation_destroy(&s);
}

/* A request may be finished and destroyed while its step is under way; the results that come for it go nowhere, and its
 * slot and pages go to the next one. */
static void requests_may_vanish_in_mid_step(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 5, &small);
    tsr_request *gone = plain_request(&s, 2, 5), *stays = plain_request(&s, 3, 5);
    while (s.n_submitted < 2) submit_next(&s);
    tsr_scheduler_plan(s.scheduler, s.root.record);
    int32_t slot = gone->slot, n;
    tsr_scheduler_finish(s.scheduler, gone, TSR_FINISH_CANCELLED);
    tsr_request_destroy(&gone);
    s.requests[0] = NULL;
    const tsr_sample_result results[2] = {{.id = 6}, {.id = 7}};
    assert_int_equal(tsr_scheduler_commit(s.scheduler, results, 2), TSR_OK);
    assert_ptr_equal(tsr_scheduler_updated(s.scheduler, &n)[0], stays);
    assert_int_equal(n, 1);
    assert_int_equal(stays->generated[0], 7);
    tsr_request *late = plain_request(&s, 2, 5);
    assert_int_equal(tsr_scheduler_submit(s.scheduler, late), TSR_OK);
    tsr_scheduler_plan(s.scheduler, s.root.record);
    assert_int_equal(s.root.record->releases[0], slot);
    assert_int_equal(late->slot, slot);
    tsr_scheduler_finish_all(s.scheduler, TSR_FINISH_CANCELLED);
    simulation_destroy(&s);
}

/* A request that ends early has one more token computed; what comes of that is dropped, and its slot is given back in
 * the record after. One whose last token is under way is not planned again. */
static void a_token_in_vain_is_dropped(void **state)
{
    (void)state;
    static const int32_t prompt[2] = {1, 2}, eos[1] = {9};
    simulation s;
    simulation_create(&s, 7, &small);
    go_ahead(&s, true);
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    spec.prompt = prompt;
    spec.n_prompt = 2;
    spec.max_new_tokens = 5;
    spec.eos_ids = eos;
    spec.n_eos = 1;
    tsr_request *early;
    assert_int_equal(tsr_request_create(&spec, &small, &early), TSR_OK);
    s.requests[s.n_requests++] = early;
    tsr_request *full = plain_request(&s, 2, 2);
    while (s.n_submitted < 2) submit_next(&s);
    const tsr_step_record *r = s.root.record;
    const tsr_sample_result end[2] = {{.id = 9}, {.id = 8}}, more[2] = {{.id = 9}, {.id = 3}};
    tsr_scheduler_plan(s.scheduler, s.root.record);
    assert_true(r->ahead);
    tsr_scheduler_plan(s.scheduler, s.root.record);
    assert_true(r->ahead); /* `early` goes on as far as anyone knows */
    assert_int_equal(r->n_rows, 2);
    assert_int_equal(r->ids[0], TSR_TOKEN_OF_ROW(0));
    assert_int_equal(r->ids[1], TSR_TOKEN_OF_ROW(1));
    assert_int_equal(tsr_scheduler_commit(s.scheduler, end, 2), TSR_OK);
    assert_int_equal(early->finish, TSR_FINISH_EOS);
    tsr_scheduler_plan(s.scheduler, s.root.record);
    assert_int_equal(r->kind, TSR_RECORD_IDLE); /* the other one is fully planned */
    assert_int_equal(r->n_releases, 1);
    assert_int_equal(tsr_scheduler_commit(s.scheduler, more, 2), TSR_OK);
    assert_int_equal(early->n_generated, 1);
    assert_int_equal(full->n_generated, 2);
    assert_int_equal(full->finish, TSR_FINISH_LENGTH);
    assert_true(tsr_scheduler_idle(s.scheduler));
    simulation_destroy(&s);
}

static void failed_rows_end_their_request_alone(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 3, &small);
    tsr_request *bad = plain_request(&s, 2, 5), *good = plain_request(&s, 3, 5);
    while (s.n_submitted < 2) submit_next(&s);
    tsr_scheduler_plan(s.scheduler, s.root.record);
    assert_int_equal(tsr_scheduler_commit(s.scheduler, s.root.results, 1), TSR_ERR_INTERNAL);
    const tsr_sample_result results[2] = {{.id = -1, .failed = true}, {.id = 7, .logprob = -1}};
    assert_int_equal(tsr_scheduler_commit(s.scheduler, results, 2), TSR_OK);
    assert_int_equal(bad->finish, TSR_FINISH_ERROR);
    assert_int_equal(bad->n_generated, 0);
    assert_int_equal(good->state, TSR_REQUEST_RUNNING);
    assert_int_equal(good->generated[0], 7);
    tsr_scheduler_plan(s.scheduler, s.root.record);
    assert_int_equal(s.root.record->n_releases, 1);
    assert_int_equal(s.root.record->n_sequences, 1);
    tsr_scheduler_plan_shutdown(s.scheduler, s.root.record);
    assert_int_equal(s.root.record->kind, TSR_RECORD_SHUTDOWN);
    tsr_scheduler_destroy(&s.scheduler); /* ends what still runs */
    assert_int_equal(good->finish, TSR_FINISH_CANCELLED);
    simulation_destroy(&s);
}

static void requests_are_checked(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 49}, outside[] = {1, 50, 2}, negative[] = {-1};
    tsr_request_spec good = TSR_REQUEST_DEFAULTS;
    good.prompt = prompt;
    good.n_prompt = 3;
    assert_int_equal(tsr_request_check(&good, &small), TSR_OK);
#define REFUSED(status, text, change)                                                                        \
    do {                                                                                                     \
        tsr_request_spec spec = good;                                                                        \
        tsr_request *r;                                                                                      \
        change;                                                                                              \
        assert_int_equal(tsr_request_create(&spec, &small, &r), status);                                     \
        assert_null(r);                                                                                      \
        if (!strstr(tsr_error_text(), text)) print_error("%s\n", tsr_error_text());                          \
        assert_non_null(strstr(tsr_error_text(), text));                                                     \
    } while (0)
    REFUSED(TSR_ERR_USAGE, "the prompt is empty", spec.n_prompt = 0);
    REFUSED(TSR_ERR_USAGE, "the prompt is empty", spec.n_prompt = -5);
    REFUSED(TSR_ERR_USAGE, "prompt token 1 is 50, but the ids of this vocabulary are 0 to 49",
            spec.prompt = outside);
    REFUSED(TSR_ERR_USAGE, "end-of-sequence id 0 is -1", (spec.eos_ids = negative, spec.n_eos = 1));
    REFUSED(TSR_ERR_USAGE, "stop id 1 is 50", (spec.stop_ids = outside, spec.n_stop = 2));
    REFUSED(TSR_ERR_USAGE, "0 to 256, not 257", spec.n_stop = 257);
    REFUSED(TSR_ERR_USAGE, "not -1", spec.n_eos = -1);
    REFUSED(TSR_ERR_USAGE, "new tokens must be at least 0, not -3", spec.max_new_tokens = -3);
    REFUSED(TSR_ERR_USAGE, "nothing is asked for", spec.max_new_tokens = 0);
    REFUSED(TSR_ERR_USAGE, "0 to 1000, not 1001", spec.n_top = 1001);
    REFUSED(TSR_ERR_USAGE, "only if the prompt is scored", spec.n_prompt_top = 1);
    REFUSED(TSR_ERR_USAGE, "temperature", spec.sampling.temperature = -1);
    REFUSED(TSR_ERR_CAPACITY, "3 prompt tokens + 318 new tokens = 321, but the context is 320 tokens",
            spec.max_new_tokens = 318);
    REFUSED(TSR_ERR_CAPACITY, "2147483650", spec.max_new_tokens = INT32_MAX);
}

static void limits_are_checked(void **state)
{
    (void)state;
    assert_int_equal(tsr_step_limits_check(&small), TSR_OK);
    for (int i = 0; i < 6; i++) {
        int32_t numbers[6];
        tsr_step_limits l;
        memcpy(numbers, &small, sizeof numbers);
        numbers[i] = i == 1 ? 7 : 0; /* more sequences than rows; nothing of the others */
        memcpy(&l, numbers, sizeof l);
        assert_int_equal(tsr_step_limits_check(&l), TSR_ERR_USAGE);
        numbers[i] = INT32_MAX;
        memcpy(&l, numbers, sizeof l);
        assert_int_equal(tsr_step_limits_check(&l), TSR_ERR_USAGE);
    }
}

/* ---- Pages ---- */

static void pages_are_counted(void **state)
{
    (void)state;
    tsr_page_pool *pool;
    int32_t a[5], b[5];
    assert_int_equal(tsr_page_pool_create(5, &pool), TSR_OK);
    assert_false(tsr_page_pool_reserve(pool, 6));
    assert_true(tsr_page_pool_reserve(pool, 4));
    assert_false(tsr_page_pool_reserve(pool, 2));
    assert_true(tsr_page_pool_reserve(pool, 1));
    tsr_page_pool_take(pool, 3, a);
    tsr_page_pool_take(pool, 1, b);
    for (int i = 0; i < 3; i++) assert_int_equal(a[i], i);
    assert_int_equal(b[0], 3);
    assert_int_equal(tsr_page_pool_used(pool), 4);
    assert_int_equal(tsr_page_pool_reserved(pool), 1);
    assert_int_equal(tsr_page_pool_available(pool), 0);
    tsr_page_pool_unreserve(pool, 1);
    tsr_page_pool_retain(pool, a[1]); /* two users */
    tsr_page_pool_release(pool, a, 3);
    assert_int_equal(tsr_page_pool_used(pool), 2);
    tsr_page_pool_release(pool, &a[1], 1);
    assert_int_equal(tsr_page_pool_used(pool), 1);
    assert_int_equal(tsr_page_pool_touched(pool), 4); /* given back or not */
    assert_true(tsr_page_pool_reserve(pool, 4));
    tsr_page_pool_take(pool, 4, b + 1);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++) assert_int_not_equal(b[i], b[j]);
    assert_int_equal(tsr_page_pool_total(pool), 5);
    assert_int_equal(tsr_page_pool_touched(pool), 5);
    tsr_page_pool_destroy(&pool);
    tsr_page_pool_destroy(&pool);
}

/* ---- Memory ---- */

static tsr_status create_everything(void)
{
    static const int32_t prompt[] = {1, 2, 3};
    tsr_scheduler *scheduler = NULL;
    tsr_step_record *record = NULL;
    tsr_slot_table *slots = NULL;
    tsr_step_builder *builder = NULL;
    tsr_request *request = NULL;
    const float inv_freq[2] = {1, 0.1f};
    const tsr_rope rope = {.dims = 4, .inv_freq = inv_freq};
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    spec.prompt = prompt;
    spec.n_prompt = 3;
    spec.prompt_logprobs = true;
    spec.sampling.repetition_penalty = 2;
    spec.biases = &(tsr_logit_bias){1, 5};
    spec.n_biases = 1;
    tsr_status status;
    TSR_TRY_OUT(tsr_scheduler_create(&small, &scheduler));
    TSR_TRY_OUT(tsr_scheduler_share_prefixes(scheduler, NULL, 0));
    TSR_TRY_OUT(tsr_step_record_create(&small, &record));
    TSR_TRY_OUT(tsr_slot_table_create(&small, &slots));
    TSR_TRY_OUT(tsr_step_builder_create(&small, &rope, 1, &builder));
    TSR_TRY_OUT(tsr_request_create(&spec, &small, &request));
    TSR_TRY_OUT(tsr_scheduler_submit(scheduler, request));
    tsr_scheduler_plan(scheduler, record);
    TSR_TRY_OUT(tsr_slot_table_apply(slots, record));
out:
    tsr_scheduler_destroy(&scheduler);
    tsr_step_record_destroy(&record);
    tsr_slot_table_destroy(&slots);
    tsr_step_builder_destroy(&builder);
    tsr_request_destroy(&request);
    return status;
}

static void memory_may_run_out(void **state)
{
    (void)state;
    int64_t k = 1;
    for (tsr_status status = TSR_ERR_MEMORY; status != TSR_OK; k++) {
        tsr_memory_fail_after(k);
        status = create_everything();
        tsr_memory_fail_after(0);
        assert_true(status == TSR_OK || status == TSR_ERR_MEMORY);
    }
    assert_true(k > 30);
}

/* A list of best tokens that cannot grow ends its request, not the step. */
static void a_list_without_memory_ends_its_request(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 4, &small);
    tsr_request_spec spec = plain_request(&s, 3, 5)->spec;
    tsr_request *r;
    spec.n_top = 2;
    assert_int_equal(tsr_request_create(&spec, &small, &r), TSR_OK);
    r->user = (void *)(intptr_t)s.n_requests;
    s.requests[s.n_requests++] = r;
    while (s.n_submitted < 2) submit_next(&s);
    tsr_scheduler_plan(s.scheduler, s.root.record);
    const tsr_token_logprob top[2] = {{1, -1}, {2, -2}};
    const tsr_sample_result results[2] = {{.id = 1}, {.id = 1, .n_top = 2, .top = top}};
    tsr_memory_fail_after(1);
    assert_int_equal(tsr_scheduler_commit(s.scheduler, results, 2), TSR_OK);
    tsr_memory_fail_after(0);
    assert_int_equal(r->finish, TSR_FINISH_ERROR);
    assert_int_equal(s.requests[0]->state, TSR_REQUEST_RUNNING);
    tsr_scheduler_finish_all(s.scheduler, TSR_FINISH_CANCELLED);
    simulation_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_counted),
        cmocka_unit_test(limits_are_checked),
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(what_never_fits_is_refused),
        cmocka_unit_test(rows_of_outputs_are_kept_in_order),
        cmocka_unit_test(a_failed_row_of_outputs_ends_its_request),
        cmocka_unit_test(nobody_overtakes),
        cmocka_unit_test(long_prompts_do_not_stall_decoding),
        cmocka_unit_test(requests_may_vanish_in_mid_step),
        cmocka_unit_test(failed_rows_end_their_request_alone),
        cmocka_unit_test(batched_is_as_alone),
        cmocka_unit_test(ahead_is_as_alone),
        cmocka_unit_test(paced_is_as_alone),
        cmocka_unit_test(a_token_in_vain_is_dropped),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(a_list_without_memory_ends_its_request),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
