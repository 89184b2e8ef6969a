/* test_sharing.c: pages that several sequences share: what becomes of texts, what the scheduler does, and what records
 * and slot tables refuse.
 */
#include "support_scheduler.h"

/* Requests that share pages get what each gets alone, pages being few or many, planned ahead or not. */
static void sharing_is_as_alone(void **state)
{
    (void)state;
    int64_t queries = 0, hits = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        simulation s;
        tsr_scheduler_counts c;
        tsr_rng rng = {seed};
        tsr_step_limits limits = random_limits(&rng);
        limits.max_context = between(&rng, 100, 250);
        limits.n_pages = between(&rng, 4, 30);
        simulation_create(&s, seed * 7919, &limits);
        share(&s);
        if (seed % 4 > 1) go_ahead(&s, seed % 2);
        run_all(&s, between(&s.rng, 1, MOST_REQUESTS));
        tsr_scheduler_get_counts(s.scheduler, &c);
        assert_int_equal(c.pages_used, 0);
        queries += c.prefix_queries;
        hits += c.prefix_hits;
        simulation_destroy(&s);
    }
    assert_true(hits > queries / 8 && hits < queries);
}

/* ---- The scheduler ---- */

/* A step, which the root rank carries out; every row of it chooses token 3. */
static void plain_step(simulation *s)
{
    tsr_sample_result results[6];
    tsr_scheduler_plan(s->scheduler, s->root.record);
    assert_int_equal(tsr_step_record_check(s->root.record, &s->limits), TSR_OK);
    assert_int_equal(tsr_slot_table_apply(s->root.slots, s->root.record), TSR_OK);
    for (int32_t i = 0; i < s->root.record->n_rows; i++) results[i] = (tsr_sample_result){.id = 3};
    assert_int_equal(tsr_scheduler_commit(s->scheduler, results, s->root.record->n_rows), TSR_OK);
}

static tsr_scheduler_counts counts_of(const simulation *s)
{
    tsr_scheduler_counts c;
    tsr_scheduler_get_counts(s->scheduler, &c);
    return c;
}

/* The second request begins at token 64 of 70, in the pages of the first, which it may outlive. */
static void what_is_known_is_not_read_again(void **state)
{
    (void)state;
    for (int early = 0; early < 2;
         early++) { /* the first one runs to its end before, or is cancelled after */
        simulation s;
        simulation_create(&s, 1, &small);
        share(&s);
        tsr_request *first = plain_request(&s, 70, 5), *second = plain_request(&s, 70, 5);
        submit_next(&s);
        for (int i = 0; i < (early ? 9 : 13); i++) plain_step(&s);
        assert_int_equal(first->state, early ? TSR_REQUEST_RUNNING : TSR_REQUEST_FINISHED);
        assert_int_equal(counts_of(&s).pages_used, early ? 3 : 0);
        submit_next(&s);
        plain_step(&s);
        const tsr_step_record *r = s.root.record;
        const tsr_record_sequence *q = &r->sequences[r->n_sequences - 1];
        assert_int_equal(r->starts[0].n_shared, 2);
        assert_int_equal(q->position, 64);
        assert_int_equal(q->n_tokens, 6);
        assert_int_equal(q->n_pages, 3);
        assert_int_equal(second->n_shared, 2);
        assert_int_equal(second->n_generated, 1);
        assert_int_equal(counts_of(&s).pages_used, early ? 4 : 3);
        assert_int_equal(counts_of(&s).prefix_queries, 140);
        assert_int_equal(counts_of(&s).prefix_hits, 64);
        assert_int_equal(counts_of(&s).prompt_tokens, 76);
        tsr_scheduler_finish(s.scheduler, first, TSR_FINISH_CANCELLED);
        assert_int_equal(counts_of(&s).pages_used, 3);
        for (int i = 0; i < 4; i++) plain_step(&s);
        assert_int_equal(second->finish, TSR_FINISH_LENGTH);
        assert_int_equal(counts_of(&s).pages_used, 0);
        assert_int_equal(counts_of(&s).pages_reserved, 0);
        simulation_destroy(&s);
    }
}

