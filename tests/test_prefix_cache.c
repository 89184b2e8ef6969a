/* test_prefix_cache.c: the index of pages, the order in which kept pages are lost, and what of a request is shared. */
#include "base/memory.h"
#include "runtime/prefix_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { PAGE = TSR_PAGE_TOKENS };

/* ---- The index ---- */

static uint64_t always_seven(uint64_t parent, int64_t regime, const int32_t *ids)
{
    (void)parent, (void)regime, (void)ids;
    return 7;
}

static const int32_t *page_of(int32_t id)
{
    static int32_t ids[4][PAGE];
    static int turn;
    int32_t *page = ids[turn++ % 4];
    for (int i = 0; i < PAGE; i++) page[i] = id + i;
    return page;
}

/* With a real hash, and with one by which all pages collide. */
static void pages_are_found_by_what_they_hold(void **state)
{
    (void)state;
    for (int weak = 0; weak < 2; weak++) {
        tsr_page_index *x;
        assert_int_equal(tsr_page_index_create(20, weak ? always_seven : NULL, &x), TSR_OK);
        assert_int_equal(tsr_page_index_find(x, TSR_NO_PAGE, 0, page_of(1)), TSR_NO_PAGE);
        assert_int_equal(tsr_page_index_put(x, 5, TSR_NO_PAGE, 0, page_of(1)), 5);
        assert_int_equal(tsr_page_index_put(x, 6, TSR_NO_PAGE, 0, page_of(2)), 6);
        assert_int_equal(tsr_page_index_put(x, 7, 5, 0, page_of(9)), 7);
        assert_int_equal(tsr_page_index_put(x, 8, 6, 0, page_of(9)),
                         8); /* the same ids behind another text */
        assert_int_equal(tsr_page_index_put(x, 0, 5, 3, page_of(9)), 0);  /* by other angles */
        assert_int_equal(tsr_page_index_put(x, 19, 5, 0, page_of(9)), 7); /* there already */
        assert_int_equal(tsr_page_index_count(x), 5);
        assert_int_equal(tsr_page_index_find(x, TSR_NO_PAGE, 0, page_of(1)), 5);
        assert_int_equal(tsr_page_index_find(x, 5, 0, page_of(9)), 7);
        assert_int_equal(tsr_page_index_find(x, 6, 0, page_of(9)), 8);
        assert_int_equal(tsr_page_index_find(x, 5, 3, page_of(9)), 0);
        assert_int_equal(tsr_page_index_find(x, 6, 3, page_of(9)), TSR_NO_PAGE);
        assert_int_equal(tsr_page_index_find(x, 7, 0, page_of(9)), TSR_NO_PAGE);
        int32_t last[PAGE];
        memcpy(last, page_of(9), sizeof last);
        last[PAGE - 1]++;
        assert_int_equal(tsr_page_index_find(x, 5, 0, last), TSR_NO_PAGE);
        assert_true(tsr_page_index_has_children(x, 5));
        tsr_page_index_remove(x, 0);
        assert_true(tsr_page_index_has_children(x, 5));
        tsr_page_index_remove(x, 7);
        assert_false(tsr_page_index_has_children(x, 5));
        assert_int_equal(tsr_page_index_find(x, 5, 0, page_of(9)), TSR_NO_PAGE);
        assert_int_equal(tsr_page_index_find(x, 6, 0, page_of(9)), 8);
        assert_int_equal(tsr_page_index_put(x, 7, 8, 0, page_of(9)), 7); /* a number may come again */
        assert_int_equal(tsr_page_index_count(x), 4);
        tsr_page_index_destroy(&x);
        tsr_page_index_destroy(&x);
    }
}

/* ---- Requests in slots ---- */

static const tsr_step_limits limits = {.max_tokens = 64,
                                       .max_sequences = 6,
                                       .max_rows = 8,
                                       .max_context = 640,
                                       .n_pages = 12,
                                       .vocabulary = 1000};

typedef struct fixture {
    tsr_page_pool *pool;
    tsr_prefix_cache *cache;
    int32_t pages[6][20]; /* of each slot */
    int32_t n_pages[6];
} fixture;

static void fixture_create(fixture *f, const tsr_rope *ropes, int64_t n_ropes)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(tsr_page_pool_create(limits.n_pages, &f->pool), TSR_OK);
    tsr_prefix_cache_options o = {.limits = &limits, .pool = f->pool, .ropes = ropes, .n_ropes = n_ropes};
    assert_int_equal(tsr_prefix_cache_create(&o, &f->cache), TSR_OK);
}

