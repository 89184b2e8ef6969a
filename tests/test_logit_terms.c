/* test_logit_terms.c: what is added to logits, against the formula over a whole vocabulary; and how biases and the counts
 * of new tokens come to every rank. */
#include "base/memory.h"
#include "base/rng.h"
#include "runtime/logit_terms.h"
#include "runtime/slot_table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IDS = 60 };

/* The same of every id, by its place. */
typedef struct plain {
    int count[IDS];
    bool biased[IDS];
    float bias[IDS];
} plain;

static tsr_status say(tsr_rng *rng, int n, plain *p, tsr_token_counts *counts)
{
    for (int i = 0; i < n; i++) {
        int32_t id = (int32_t)tsr_rng_below(rng, IDS);
        TSR_TRY(tsr_token_counts_add(counts, id));
        p->count[id]++;
    }
    return TSR_OK;
}

static int32_t choose_biases(tsr_rng *rng, plain *p, tsr_logit_bias *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < IDS; i++) {
        p->biased[i] = tsr_rng_below(rng, 4) == 0;
        p->bias[i] = p->biased[i] ? (float)(200 * tsr_rng_uniform(rng) - 100) : 0;
        if (p->biased[i]) out[n++] = (tsr_logit_bias){i, p->bias[i]};
    }
    return n;
}

static void check(const plain *p, const tsr_sampling *s, const tsr_logit_bias *terms, int64_t n)
{
    int64_t at = 0;
    for (int32_t i = 0; i < IDS; i++) {
        double term = p->bias[i] - s->frequency_penalty * (double)p->count[i] -
                      s->presence_penalty * (p->count[i] > 0 ? 1.0 : 0.0);
        assert_true(fabs(tsr_logit_term_of(terms, (int32_t)n, i) - term) <= 1e-6 * (1 + fabs(term)));
        if (!p->biased[i] && p->count[i] == 0) continue;
        assert_true(at < n);
        assert_int_equal(terms[at++].id, i);
    }
    assert_int_equal(at, n);
    assert_true(tsr_logit_term_of(terms, (int32_t)n, IDS) == 0);
}

/* Several sequences in one list, each as the formula says. */
static void terms_follow_the_formula(void **state)
{
    (void)state;
    tsr_rng rng = {12};
    tsr_term_list list = {0};
    for (int i = 0; i < 300; i++) {
        plain p = {0};
        tsr_token_counts counts = {0};
        tsr_logit_bias biases[IDS];
        tsr_sampling s = TSR_SAMPLING_GREEDY;
        s.frequency_penalty = i % 3 ? (float)(4 * tsr_rng_uniform(&rng) - 2) : 0;
        s.presence_penalty = i % 4 ? (float)(4 * tsr_rng_uniform(&rng) - 2) : 0;
        assert_int_equal(say(&rng, (int)tsr_rng_below(&rng, 200), &p, &counts), TSR_OK);
        int32_t n_biases = choose_biases(&rng, &p, biases);
        int64_t before = list.n;
        if (i % 10 == 0) before = list.n = 0;
        assert_int_equal(tsr_logit_terms_append(&list, &s, counts.items, (int32_t)counts.n, biases, n_biases),
                         TSR_OK);
        check(&p, &s, list.items + before, list.n - before);
        tsr_free(counts.items);
    }
    tsr_free(list.items);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    tsr_status status = TSR_ERR_MEMORY;
    int64_t k = 1;
    for (; status != TSR_OK; k++) {
        tsr_rng rng = {5};
        plain p = {0};
        tsr_token_counts counts = {0};
        tsr_term_list list = {0};
        tsr_memory_fail_after(k);
        status = say(&rng, 100, &p, &counts);
        if (status == TSR_OK)
            status =
                tsr_logit_terms_append(&list, &TSR_SAMPLING_GREEDY, counts.items, (int32_t)counts.n, NULL, 0);
        tsr_memory_fail_after(0);
        assert_true(status == TSR_OK || status == TSR_ERR_MEMORY);
        tsr_free(counts.items);
        tsr_free(list.items);
    }
    assert_true(k > 4);
}

/* ---- From records to slots ---- */

static const tsr_step_limits limits = {
    .max_tokens = 4, .max_sequences = 3, .max_rows = 4, .max_context = 30, .n_pages = 6, .vocabulary = 100};

typedef struct follower {
    tsr_step_record *record;
    tsr_slot_table *slots;
} follower;

static void follower_create(follower *f)
{
    assert_int_equal(tsr_step_record_create(&limits, &f->record), TSR_OK);
    assert_int_equal(tsr_slot_table_create(&limits, &f->slots), TSR_OK);
}

static void follower_destroy(follower *f)
{
    tsr_step_record_destroy(&f->record);
    tsr_slot_table_destroy(&f->slots);
}

