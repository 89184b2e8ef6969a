/* test_step_record.c: records there and back, hostile records, the slot table's memory of the past, and the
 * layout of steps with their rope angles.
 */
#include "base/memory.h"
#include "base/rng.h"
#include "runtime/scheduler.h"
#include "runtime/step_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const tsr_step_limits limits = {.max_tokens = 40,
                                       .max_sequences = 5,
                                       .max_rows = 20,
                                       .max_context = 200,
                                       .n_pages = 30,
                                       .vocabulary = 100};

/* ---- A series of real records, as bytes ---- */

enum { MOST_STEPS = 64 };

typedef struct series {
    int n;
    void *bytes[MOST_STEPS];
    int64_t size[MOST_STEPS];
} series;

static tsr_request *make_request(tsr_rng *rng)
{
    int32_t prompt[150];
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    tsr_request *r;
    spec.prompt = prompt;
    spec.n_prompt = 1 + (int32_t)tsr_rng_below(rng, 150);
    int32_t alike = tsr_rng_below(rng, 3) ? 100 : 0; /* as other prompts begin */
    for (int32_t i = 0; i < spec.n_prompt; i++) prompt[i] = i < alike ? i : (int32_t)tsr_rng_below(rng, 100);
    spec.max_new_tokens = 1 + (int32_t)tsr_rng_below(rng, 10);
    spec.prompt_logprobs = tsr_rng_below(rng, 3) == 0;
    spec.n_top = (int32_t)tsr_rng_below(rng, 5);
    spec.sampling.seed = tsr_rng_next(rng);
    if (tsr_rng_below(rng, 2)) spec.sampling.repetition_penalty = 1.2f;
    if (tsr_rng_below(rng, 2)) spec.sampling.presence_penalty = -0.5f;
    const tsr_logit_bias biases[3] = {{99, -100}, {0, 100}, {(int32_t)tsr_rng_below(rng, 98) + 1, 0.5f}};
    spec.biases = biases;
    spec.n_biases = (int32_t)tsr_rng_below(rng, 4);
    assert_int_equal(tsr_request_create(&spec, &limits, &r), TSR_OK);
    return r;
}

static void keep_bytes(series *s, const tsr_step_record *record)
{
    void *buffer = malloc((size_t)tsr_step_record_max_bytes(&limits));
    s->size[s->n] = tsr_step_record_encode(record, buffer);
    s->bytes[s->n++] = buffer;
}

/* Records of a run of eight requests, up to the shutdown. */
static void make_series(series *s, uint64_t seed)
{
    tsr_rng rng = {seed};
    tsr_scheduler *scheduler;
    tsr_step_record *record;
    tsr_request *requests[8];
    tsr_sample_result results[20];
    *s = (series){0};
    assert_int_equal(tsr_scheduler_create(&limits, &scheduler), TSR_OK);
    assert_int_equal(tsr_scheduler_share_prefixes(scheduler, NULL, 0), TSR_OK);
    assert_int_equal(tsr_step_record_create(&limits, &record), TSR_OK);
    for (int i = 0; i < 8; i++) {
        requests[i] = make_request(&rng);
        assert_int_equal(tsr_scheduler_submit(scheduler, requests[i]), TSR_OK);
    }
    while (s->n < MOST_STEPS - 1 && !tsr_scheduler_idle(scheduler)) {
        tsr_scheduler_plan(scheduler, record);
        keep_bytes(s, record);
        for (int32_t i = 0; i < record->n_rows; i++)
            results[i] = (tsr_sample_result){.id = (int32_t)tsr_rng_below(&rng, 100)};
        assert_int_equal(tsr_scheduler_commit(scheduler, results, record->n_rows), TSR_OK);
    }
    tsr_scheduler_finish_all(scheduler, TSR_FINISH_CANCELLED);
    tsr_scheduler_plan_shutdown(scheduler, record);
    keep_bytes(s, record);
    tsr_scheduler_destroy(&scheduler);
    tsr_step_record_destroy(&record);
    for (int i = 0; i < 8; i++) tsr_request_destroy(&requests[i]);
}

static void free_series(series *s)
{
    for (int i = 0; i < s->n; i++) free(s->bytes[i]);
}

/* A rank that follows; steps 0 .. n - 1 of the series applied. */
typedef struct follower {
    tsr_step_record *record;
    tsr_slot_table *slots;
    tsr_step_builder *builder;
} follower;