static void fixture_destroy(fixture *f)
{
    assert_int_equal(tsr_page_pool_used(f->pool), 0);
    assert_int_equal(tsr_page_pool_reserved(f->pool), 0);
    tsr_prefix_cache_destroy(&f->cache);
    tsr_prefix_cache_destroy(&f->cache);
    tsr_page_pool_destroy(&f->pool);
}

/* Its prompt: `n` tokens, those from `from` on unlike any other's of another `kind`. */
static tsr_request *make(int32_t n, int32_t from, int32_t kind)
{
    static int32_t prompt[640];
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    tsr_request *r;
    for (int32_t i = 0; i < n; i++) prompt[i] = i < from ? i % 100 : 100 * kind + i % 100;
    spec.prompt = prompt;
    spec.n_prompt = n;
    spec.max_new_tokens = n + 40 < 640 ? 40 : 640 - n;
    assert_int_equal(tsr_request_create(&spec, &limits, &r), TSR_OK);
    return r;
}

/* Admits it to a slot; returns the pages it shares, or -1 if there is no room. */
static int32_t admit(fixture *f, tsr_request *r, int32_t slot)
{
    r->slot = slot;
    int32_t n = tsr_prefix_cache_match(f->cache, r, f->pages[slot]);
    int32_t worst = tsr_pages_for(tsr_request_cached_tokens(&r->spec));
    if (!tsr_prefix_cache_begin(f->cache, r, f->pages[slot], n, worst)) return -1;
    r->state = TSR_REQUEST_RUNNING;
    r->n_computed = n * PAGE;
    f->n_pages[slot] = n;
    return n;
}

/* Computes up to its token number `until`. */
static void compute(fixture *f, tsr_request *r, int32_t until)
{
    int32_t *have = &f->n_pages[r->slot], n = tsr_pages_for(until) - *have;
    tsr_page_pool_take(f->pool, n, f->pages[r->slot] + *have);
    *have += n;
    r->reserved -= n;
    r->n_computed = until;
}

static void say(tsr_request *r, int32_t n)
{
    while (r->n_generated < n) r->generated[r->n_generated] = 7 * r->n_generated, r->n_generated++;
}

/* Ends and destroys it. */
static void end(fixture *f, tsr_request *r, tsr_finish why)
{
    r->finish = why;
    tsr_prefix_cache_leave(f->cache, r, f->pages[r->slot], f->n_pages[r->slot]);
    tsr_page_pool_unreserve(f->pool, r->reserved);
    r->state = TSR_REQUEST_FINISHED;
    tsr_request_destroy(&r);
}

/* One request from its admission to its end, its prompt computed; returns the pages it shared. */
static int32_t run(fixture *f, tsr_request *r)
{
    int32_t n = admit(f, r, 0);
    compute(f, r, r->spec.n_prompt);
    end(f, r, TSR_FINISH_LENGTH);
    return n;
}

static void a_prompt_is_found_again(void **state)
{
    (void)state;
    fixture f;
    fixture_create(&f, NULL, 0);
    assert_int_equal(run(&f, make(3 * PAGE, 1000, 0)), 0);
    assert_int_equal(tsr_prefix_cache_count(f.cache), 3);
    assert_int_equal(run(&f, make(3 * PAGE, 1000, 0)), 2); /* its last token is computed */
    assert_int_equal(run(&f, make(3 * PAGE + 1, 1000, 0)), 3);
    assert_int_equal(run(&f, make(5 * PAGE, 2 * PAGE + 5, 1)), 2);
    assert_int_equal(run(&f, make(5 * PAGE, 2 * PAGE + 5, 1)), 4);
    assert_int_equal(run(&f, make(5 * PAGE, 0, 2)), 0);
    assert_int_equal(run(&f, make(PAGE, 1000, 0)), 0);
    assert_int_equal(tsr_page_pool_available(f.pool), limits.n_pages);
    fixture_destroy(&f);
}