/* Ten pages: what ten pages need is all there, however much is kept; then that is lost, and nothing else. */
static void what_is_kept_makes_room(void **state)
{
    (void)state;
    simulation s;
    simulation_create(&s, 1, &small);
    share(&s);
    plain_request(&s, 70, 1);
    tsr_request *large = plain_request(&s, 300, 20);
    for (int32_t i = 0; i < 300; i++) ((int32_t *)large->spec.prompt)[i] = 7; /* unlike the first */
    tsr_request *again = plain_request(&s, 70, 1);
    for (int i = 0; i < 3; i++) {
        submit_next(&s);
        while (!tsr_scheduler_idle(s.scheduler)) plain_step(&s);
        assert_int_equal(counts_of(&s).pages_used, 0);
    }
    assert_int_equal(large->n_generated, 20);
    assert_int_equal(again->n_shared, 0);
    simulation_destroy(&s);
}

/* What found no room is tried again when it can share with what runs, and not only when something ends. Three pages, of
 * which each needs two; the first is full in the step in which the second is tried first. */
static void what_becomes_known_makes_room(void **state)
{
    (void)state;
    tsr_step_limits tight = small;
    tight.max_tokens = 7;
    tight.n_pages = 3;
    simulation s;
    simulation_create(&s, 1, &tight);
    share(&s);
    tsr_request *first = plain_request(&s, 33, 20), *second = plain_request(&s, 33, 20);
    while (s.n_submitted < 2) submit_next(&s);
    for (int i = 0; i < 5; i++) plain_step(&s);
    assert_int_equal(first->n_generated, 1);
    assert_int_equal(s.root.record->n_tokens, 5);
    assert_int_equal(second->state, TSR_REQUEST_WAITING);
    plain_step(&s);
    assert_int_equal(second->n_generated, 1);
    assert_int_equal(second->n_shared, 1);
    tsr_scheduler_finish_all(s.scheduler, TSR_FINISH_CANCELLED);
    assert_int_equal(counts_of(&s).pages_used, 0);
    simulation_destroy(&s);
}

static void shares_are_bounded(void **state)
{
    (void)state;
    tsr_step_limits wide = small;
    assert_int_equal(tsr_most_shared_pages(&wide), 4 * 10);
    assert_int_equal(tsr_most_table_pages(&wide), 4 * 10);
    wide.max_sequences = 4096;
    wide.max_context = 131072;
    assert_int_equal(tsr_most_shared_pages(&wide), 16384);
    assert_int_equal(tsr_most_table_pages(&wide), 1048576);
    wide.max_context = 1 << 26;
    wide.n_pages = 1 << 28;
    assert_int_equal(tsr_most_shared_pages(&wide), 1 << 21);
    assert_int_equal(tsr_most_table_pages(&wide), 1 << 28);
}

/* ---- Records and slot tables ---- */

static const tsr_step_limits limits = {.max_tokens = 40,
                                       .max_sequences = 5,
                                       .max_rows = 20,
                                       .max_context = 200,
                                       .n_pages = 30,
                                       .vocabulary = 100};

static void expect_apply(rank *f, tsr_status status)
{
    assert_int_equal(tsr_slot_table_apply(f->slots, f->record), status);
}

/* A prompt of 70 tokens, computed from `position` on behind `shared` pages; three pages in all, or one. */
static void long_sequence(tsr_step_record *r, int64_t number, int32_t slot, int32_t shared, int32_t position,
                          const int32_t *pages)
{
    tsr_step_record_clear(r, TSR_RECORD_STEP, number);
    r->n_sequences = r->n_starts = 1;
    r->n_pages = pages[1] >= 0 ? 3 : 1;
    r->n_tokens = 70 - position < 40 ? 70 - position : 40;
    r->starts[0] =
        (tsr_record_start){.sampling = TSR_SAMPLING_GREEDY, .prompt_length = 70, .n_shared = shared};
    r->sequences[0] = (tsr_record_sequence){slot, 0, position, r->n_tokens, r->n_pages};
    memcpy(r->pages, pages, 3 * sizeof *pages);
    for (int i = 0; i < 40; i++) r->ids[i] = i;
}

/* A sequence of one token so far, in one page. */
static void one_token(tsr_step_record *r, int64_t number, int32_t slot, int32_t page)
{
    long_sequence(r, number, slot, 0, 0, (const int32_t[]){page, -1, -1});
    r->sequences[0].n_tokens = r->n_tokens = 1;
}