static void follower_create(follower *f, const series *s, int n)
{
    assert_int_equal(tsr_step_record_create(&limits, &f->record), TSR_OK);
    assert_int_equal(tsr_slot_table_create(&limits, &f->slots), TSR_OK);
    assert_int_equal(tsr_step_builder_create(&limits, NULL, 0, &f->builder), TSR_OK);
    for (int i = 0; i < n; i++) {
        assert_int_equal(tsr_step_record_decode(s->bytes[i], s->size[i], &limits, f->record), TSR_OK);
        assert_int_equal(tsr_slot_table_apply(f->slots, f->record), TSR_OK);
    }
}

static void follower_destroy(follower *f)
{
    tsr_step_record_destroy(&f->record);
    tsr_slot_table_destroy(&f->slots);
    tsr_step_builder_destroy(&f->builder);
}

/* ---- There and back ---- */

static void records_survive_the_journey(void **state)
{
    (void)state;
    series s;
    make_series(&s, 1);
    follower f;
    follower_create(&f, &s, 0);
    void *again = malloc((size_t)tsr_step_record_max_bytes(&limits));
    bool starts = false, releases = false, biases = false, shared = false, shared_ids = false;
    for (int i = 0; i < s.n; i++) {
        int64_t peeked;
        assert_int_equal(tsr_step_record_peek(s.bytes[i], &limits, &peeked), TSR_OK);
        assert_int_equal(peeked, s.size[i]);
        assert_int_equal(tsr_step_record_decode(s.bytes[i], s.size[i], &limits, f.record), TSR_OK);
        assert_int_equal(f.record->number, i + 1);
        assert_int_equal(tsr_step_record_encode(f.record, again), s.size[i]);
        assert_memory_equal(again, s.bytes[i],
                            (size_t)(s.size[i] > TSR_RECORD_INLINE ? s.size[i] : TSR_RECORD_INLINE));
        starts |= f.record->n_starts > 0;
        biases |= f.record->n_biases > 0;
        releases |= f.record->n_releases > 0;
        for (int32_t k = 0; k < f.record->n_starts; k++) shared |= f.record->starts[k].n_shared > 0;
        shared_ids |= f.record->n_shared_ids > 0;
    }
    assert_int_equal(f.record->kind, TSR_RECORD_SHUTDOWN);
    assert_true(starts && releases && biases && shared && shared_ids && s.n > 10);
    free(again);
    follower_destroy(&f);
    free_series(&s);
}

/* The largest record that limits allow is longer than what always travels, and fits its bound. */
static void large_records_exceed_the_inline_part(void **state)
{
    (void)state;
    enum { TOKENS = 2048 };
    const tsr_step_limits wide = {TOKENS, 2, TOKENS, 4096, 500, 1000};
    tsr_step_record *r, *back;
    assert_int_equal(tsr_step_record_create(&wide, &r), TSR_OK);
    assert_int_equal(tsr_step_record_create(&wide, &back), TSR_OK);
    tsr_step_record_clear(r, TSR_RECORD_STEP, 5);
    r->n_sequences = r->n_starts = 1;
    r->starts[0] = (tsr_record_start){.sampling = TSR_SAMPLING_GREEDY, .prompt_length = TOKENS};
    r->sequences[0] = (tsr_record_sequence){.slot = 1, .n_tokens = TOKENS, .n_pages = 64};
    r->n_tokens = r->n_rows = TOKENS;
    for (int i = 0; i < 64; i++) r->pages[r->n_pages++] = i;
    for (int i = 0; i < TOKENS; i++) {
        r->ids[i] = i % 1000;
        r->rows[i] = (tsr_record_row){.token = i, .kind = TSR_ROW_SCORE, .target = 1};
    }
    void *buffer = malloc((size_t)tsr_step_record_max_bytes(&wide));
    int64_t bytes = tsr_step_record_encode(r, buffer), peeked;
    assert_true(bytes > TSR_RECORD_INLINE && bytes <= tsr_step_record_max_bytes(&wide));
    assert_int_equal(tsr_step_record_peek(buffer, &wide, &peeked), TSR_OK);
    assert_int_equal(peeked, bytes);
    assert_int_equal(tsr_step_record_decode(buffer, bytes - 1, &wide, back), TSR_ERR_INTERNAL);
    assert_int_equal(tsr_step_record_decode(buffer, bytes, &wide, back), TSR_OK);
    assert_memory_equal(back->rows, r->rows, sizeof *r->rows * TOKENS);
    free(buffer);
    tsr_step_record_destroy(&r);
    tsr_step_record_destroy(&back);
}