/* Pages are noted once their tokens are certain: computed by a step before, and the last new one never. */
static void only_what_is_certain_is_noted(void **state)
{
    (void)state;
    fixture f;
    fixture_create(&f, NULL, 0);
    tsr_request *r = make(2 * PAGE + 10, 1000, 0);
    assert_int_equal(admit(&f, r, 3), 0);
    compute(&f, r, PAGE + 5);
    assert_true(tsr_prefix_cache_advance(f.cache, r, f.pages[3]));
    assert_int_equal(tsr_prefix_cache_count(f.cache), 1);
    assert_false(tsr_prefix_cache_advance(f.cache, r, f.pages[3]));
    compute(&f, r, 2 * PAGE + 10);
    tsr_prefix_cache_advance(f.cache, r, f.pages[3]);
    assert_int_equal(tsr_prefix_cache_count(f.cache), 2);
    for (int32_t made = 1; made <= 24;
         made++) { /* token number 96 is the last one generated, in vain perhaps */
        say(r, made);
        compute(&f, r, 2 * PAGE + 10 + made);
        assert_false(tsr_prefix_cache_advance(f.cache, r, f.pages[3]));
        assert_int_equal(tsr_prefix_cache_count(f.cache), made < 23 ? 2 : 3);
    }
    end(&f, r, TSR_FINISH_CANCELLED);
    fixture_destroy(&f);
}

static void generated_text_is_found_again(void **state)
{
    (void)state;
    fixture f;
    fixture_create(&f, NULL, 0);
    int32_t talk[4 * PAGE];
    tsr_request *r = make(PAGE + 20, 1000, 0);
    admit(&f, r, 0);
    say(r, 40);
    compute(&f, r, PAGE + 20 + 39);
    for (int32_t i = 0; i < 4 * PAGE; i++)
        talk[i] = i < PAGE + 20 ? r->spec.prompt[i] : i < PAGE + 60 ? r->generated[i - PAGE - 20] : 5;
    end(&f, r, TSR_FINISH_LENGTH);
    tsr_request_spec spec = TSR_REQUEST_DEFAULTS;
    spec.prompt = talk;
    spec.n_prompt = 4 * PAGE;
    assert_int_equal(tsr_request_create(&spec, &limits, &r), TSR_OK);
    assert_int_equal(run(&f, r), 2);
    fixture_destroy(&f);
}

/* Twelve pages: what was used last stays, and of a text its beginning. */
static void the_least_recently_used_go_first(void **state)
{
    (void)state;
    fixture f;
    int32_t pages[12];
    fixture_create(&f, NULL, 0);
    run(&f, make(4 * PAGE, 0, 1));
    run(&f, make(4 * PAGE, 0, 2));
    run(&f, make(4 * PAGE, 0, 3));
    assert_int_equal(run(&f, make(4 * PAGE, 0, 1)),
                     3); /* and its last one took the place of the one before */
    assert_int_equal(tsr_prefix_cache_count(f.cache), 12);
    assert_true(tsr_page_pool_reserve(f.pool, 12));
    const struct {
        int32_t taken, left[3];
    } stages[] = {{1, {4, 3, 4}}, {2, {4, 2, 4}},  {5, {4, 0, 3}},
                  {8, {4, 0, 0}}, {10, {2, 0, 0}}, {12, {0, 0, 0}}};
    for (int32_t i = 0, taken = 0; i < 6; taken = stages[i++].taken) {
        tsr_page_pool_take(f.pool, stages[i].taken - taken, pages + taken);
        for (int32_t kind = 1; kind <= 3; kind++) {
            int32_t found[20];
            tsr_request *r = make(5 * PAGE, 0, kind);
            assert_int_equal(tsr_prefix_cache_match(f.cache, r, found), stages[i].left[kind - 1]);
            tsr_request_destroy(&r);
        }
    }
    tsr_page_pool_release(f.pool, pages, 12);
    fixture_destroy(&f);
}

static void a_page_with_a_user_stays(void **state)
{
    (void)state;
    fixture f;
    fixture_create(&f, NULL, 0);
    run(&f, make(3 * PAGE, 1000, 0));
    tsr_request *one = make(3 * PAGE, 1000, 0), *two = make(3 * PAGE, 1000, 0), *big = make(8 * PAGE, 0, 4);
    assert_int_equal(admit(&f, one, 1), 2);
    assert_int_equal(admit(&f, two, 2), 2);
    for (int i = 0; i < 2; i++) assert_int_equal(tsr_page_pool_users(f.pool, f.pages[1][i]), 2);
    assert_int_equal(tsr_page_pool_used(f.pool), 2);
    assert_int_equal(admit(&f, big, 3), -1); /* 10 pages; 12 - 2 - 2 * 3 are left */
    assert_int_equal(tsr_page_pool_reserved(f.pool), 6);
    compute(&f, one, 3 * PAGE);
    compute(&f, two, 3 * PAGE);
    end(&f, one, TSR_FINISH_LENGTH);
    assert_int_equal(tsr_page_pool_users(f.pool, f.pages[1][0]), 1);
    assert_int_equal(admit(&f, big, 3), -1);
    end(&f, two, TSR_FINISH_LENGTH);
    assert_int_equal(tsr_page_pool_used(f.pool), 0);
    assert_int_equal(admit(&f, big, 3), 0);
    compute(&f, big, 8 * PAGE);
    end(&f, big, TSR_FINISH_LENGTH);
    fixture_destroy(&f);
}