/* Slot 0 reads 70 tokens into pages 3, 4 and 5 in two records; then a sequence begins in slot 1. */
static void what_is_shared_must_be_there(void **state)
{
    (void)state;
    const struct {
        int32_t shared, position, pages[3], release;
        tsr_status status;
    } third[] = {
        {2, 64, {3, 4, 9}, -1, TSR_OK},
        {1, 32, {3, 8, 9}, -1, TSR_OK},
        {2, 64, {3, 4, 5}, 0, TSR_OK}, /* nobody has them any longer, but they are as they were; 5 is new */
        {0, 0, {3, 4, 9}, 0, TSR_OK},
        {2, 64, {3, 4, 5}, -1, TSR_ERR_INTERNAL},  /* page 5 is the other's */
        {2, 64, {4, 3, 9}, -1, TSR_ERR_INTERNAL},  /* the wrong way round */
        {2, 64, {3, 3, 9}, -1, TSR_ERR_INTERNAL},  /* twice */
        {2, 64, {3, 5, 9}, -1, TSR_ERR_INTERNAL},  /* not full */
        {2, 64, {3, 20, 9}, -1, TSR_ERR_INTERNAL}, /* never written */
        {2, 32, {3, 4, 9}, -1, TSR_ERR_INTERNAL},  /* written again */
        {1, 64, {3, 4, 9}, -1, TSR_ERR_INTERNAL},  /* a gap */
        {0, 0, {3, 8, 9}, -1, TSR_ERR_INTERNAL},   /* handed out while it is in use */
    };
    for (size_t i = 0; i < sizeof third / sizeof *third; i++) {
        rank f;
        rank_create(&f, &limits);
        long_sequence(f.record, 1, 0, 0, 0, (const int32_t[]){3, 4, 5});
        assert_int_equal(tsr_step_record_check(f.record, &limits), TSR_OK);
        expect_apply(&f, TSR_OK);
        long_sequence(f.record, 2, 0, 0, 40, (const int32_t[]){0, -1, -1});
        f.record->n_starts = f.record->n_pages = f.record->sequences[0].n_pages = 0;
        f.record->sequences[0].start = -1;
        assert_int_equal(tsr_step_record_check(f.record, &limits), TSR_OK);
        expect_apply(&f, TSR_OK);
        long_sequence(f.record, 3, 1, third[i].shared, third[i].position, third[i].pages);
        if (third[i].release >= 0) f.record->releases[f.record->n_releases++] = third[i].release;
        assert_int_equal(tsr_step_record_check(f.record, &limits), TSR_OK);
        expect_apply(&f, third[i].status);
        rank_destroy(&f);
    }
}

/* A page may not be read in the record that fills it, nor once another sequence has it for itself. */
static void what_is_shared_must_have_been_there(void **state)
{
    (void)state;
    rank f;
    rank_create(&f, &limits);
    one_token(f.record, 1, 0, 3);
    expect_apply(&f, TSR_OK);
    tsr_step_record *r = f.record;
    long_sequence(r, 2, 1, 1, 32, (const int32_t[]){3, 8, 9}); /* behind one that fills page 3 */
    r->n_tokens = 31 + 9;
    r->n_sequences = 2;
    r->sequences[1] = r->sequences[0];
    r->sequences[1].n_tokens = 9;
    r->sequences[0] = (tsr_record_sequence){0, -1, 1, 31, 0};
    assert_int_equal(tsr_step_record_check(r, &limits), TSR_OK);
    expect_apply(&f, TSR_ERR_INTERNAL);
    rank_destroy(&f);

    rank_create(&f, &limits);
    long_sequence(f.record, 1, 0, 0, 0, (const int32_t[]){3, 4, 5});
    expect_apply(&f, TSR_OK);
    one_token(f.record, 2, 1, 3);
    f.record->releases[f.record->n_releases++] = 0;
    expect_apply(&f, TSR_OK);
    long_sequence(f.record, 3, 2, 1, 32, (const int32_t[]){3, 8, 9});
    f.record->releases[f.record->n_releases++] = 1;
    expect_apply(&f, TSR_ERR_INTERNAL);
    rank_destroy(&f);
}