/* ---- Hostile records ---- */

static void mutate(tsr_rng *rng, char *bytes, int64_t size)
{
    static const int32_t odd[] = {-1, 0,   1,   2,    5,         19,        20, 30, 40,
                                  99, 100, 200, 4096, INT32_MAX, INT32_MIN, -2, -21};
    int n = 1 + (int)tsr_rng_below(rng, 3);
    for (int i = 0; i < n; i++) {
        int64_t word = (int64_t)tsr_rng_below(rng, (uint64_t)size / 4) * 4;
        if (tsr_rng_below(rng, 2))
            memcpy(bytes + word, &odd[tsr_rng_below(rng, sizeof odd / sizeof *odd)], 4);
        else
            bytes[tsr_rng_below(rng, (uint64_t)size)] ^= (char)(1 << tsr_rng_below(rng, 8));
    }
}

/* Acts on a mutated record as a rank would; it may be accepted, and then must be harmless. Returns whether it
 * was. */
static bool swallow(follower *f, const char *bytes, int64_t size)
{
    const tsr_step *step;
    const tsr_sample_row *rows;
    if (tsr_step_record_decode(bytes, size, &limits, f->record) != TSR_OK) return false;
    if (tsr_slot_table_apply(f->slots, f->record) != TSR_OK) return false;
    if (f->record->kind != TSR_RECORD_STEP) return true;
    tsr_step_builder_build(f->builder, f->record, f->slots, &step, &rows);
    int64_t sum = 0;
    for (int32_t t = 0; t < step->n_tokens; t++) {
        const tsr_step_sequence *q = &step->sequences[step->sequence[t]];
        int32_t page = q->pages[step->positions[t] / TSR_PAGE_TOKENS];
        assert_true(step->ids[t] >=
                    TSR_TOKEN_OF_ROW(limits.max_rows - 1)); /* of a row that is not known yet */
        assert_true(step->ids[t] < limits.vocabulary);
        assert_in_range(page, 0, limits.n_pages - 1);
        sum += page;
    }
    for (int32_t i = 0; i < step->n_rows; i++) {
        assert_in_range(step->rows[i], 0, step->n_tokens - 1);
        for (int32_t j = 0; j < rows[i].n_seen; j++) sum += rows[i].seen[j];
        for (int32_t j = 0; j < rows[i].n_terms; j++) {
            assert_in_range(rows[i].terms[j].id, j > 0 ? rows[i].terms[j - 1].id + 1 : 0,
                            limits.vocabulary - 1);
            assert_true(isfinite(rows[i].terms[j].bias));
        }
    }
    return sum >= 0;
}

static void hostile_records_are_refused_or_harmless(void **state)
{
    (void)state;
    series s;
    make_series(&s, 2);
    tsr_rng rng = {3};
    int accepted = 0, tried = 0;
    for (int i = 0; i < s.n; i++)
        for (int k = 0; k < 1000; k++, tried++) {
            follower f;
            follower_create(&f, &s, i);
            /* exactly as long as it says, so that a sanitizer sees every byte read beyond */
            char *bytes = malloc((size_t)s.size[i]);
            memcpy(bytes, s.bytes[i], (size_t)s.size[i]);
            mutate(&rng, bytes, s.size[i]);
            accepted += swallow(&f, bytes, s.size[i]);
            free(bytes);
            follower_destroy(&f);
        }
    assert_true(accepted > 0 && accepted < tried);
    free_series(&s);
}

static void truncated_records_are_refused(void **state)
{
    (void)state;
    series s;
    make_series(&s, 4);
    follower f;
    follower_create(&f, &s, 0);
    for (int i = 0; i < 3; i++)
        for (int64_t n = 0; n < s.size[i]; n++) {
            char *bytes = malloc((size_t)n + 1);
            memcpy(bytes, s.bytes[i], (size_t)n);
            assert_int_equal(tsr_step_record_decode(bytes, n, &limits, f.record), TSR_ERR_INTERNAL);
            free(bytes);
        }
    follower_destroy(&f);
    free_series(&s);
}

/* ---- What contradicts the past ---- */