/* The sequence in slot 2 begins, or goes on, with a token after which the next one is chosen. */
static void one_token(tsr_step_record *r, int64_t number, int32_t position, int32_t id)
{
    bool begins = position == 0;
    tsr_step_record_clear(r, TSR_RECORD_STEP, number);
    r->n_sequences = r->n_tokens = r->n_rows = 1;
    r->n_starts = r->n_pages = begins;
    r->starts[0] = (tsr_record_start){.sampling = TSR_SAMPLING_GREEDY, .prompt_length = 1};
    r->sequences[0] = (tsr_record_sequence){2, begins ? 0 : -1, position, 1, begins};
    r->pages[0] = 3;
    r->ids[0] = id;
    r->rows[0] = (tsr_record_row){.kind = TSR_ROW_SAMPLE};
    assert_int_equal(tsr_step_record_check(r, &limits), TSR_OK);
}

/* The biases of a new sequence: so many as its start says, in order, of this vocabulary, within their range. */
static void biases_are_checked(void **state)
{
    (void)state;
    const struct {
        tsr_logit_bias biases[3];
        int32_t n, said;
        bool good;
    } cases[] = {
        {{{0, -100}, {5, 0.5f}, {99, 100}}, 3, 3, true},
        {{{0, -100}, {5, 0.5f}, {99, 100}}, 3, 2, false}, /* one is nobody's */
        {{{0, -100}, {5, 0.5f}, {99, 100}}, 2, 3, false},
        {{{0, 1}}, 1, -1, false},
        {{{5, 1}, {5, 1}}, 2, 2, false}, /* twice */
        {{{5, 1}, {4, 1}}, 2, 2, false}, /* descending */
        {{{100, 1}}, 1, 1, false},       /* no such id */
        {{{-1, 1}}, 1, 1, false},
        {{{5, 100.5f}}, 1, 1, false},
        {{{5, NAN}}, 1, 1, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        follower f;
        follower_create(&f);
        one_token(f.record, 1, 0, 5);
        memcpy(f.record->biases, cases[i].biases, sizeof cases[i].biases);
        f.record->n_biases = cases[i].n;
        f.record->starts[0].n_biases = cases[i].said;
        assert_int_equal(tsr_step_record_check(f.record, &limits), cases[i].good ? TSR_OK : TSR_ERR_INTERNAL);
        if (cases[i].good) {
            assert_int_equal(tsr_slot_table_apply(f.slots, f.record), TSR_OK);
            const tsr_slot *slot = tsr_slot_table_get(f.slots, 2);
            assert_int_equal(slot->start.n_biases, 3);
            assert_memory_equal(slot->biases, cases[i].biases, sizeof cases[i].biases);
        }
        follower_destroy(&f);
    }
}

/* Tokens of the prompt do not count, and a slot forgets those of the sequence before. */
static void new_tokens_are_counted(void **state)
{
    (void)state;
    const int32_t ids[] = {5, 64, 7, 64, 2, 64};
    const tsr_token_count wanted[] = {{2, 1}, {7, 1}, {64, 2}};
    follower f;
    follower_create(&f);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 6; i++) {
            one_token(f.record, round * 6 + i + 1, i, ids[i]);
            f.record->starts[0].sampling.frequency_penalty = 0.5f;
            f.record->starts[0].prompt_length = 2;
            if (round && i == 0) f.record->releases[f.record->n_releases++] = 2;
            assert_int_equal(tsr_slot_table_apply(f.slots, f.record), TSR_OK);
        }
        const tsr_slot *slot = tsr_slot_table_get(f.slots, 2);
        assert_int_equal(slot->n_counts, 3);
        assert_memory_equal(slot->counts, wanted, sizeof wanted);
    }
    follower_destroy(&f);
}

/* A token that this rank does not know yet cannot be counted. */
static void unknown_tokens_are_not_counted(void **state)
{
    (void)state;
    for (int counted = 0; counted < 2; counted++) {
        follower f;
        follower_create(&f);
        one_token(f.record, 1, 0, 5);
        if (counted) f.record->starts[0].sampling.presence_penalty = 0.5f;
        assert_int_equal(tsr_slot_table_apply(f.slots, f.record), TSR_OK);
        one_token(f.record, 2, 1, TSR_TOKEN_OF_ROW(0));
        assert_int_equal(tsr_slot_table_apply(f.slots, f.record), counted ? TSR_ERR_INTERNAL : TSR_OK);
        follower_destroy(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_follow_the_formula),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(biases_are_checked),
        cmocka_unit_test(new_tokens_are_counted),
        cmocka_unit_test(unknown_tokens_are_not_counted),
    };
    return cmocka_run_group_tests_name("logit_terms", tests, NULL, NULL);
}