/* Both read the same text before either is noted: what the second one adds behind it is found all the same, and the
 * first one's pages stay for as long as it needs them there. */
static void two_that_read_the_same_at_once(void **state)
{
    (void)state;
    fixture f;
    fixture_create(&f, NULL, 0);
    tsr_request *first = make(2 * PAGE + 4, 1000, 0), *second = make(4 * PAGE + 4, 2 * PAGE, 3);
    admit(&f, first, 0);
    admit(&f, second, 1);
    compute(&f, first, 2 * PAGE + 4);
    compute(&f, second, 4 * PAGE + 4);
    tsr_prefix_cache_advance(f.cache, first, f.pages[0]);
    tsr_prefix_cache_advance(f.cache, second, f.pages[1]);
    assert_int_equal(tsr_prefix_cache_count(f.cache), 4);
    assert_int_equal(tsr_page_pool_users(f.pool, f.pages[0][1]), 2);
    end(&f, first, TSR_FINISH_CANCELLED);
    assert_int_equal(tsr_page_pool_users(f.pool, f.pages[0][1]), 1);
    int32_t first_page = f.pages[0][0], last_page = f.pages[1][3];
    end(&f, second, TSR_FINISH_LENGTH);
    assert_int_equal(tsr_page_pool_used(f.pool), 0);
    tsr_request *third = make(4 * PAGE + 4, 2 * PAGE, 3);
    assert_int_equal(admit(&f, third, 2), 4);
    assert_int_equal(f.pages[2][0], first_page);
    assert_int_equal(f.pages[2][3], last_page);
    end(&f, third, TSR_FINISH_CANCELLED);
    fixture_destroy(&f);
}

/* What gave no numbers is not offered to others, but for what others have already. */
static void a_failed_request_leaves_nothing(void **state)
{
    (void)state;
    fixture f;
    fixture_create(&f, NULL, 0);
    tsr_request *bad = make(3 * PAGE, 1000, 0), *other = make(2 * PAGE, PAGE, 3);
    admit(&f, bad, 0);
    compute(&f, bad, 3 * PAGE);
    tsr_prefix_cache_advance(f.cache, bad, f.pages[0]);
    assert_int_equal(admit(&f, other, 1), 1);
    end(&f, bad, TSR_FINISH_ERROR);
    assert_int_equal(tsr_prefix_cache_count(f.cache), 1);
    end(&f, other, TSR_FINISH_ERROR);
    assert_int_equal(tsr_prefix_cache_count(f.cache), 0);
    assert_int_equal(run(&f, make(3 * PAGE, 1000, 0)), 0);
    fixture_destroy(&f);
}

static void some_requests_do_not_share(void **state)
{
    (void)state;
    fixture f;
    fixture_create(&f, NULL, 0);
    tsr_request *every = make(3 * PAGE, 1000, 0), *scored = make(3 * PAGE, 1000, 0);
    every->spec.outputs = TSR_OUTPUTS_EVERY;
    scored->spec.prompt_logprobs = true;
    assert_int_equal(run(&f, scored), 0);
    assert_int_equal(tsr_prefix_cache_count(f.cache), 3); /* but others may use what it read, */
    assert_false(tsr_prefix_cache_serves(f.cache, every));
    assert_int_equal(run(&f, every), 0); /* and it does not use theirs */
    tsr_request *last = make(3 * PAGE, 1000, 0);
    last->spec.outputs = TSR_OUTPUTS_LAST;
    assert_int_equal(run(&f, last), 2);
    for (int i = 0; i < 2; i++) {
        tsr_request *both = make(3 * PAGE, 1000, 5);
        both->spec.prefix_length = i ? 2 * PAGE : 0;
        both->spec.mask_position = i ? 0 : 4;
        assert_int_equal(run(&f, both), 0);
        assert_int_equal(tsr_prefix_cache_count(f.cache), 3);
    }
    fixture_destroy(&f);
}