/* One sequence in a slot, with one page, at a position. */
static void one_sequence(tsr_step_record *r, int64_t number, int32_t slot, int32_t start, int32_t position,
                         int32_t page, int32_t id)
{
    tsr_step_record_clear(r, TSR_RECORD_STEP, number);
    r->n_sequences = r->n_tokens = r->n_rows = 1;
    r->n_starts = start >= 0;
    r->n_pages = page >= 0;
    r->starts[0] = (tsr_record_start){.sampling = TSR_SAMPLING_GREEDY, .prompt_length = 1};
    r->sequences[0] = (tsr_record_sequence){slot, start, position, 1, page >= 0};
    r->pages[0] = page;
    r->ids[0] = id;
    r->rows[0] = (tsr_record_row){0};
    assert_int_equal(tsr_step_record_check(r, &limits), TSR_OK);
}

static void expect_apply(follower *f, tsr_status status)
{
    assert_int_equal(tsr_slot_table_apply(f->slots, f->record), status);
}

static void the_past_counts(void **state)
{
    (void)state;
    struct {
        int64_t number;
        int32_t slot, start, position, page, release;
        tsr_status status;
    } second[] = {
        {2, 0, -1, 1, -1, -1, TSR_OK},
        {2, 1, 0, 0, 7, -1, TSR_OK},
        {2, 0, 0, 0, 7, 0, TSR_OK},
        {2, 0, 0, 0, 3, 0, TSR_OK},              /* released first, so its page is free */
        {1, 0, -1, 1, -1, -1, TSR_ERR_INTERNAL}, /* said again */
        {3, 0, -1, 1, -1, -1, TSR_ERR_INTERNAL}, /* one left out */
        {2, 0, -1, 2, -1, -1, TSR_ERR_INTERNAL}, /* a gap */
        {2, 0, -1, 0, -1, -1, TSR_ERR_INTERNAL}, /* a step back */
        {2, 1, -1, 1, -1, -1, TSR_ERR_INTERNAL}, /* a slot nobody has */
        {2, 0, 0, 0, 7, -1, TSR_ERR_INTERNAL},   /* a slot somebody has */
        {2, 1, 0, 1, 7, -1, TSR_ERR_INTERNAL},   /* a beginning in the middle */
        {2, 1, 0, 0, 3, -1, TSR_ERR_INTERNAL},   /* a page somebody has */
        {2, 1, 0, 0, -1, -1, TSR_ERR_INTERNAL},  /* no page */
        {2, 1, 0, 0, 7, 1, TSR_ERR_INTERNAL},    /* a free slot released */
    };
    for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
        follower f;
        follower_create(&f, NULL, 0);
        one_sequence(f.record, 1, 0, 0, 0, 3, 5);
        expect_apply(&f, TSR_OK);
        one_sequence(f.record, second[i].number, second[i].slot, second[i].start, second[i].position,
                     second[i].page, 5);
        if (second[i].release >= 0) f.record->releases[f.record->n_releases++] = second[i].release;
        expect_apply(&f, second[i].status);
        follower_destroy(&f);
    }
}

static void two_sequences_cannot_share_a_slot(void **state)
{
    (void)state;
    follower f;
    follower_create(&f, NULL, 0);
    one_sequence(f.record, 1, 0, 0, 0, 3, 5);
    f.record->sequences[1] = (tsr_record_sequence){0, -1, 1, 1, 0};
    f.record->n_sequences = f.record->n_tokens = 2;
    f.record->ids[1] = 6;
    assert_int_equal(tsr_step_record_check(f.record, &limits), TSR_OK);
    expect_apply(&f, TSR_ERR_INTERNAL);
    follower_destroy(&f);
}

/* More pages than max_context tokens need: there is no room for them in the table. */
static void slots_do_not_overflow(void **state)
{
    (void)state;
    follower f;
    follower_create(&f, NULL, 0);
    one_sequence(f.record, 1, 4, 0, 0, 3, 5);
    for (int i = 1; i < 6; i++) f.record->pages[i] = 10 + i;
    f.record->n_pages = f.record->sequences[0].n_pages = 6;
    expect_apply(&f, TSR_OK);
    one_sequence(f.record, 2, 4, -1, 1, 7, 5);
    f.record->pages[1] = 8;
    f.record->n_pages = f.record->sequences[0].n_pages = 2;
    expect_apply(&f, TSR_ERR_INTERNAL); /* 8 pages of 32 for 200 tokens: 7 are enough */
    follower_destroy(&f);
}