/* What can be seen from a record alone. */
static void shares_are_checked(void **state)
{
    (void)state;
    rank f;
    rank_create(&f, &limits);
    tsr_step_record *r = f.record;
    const int32_t pages[3] = {3, 4, 9};
#define EXPECT(status, change)                                                                               \
    do {                                                                                                     \
        long_sequence(r, 1, 1, 2, 64, pages);                                                                \
        change;                                                                                              \
        assert_int_equal(tsr_step_record_check(r, &limits), status);                                         \
    } while (0)
    EXPECT(TSR_OK, (void)0);
    EXPECT(TSR_ERR_INTERNAL, r->starts[0].n_shared = -1);
    EXPECT(TSR_ERR_INTERNAL, r->starts[0].prompt_length = 64); /* the last token of the prompt */
    EXPECT(TSR_ERR_INTERNAL, r->starts[0].prefix_length = 5);
    EXPECT(TSR_ERR_INTERNAL, r->starts[0].mask_position = 5);
    EXPECT(TSR_ERR_INTERNAL, r->n_pages = r->sequences[0].n_pages = 1);
    EXPECT(TSR_ERR_INTERNAL, r->sequences[0].start = 1);
    EXPECT(TSR_ERR_INTERNAL, r->n_shared_ids = 64); /* nobody needs them */
    EXPECT(TSR_ERR_INTERNAL, r->starts[0].sampling.repetition_penalty = 2);
    EXPECT(TSR_ERR_INTERNAL, r->starts[0].sampling.keep_history = 1);
    EXPECT(TSR_OK, (r->starts[0].sampling.repetition_penalty = 2, r->n_shared_ids = 64));
    EXPECT(TSR_OK, (r->starts[0].sampling.keep_history = 1, r->n_shared_ids = 64));
    r->shared_ids[63] = 100;
    assert_int_equal(tsr_step_record_check(r, &limits), TSR_ERR_INTERNAL);
    r->shared_ids[63] = -1; /* they are all known */
    assert_int_equal(tsr_step_record_check(r, &limits), TSR_ERR_INTERNAL);
#undef EXPECT
    rank_destroy(&f);
}

/* Two sequences share a page; what their sampling has to know of it came with the record. */
static void ids_of_shared_pages_are_known(void **state)
{
    (void)state;
    rank f;
    rank_create(&f, &limits);
    long_sequence(f.record, 1, 0, 0, 0, (const int32_t[]){3, 4, 5});
    expect_apply(&f, TSR_OK);
    tsr_step_record *r = f.record;
    long_sequence(r, 2, 1, 1, 32, (const int32_t[]){3, 8, 9});
    r->n_sequences = r->n_starts = 2;
    r->starts[1] = r->starts[0];
    r->starts[0].sampling.repetition_penalty = 2;
    r->starts[1].sampling.keep_history = 1;
    r->n_tokens = 4;
    r->n_pages = 4;
    for (int i = 0; i < 2; i++) r->sequences[i] = (tsr_record_sequence){1 + i, i, 32, 2, 2};
    memcpy(r->pages, (const int32_t[]){3, 8, 3, 9}, 4 * sizeof *r->pages);
    memcpy(r->ids, (const int32_t[]){60, 61, 62, 63}, 4 * sizeof *r->ids);
    r->n_shared_ids = 64;
    for (int i = 0; i < 64; i++) r->shared_ids[i] = i / 2;
    assert_int_equal(tsr_step_record_check(r, &limits), TSR_OK);
    expect_apply(&f, TSR_OK);
    const tsr_slot *penalized = tsr_slot_table_get(f.slots, 1), *remembering = tsr_slot_table_get(f.slots, 2);
    assert_int_equal(penalized->n_seen, 18);
    assert_int_equal(penalized->seen[15], 15);
    assert_int_equal(penalized->seen[17], 61);
    assert_int_equal(remembering->n_history, 34);
    assert_int_equal(remembering->history[0], 16);
    assert_int_equal(remembering->history[33], 63);
    assert_int_equal(remembering->n_cached, 34);
    assert_int_equal(remembering->pages[0], 3);
    rank_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sharing_is_as_alone),
        cmocka_unit_test(what_is_known_is_not_read_again),
        cmocka_unit_test(what_is_kept_makes_room),
        cmocka_unit_test(what_becomes_known_makes_room),
        cmocka_unit_test(shares_are_bounded),
        cmocka_unit_test(what_is_shared_must_be_there),
        cmocka_unit_test(what_is_shared_must_have_been_there),
        cmocka_unit_test(shares_are_checked),
        cmocka_unit_test(ids_of_shared_pages_are_known),
    };
    return cmocka_run_group_tests_name("sharing", tests, NULL, NULL);
}