/* Up to 64 positions a rope turns as it always does; beyond, by the length (NTK), or by another table. */
static void angles_that_depend_on_the_length(void **state)
{
    (void)state;
    const tsr_rope dynamic = {.kind = TSR_ROPE_DYNAMIC, .max_positions = 64},
                   stepped = {.kind = TSR_ROPE_STEPPED, .max_positions = 64},
                   longrope = {.kind = TSR_ROPE_LONG, .max_positions = 64}, plain = {.kind = TSR_ROPE_STATIC};
    const tsr_rope *ropes[4] = {&dynamic, &stepped, &longrope, &plain};
    for (int k = 0; k < 4; k++) {
        fixture f;
        fixture_create(&f, ropes[k], 1);
        run(&f, make(2 * PAGE, 1000, 0));
        assert_int_equal(run(&f, make(2 * PAGE, 1000, 0)), 1);
        assert_int_equal(run(&f, make(2 * PAGE + 1, 1000, 0)), k == 3 ? 2 : 0);
        assert_int_equal(run(&f, make(2 * PAGE + 1, 1000, 0)), 2);
        assert_int_equal(run(&f, make(2 * PAGE + 2, 1000, 0)), k < 2 ? 0 : 2);
        fixture_destroy(&f);
        fixture_create(&f, ropes[k], 1); /* from a prompt below to generated text beyond */
        tsr_request *r = make(PAGE + 20, 1000, 0);
        admit(&f, r, 0);
        say(r, 40);
        compute(&f, r, PAGE + 20 + 39);
        end(&f, r, TSR_FINISH_LENGTH);
        assert_int_equal(tsr_prefix_cache_count(f.cache), 2);
        fixture_destroy(&f);
    }
}

static void regimes_of_several_ropes(void **state)
{
    (void)state;
    const tsr_rope two[2] = {{.kind = TSR_ROPE_LONG, .max_positions = 10},
                             {.kind = TSR_ROPE_LONG, .max_positions = 20}};
    const tsr_rope mixed[2] = {{.kind = TSR_ROPE_STEPPED, .max_positions = 10},
                               {.kind = TSR_ROPE_DYNAMIC, .max_positions = 10}};
    assert_int_equal(tsr_rope_regime(two, 2, 3, 10), 0);
    assert_int_equal(tsr_rope_regime(two, 2, 3, 20), 1);
    assert_int_equal(tsr_rope_regime(two, 2, 12, 5), 1);
    assert_int_equal(tsr_rope_regime(two, 2, 20, 5), 2);
    assert_int_equal(tsr_rope_regime(mixed, 2, 3, 10), 0);
    assert_int_equal(tsr_rope_regime(mixed, 2, 3, 11), 13);
    assert_int_equal(tsr_rope_regime(mixed, 2, 10, 11), 13);
    assert_int_equal(tsr_rope_regime(mixed, 2, 11, 11), TSR_NO_REGIME);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    int64_t k = 1;
    for (tsr_status status = TSR_ERR_MEMORY; status != TSR_OK; k++) {
        tsr_page_pool *pool;
        tsr_prefix_cache *cache;
        assert_int_equal(tsr_page_pool_create(5, &pool), TSR_OK);
        tsr_prefix_cache_options o = {.limits = &limits, .pool = pool};
        tsr_memory_fail_after(k);
        status = tsr_prefix_cache_create(&o, &cache);
        tsr_memory_fail_after(0);
        assert_true(status == TSR_OK || (status == TSR_ERR_MEMORY && !cache));
        tsr_prefix_cache_destroy(&cache);
        tsr_page_pool_destroy(&pool);
    }
    assert_true(k > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_found_by_what_they_hold),
        cmocka_unit_test(a_prompt_is_found_again),
        cmocka_unit_test(only_what_is_certain_is_noted),
        cmocka_unit_test(generated_text_is_found_again),
        cmocka_unit_test(the_least_recently_used_go_first),
        cmocka_unit_test(a_page_with_a_user_stays),
        cmocka_unit_test(two_that_read_the_same_at_once),
        cmocka_unit_test(a_failed_request_leaves_nothing),
        cmocka_unit_test(some_requests_do_not_share),
        cmocka_unit_test(angles_that_depend_on_the_length),
        cmocka_unit_test(regimes_of_several_ropes),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests_name("prefix_cache", tests, NULL, NULL);
}