static void rows_are_checked(void **state)
{
    (void)state;
    const struct {
        tsr_record_row rows[2];
        bool good;
    } cases[] = {
        {{{0, 0, TSR_ROW_SCORE, 99}, {3, 1, TSR_ROW_SAMPLE, 0}}, true},
        {{{1, 0, TSR_ROW_TOP, 0}, {2, 1, TSR_ROW_SCORE, 0}}, true},
        {{{1, 0, TSR_ROW_SAMPLE, 0}, {0, 0, TSR_ROW_SCORE, 0}}, false},  /* descending */
        {{{1, 0, TSR_ROW_SCORE, 0}, {1, 0, TSR_ROW_SAMPLE, 0}}, false},  /* one token twice */
        {{{0, 0, TSR_ROW_SAMPLE, 0}, {3, 1, TSR_ROW_SAMPLE, 0}}, false}, /* sampled before its end */
        {{{2, 1, TSR_ROW_TOP, 0}, {3, 1, TSR_ROW_SAMPLE, 0}}, false},
        {{{1, 1, TSR_ROW_SCORE, 0}, {3, 1, TSR_ROW_SAMPLE, 0}}, false},   /* of another sequence */
        {{{0, 0, TSR_ROW_SCORE, 100}, {3, 1, TSR_ROW_SAMPLE, 0}}, false}, /* no such id */
        {{{0, 0, TSR_ROW_SCORE, -1}, {3, 1, TSR_ROW_SAMPLE, 0}}, false},
        {{{0, 0, TSR_ROW_SCORE, 0}, {4, 1, TSR_ROW_SAMPLE, 0}}, false},   /* no such token */
        {{{0, 0, TSR_ROW_OUTPUTS, 0}, {1, 0, TSR_ROW_OUTPUTS, 0}}, true}, /* at any token */
        {{{0, 0, TSR_ROW_OUTPUTS, 1}, {3, 1, TSR_ROW_OUTPUTS, 0}}, false},
        {{{0, 0, TSR_ROW_KIND_COUNT, 0}, {3, 1, TSR_ROW_SAMPLE, 0}}, false},
    };
    follower f;
    follower_create(&f, NULL, 0);
    tsr_step_record *r = f.record;
    tsr_step_record_clear(r, TSR_RECORD_STEP, 1);
    for (int i = 0; i < 2; i++)
        r->sequences[i] = (tsr_record_sequence){.slot = i, .start = -1, .n_tokens = 2};
    r->n_sequences = r->n_rows = 2;
    r->n_tokens = 4;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(r->rows, cases[i].rows, sizeof cases[i].rows);
        assert_int_equal(tsr_step_record_check(r, &limits), cases[i].good ? TSR_OK : TSR_ERR_INTERNAL);
    }
    follower_destroy(&f);
}

/* An id may stand for what a row of the step before sampled. */
static void tokens_of_rows_are_resolved(void **state)
{
    (void)state;
    const tsr_sample_result results[2] = {{.id = -1}, {.id = 42}};
    const tsr_step *step;
    const tsr_sample_row *rows;
    for (int32_t row = 0; row < 3; row++) {
        follower f;
        follower_create(&f, NULL, 0);
        one_sequence(f.record, 1, 0, 0, 0, 3, 5);
        f.record->starts[0].sampling.repetition_penalty = 2;
        expect_apply(&f, TSR_OK);
        tsr_slot_table_results(f.slots, results, 2);
        one_sequence(f.record, 2, 0, -1, 1, -1, TSR_TOKEN_OF_ROW(row));
        expect_apply(&f,
                     row == 1 ? TSR_OK : TSR_ERR_INTERNAL); /* row 0 sampled nothing, row 2 was not there */
        if (row == 1) {
            tsr_step_builder_build(f.builder, f.record, f.slots, &step, &rows);
            assert_int_equal(step->ids[0], 42);
            assert_int_equal(rows[0].n_seen, 2);
            assert_int_equal(rows[0].seen[1], 42);
            assert_int_equal(rows[0].draw, 2);
        }
        follower_destroy(&f);
    }
}

/* The set of ids belongs to a sequence, not to its slot. */
static void ids_seen_are_distinct_and_forgotten(void **state)
{
    (void)state;
    follower f;
    follower_create(&f, NULL, 0);
    const int32_t ids[] = {5, 64, 5, 0, 64, 99};
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 6; i++) {
            one_sequence(f.record, round * 6 + i + 1, 2, i ? -1 : 0, i, i ? -1 : 4, (ids[i] + round) % 100);
            f.record->starts[0].sampling.repetition_penalty = 1.1f;
            if (round && i == 0) f.record->releases[f.record->n_releases++] = 2;
            expect_apply(&f, TSR_OK);
        }
        const tsr_slot *slot = tsr_slot_table_get(f.slots, 2);
        assert_int_equal(slot->n_seen, 4);
        for (int i = 0; i < 4; i++)
            assert_int_equal(slot->seen[i], ((const int32_t[]){5, 64, 0, 99}[i] + round) % 100);
        assert_int_equal(slot->n_cached, 6);
    }
    follower_destroy(&f);
}

