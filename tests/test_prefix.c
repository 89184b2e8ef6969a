/* test_prefix.c: prompts with a mask and a start token: where the prefix ends, its two rows of positions, what is no
 * such prompt, and that the scheduler reads a prefix in one step. */
#include "layers/prefix.h"
#include "runtime/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const tsr_prefix_ids rules = {
    .enabled = true, .required = true, .start = 9, .mask = {7, 8}, .n_masks = 2};

static void places_are_found(void **state)
{
    (void)state;
    const int32_t ids[] = {1, 8, 2, 7, 3, 9, 4, 9, 7};
    tsr_prefix x;
    assert_int_equal(tsr_prefix_find(&rules, ids, 9, &x), TSR_OK);
    assert_int_equal(x.length, 5);
    assert_int_equal(x.mask, 3); /* 7 stands first in the list of masks */
    tsr_prefix_ids any = rules;
    any.first_mask = true;
    assert_int_equal(tsr_prefix_find(&any, ids, 9, &x), TSR_OK);
    assert_int_equal(x.mask, 1);
    assert_int_equal(tsr_prefix_first_row(&x, 4), 4);
    assert_int_equal(tsr_prefix_second_row(&x, 4), 0);
    assert_int_equal(tsr_prefix_first_row(&x, 5), 1);
    assert_int_equal(tsr_prefix_second_row(&x, 5), 1);
    assert_int_equal(tsr_prefix_second_row(&x, 8), 4);
}

static void what_is_no_prompt_is_refused_or_plain(void **state)
{
    (void)state;
    const int32_t ids[] = {1, 2, 9, 7};
    tsr_prefix x;
    assert_int_equal(tsr_prefix_find(&rules, ids, 4, &x),
                     TSR_ERR_USAGE); /* the mask stands behind the start */
    assert_non_null(strstr(tsr_error_text(), "start token (id 9)"));
    assert_int_equal(tsr_prefix_find(&rules, ids, 2, &x), TSR_ERR_USAGE);
    tsr_prefix_ids loose = rules;
    loose.required = false;
    assert_int_equal(tsr_prefix_find(&loose, ids, 2, &x), TSR_OK);
    assert_int_equal(x.length, 0);
    assert_int_equal(tsr_prefix_first_row(&x, 1), 1);
    assert_int_equal(tsr_prefix_second_row(&x, 1), 0);
    assert_int_equal(tsr_prefix_find(&(tsr_prefix_ids){.enabled = false, .start = 9}, ids, 4, &x), TSR_OK);
    assert_int_equal(x.length, 0);
}

static tsr_request *submit(tsr_scheduler *s, const tsr_step_limits *limits, int32_t n, int32_t prefix)
{
    static const int32_t ids[64];
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    tsr_request *r;
    spec.prompt = ids;
    spec.n_prompt = n;
    spec.prefix_length = prefix;
    spec.max_new_tokens = 4;
    assert_int_equal(tsr_request_create(&spec, limits, &r), TSR_OK);
    assert_int_equal(tsr_scheduler_submit(s, r), TSR_OK);
    return r;
}

static void prefixes_are_read_in_one_step(void **state)
{
    (void)state;
    const tsr_step_limits limits = {.max_tokens = 20,
                                    .max_sequences = 4,
                                    .max_rows = 8,
                                    .max_context = 64,
                                    .n_pages = 16,
                                    .vocabulary = 100};
    tsr_scheduler *s;
    tsr_step_record *record;
    tsr_sample_result results[8] = {0};
    assert_int_equal(tsr_scheduler_create(&limits, &s), TSR_OK);
    assert_int_equal(tsr_step_record_create(&limits, &record), TSR_OK);
    tsr_request *first = submit(s, &limits, 10, 0), *second = submit(s, &limits, 30, 15);
    tsr_scheduler_plan(s, record);
    assert_int_equal(record->n_sequences, 1); /* the 10 tokens left hold no prefix of 15 */
    assert_int_equal(tsr_scheduler_commit(s, results, record->n_rows), TSR_OK);
    tsr_scheduler_plan(s, record);
    assert_int_equal(record->n_sequences, 2);
    assert_int_equal(record->starts[0].prefix_length, 15);
    assert_int_equal(record->sequences[1].n_tokens, 19); /* what lies behind the prefix may be cut */
    assert_int_equal(tsr_scheduler_commit(s, results, record->n_rows), TSR_OK);
    tsr_scheduler_finish_all(s, TSR_FINISH_CANCELLED);
    tsr_request_destroy(&first);
    tsr_request_destroy(&second);
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    static const int32_t ids[64];
    spec.prompt = ids;
    spec.n_prompt = 40;
    spec.prefix_length = 21;
    assert_int_equal(tsr_request_check(&spec, &limits), TSR_ERR_CAPACITY);
    assert_non_null(strstr(tsr_error_text(), "--step-tokens"));
    tsr_step_record_destroy(&record);
    tsr_scheduler_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_found),
        cmocka_unit_test(what_is_no_prompt_is_refused_or_plain),
        cmocka_unit_test(prefixes_are_read_in_one_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