/* ---- Layout of a step ---- */

static void steps_have_positions_and_angles(void **state)
{
    (void)state;
    const float inv_freq[3] = {1, 0.2f, 0.05f}, plain_freq[1] = {1};
    const tsr_rope ropes[2] = {
        {.kind = TSR_ROPE_DYNAMIC,
         .dims = 6,
         .exponent_dims = 6,
         .inv_freq = inv_freq,
         .theta = 10000,
         .factor = 2,
         .max_positions = 4,
         .attention_factor = 1},
        {.kind = TSR_ROPE_STATIC, .dims = 2, .inv_freq = plain_freq, .attention_factor = 1}};
    follower f;
    follower_create(&f, NULL, 0);
    tsr_step_builder_destroy(&f.builder);
    assert_int_equal(tsr_step_builder_create(&limits, ropes, 2, &f.builder), TSR_OK);
    const tsr_step *step;
    const tsr_sample_row *rows;
    int32_t position = 0;
    for (int64_t number = 1; number <= 12; number++) { /* chunks of 3 of a prompt of 20, then beyond it */
        tsr_step_record *r = f.record;
        tsr_step_record_clear(r, TSR_RECORD_STEP, number);
        r->n_sequences = 1;
        r->n_starts = r->n_pages = number == 1;
        r->starts[0] = (tsr_record_start){.sampling = TSR_SAMPLING_GREEDY, .prompt_length = 20, .n_top = 4};
        r->starts[0].n_prompt_top = 2;
        r->sequences[0] = (tsr_record_sequence){3, number == 1 ? 0 : -1, position, 3, r->n_pages};
        if (number == 11) r->sequences[0].n_pages = r->n_pages = 1;
        r->pages[0] = number == 1 ? 9 : 8;
        r->n_tokens = 3;
        for (int i = 0; i < 3; i++) r->ids[i] = i;
        r->rows[0] = (tsr_record_row){.token = 1, .kind = TSR_ROW_SCORE, .target = 3};
        r->rows[1] = (tsr_record_row){.token = 2, .kind = TSR_ROW_SAMPLE};
        r->n_rows = 2;
        assert_int_equal(tsr_step_record_check(r, &limits), TSR_OK);
        expect_apply(&f, TSR_OK);
        tsr_step_builder_build(f.builder, r, f.slots, &step, &rows);
        assert_int_equal(step->n_tokens, 3);
        assert_int_equal(step->n_rows, 2);
        assert_int_equal(step->rows[1], 2);
        assert_int_equal(step->sequences[0].pages[0], 9);
        if (number >= 11) assert_int_equal(step->sequences[0].pages[1], 8);
        assert_int_equal(rows[0].n_top, 2);
        assert_int_equal(rows[1].n_top, 4);
        assert_int_equal(rows[1].draw, position + 3);
        for (int t = 0; t < 3; t++)
            for (int k = 0; k < 2; k++) {
                float cosine[3], sine[3];
                int64_t p = position + t, half = ropes[k].dims / 2;
                tsr_rope_angles(&ropes[k], p, p + 1 > 20 ? p + 1 : 20, cosine, sine);
                assert_int_equal(step->positions[t], p);
                assert_memory_equal(step->rope[k] + t * 2 * half, cosine, (size_t)half * sizeof(float));
                assert_memory_equal(step->rope[k] + t * 2 * half + half, sine, (size_t)half * sizeof(float));
            }
        position += 3;
    }
    follower_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_survive_the_journey),
        cmocka_unit_test(large_records_exceed_the_inline_part),
        cmocka_unit_test(hostile_records_are_refused_or_harmless),
        cmocka_unit_test(truncated_records_are_refused),
        cmocka_unit_test(the_past_counts),
        cmocka_unit_test(two_sequences_cannot_share_a_slot),
        cmocka_unit_test(slots_do_not_overflow),
        cmocka_unit_test(rows_are_checked),
        cmocka_unit_test(tokens_of_rows_are_resolved),
        cmocka_unit_test(ids_seen_are_distinct_and_forgotten),
        cmocka_unit_test(steps_have_positions_and_angles),
    };
    return cmocka_run_group_tests_name("step_record", tests, NULL, NULL);
}
