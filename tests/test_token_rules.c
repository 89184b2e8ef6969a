/* test_token_rules.c: what generation_config.json says, how it becomes tokens that may not or must be chosen, and that
 * the sampler keeps to it however the vocabulary is split. */
#include "runtime/generation_config.h"
#include "runtime/token_rules.h"
#include "support_sampler.h"

#include <unistd.h>

/* --- Reading --- */

typedef struct folder {
    char dir[32];
    tsr_arena *arena;
    tsr_generation_config g;
} folder;

static tsr_status read_folder(folder *f, const char *config, const char *generation)
{
    char path[64];
    tsr_json doc;
    snprintf(f->dir, sizeof f->dir, "/tmp/tsr_rules_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(path, sizeof path, "%s/generation_config.json", f->dir);
    if (generation) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(generation, file);
        fclose(file);
    }
    assert_int_equal(tsr_arena_create("a test", &f->arena), TSR_OK);
    assert_int_equal(tsr_json_parse(config, (int64_t)strlen(config), "config.json", &doc), TSR_OK);
    tsr_status s = tsr_generation_config_read(f->dir, &doc, 100, f->arena, &f->g);
    tsr_json_free(&doc);
    unlink(path);
    rmdir(f->dir);
    return s;
}

static void files_are_read(void **state)
{
    (void)state;
    folder f;
    const char *file =
        "{\"eos_token_id\":[5,-1,99,100],\"bos_token_id\":1,\"pad_token_id\":-1,\"suppress_tokens\":[7,200],"
        "\"bad_words_ids\":[[8],[99],[3,4],[3,1000]],\"forced_eos_token_id\":[9,4],\"temperature\":0.6,"
        "\"top_k\":null,\"top_p\":0.9,\"min_new_tokens\":0}";
    assert_int_equal(read_folder(&f, "{\"eos_token_id\":3,\"min_length\":4}", file), TSR_OK);
    assert_int_equal(f.g.n_eos, 2);
    assert_int_equal(f.g.eos_ids[1], 99);
    assert_int_equal(f.g.bos_id, 1);
    assert_int_equal(f.g.pad_id, -1);
    assert_int_equal(f.g.suppress.n, 2); /* 99 ends texts: as a bad word it has no effect */
    assert_int_equal(f.g.suppress.ids[0], 7);
    assert_int_equal(f.g.suppress.ids[1], 8);
    assert_int_equal(f.g.n_bad_words, 1);
    assert_int_equal(f.g.bad_words[0].n, 2);
    assert_int_equal(f.g.forced_bos_id, -1);
    assert_int_equal(f.g.forced_eos_id, 4);
    assert_int_equal(f.g.min_length, 0); /* config.json counts only where there is no other file */
    assert_int_equal(f.g.min_new_tokens, 0);
    assert_true(f.g.temperature == 0.6 && f.g.top_p == 0.9 && f.g.min_p == 0 && f.g.repetition_penalty == 1);
    tsr_arena_destroy(&f.arena);
    assert_int_equal(read_folder(&f, "{\"eos_token_id\":3,\"min_length\":4}", NULL), TSR_OK);
    assert_int_equal(f.g.n_eos, 1);
    assert_int_equal(f.g.min_length, 4);
    assert_int_equal(f.g.min_new_tokens, -1);
    tsr_arena_destroy(&f.arena);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"eos_token_id\":\"5\"}", "\"eos_token_id\" must be an integer or a list"},
        {"{\"suppress_tokens\":5}", "\"suppress_tokens\""},
        {"{\"suppress_tokens\":[\"a\"]}", "\"suppress_tokens\" must be an integer or a list"},
        {"{\"bad_words_ids\":[5]}", "\"bad_words_ids\" must be a list of lists"},
        {"{\"bad_words_ids\":[[]]}", "\"bad_words_ids\" must be a list of lists"},
        {"{\"bad_words_ids\":[[null]]}", "\"bad_words_ids\""},
        {"{\"forced_bos_token_id\":1.5}", "\"forced_bos_token_id\""},
        {"{\"temperature\":-1}", "\"temperature\" must lie in"},
        {"{\"no_repeat_ngram_size\":-2}", "\"no_repeat_ngram_size\" must lie in"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        folder f;
        assert_int_equal(read_folder(&f, "{}", cases[i][0]), TSR_ERR_FORMAT);
        if (!strstr(tsr_error_text(), cases[i][1]) || !strstr(tsr_error_text(), "generation_config.json"))
            fail_msg("%s: said %s", cases[i][0], tsr_error_text());
        tsr_arena_destroy(&f.arena);
    }
}

/* --- Rules --- */

/* The banned ids, sorted and without repeats, as text: "3 5"; "=4" where one is forced. */
static const char *apply(const tsr_generation_config *g, const tsr_sampling *s, const int32_t *ids, int32_t n,
                         int32_t prompt)
{
    static char out[256];
    tsr_banned_list banned = {0};
    tsr_text_so_far text = {ids, n, prompt, n};
    int32_t forced;
    int at = 0;
    assert_int_equal(tsr_token_rules_apply(g, s, &text, &banned, &forced), TSR_OK);
    out[0] = '\0';
    for (int32_t id = 0; id < 100; id++)
        for (int64_t i = 0; i < banned.n; i++)
            if (banned.ids[i] == id) {
                at += snprintf(out + at, sizeof out - (size_t)at, at ? " %d" : "%d", id);
                break;
            }
    if (forced >= 0) snprintf(out, sizeof out, "=%d", forced);
    tsr_free(banned.ids);
    return out;
}

static void rules_hold_where_they_should(void **state)
{
    (void)state;
    folder f;
    const char *file =
        "{\"eos_token_id\":[50,51],\"suppress_tokens\":[7],\"begin_suppress_tokens\":[8,9],"
        "\"bad_words_ids\":[[1,2],[1,2,3]],\"forced_bos_token_id\":20,\"forced_eos_token_id\":50}";
    const int32_t ids[] = {1, 2, 6, 1, 2, 1};
    tsr_sampling s = TSR_SAMPLING_GREEDY;
    assert_int_equal(read_folder(&f, "{}", file), TSR_OK);
    assert_string_equal(apply(&f.g, &s, ids, 1, 1), "=20");   /* position 1 */
    assert_string_equal(apply(&f.g, &s, ids, 2, 1), "7 8 9"); /* the first token after the forced one */
    assert_string_equal(apply(&f.g, &s, ids, 3, 3), "7 8 9"); /* the first of a longer prompt */
    assert_string_equal(apply(&f.g, &s, ids, 5, 3), "3 7");   /* 1 2 would become 1 2 3 */
    assert_string_equal(apply(&f.g, &s, ids, 6, 3), "2 7");   /* 1 would become 1 2 */
    s.min_length = 7;
    assert_string_equal(apply(&f.g, &s, ids, 6, 3), "2 7 50 51");
    s.min_length = 6;
    s.no_repeat_ngram = 3;
    assert_string_equal(apply(&f.g, &s, ids, 5, 3), "3 6 7 50 51"); /* 1 2 was followed by 6 */
    s.no_repeat_ngram = 2;
    assert_string_equal(apply(&f.g, &s, ids, 5, 3), "3 6 7 50 51"); /* 2 was followed by 6 */
    s.no_repeat_ngram = 1;
    assert_string_equal(apply(&f.g, &s, ids, 6, 3), "1 2 6 7");
    s.max_length = 7;
    assert_string_equal(apply(&f.g, &s, ids, 6, 3), "=50");
    tsr_arena_destroy(&f.arena);
}

/* --- Choosing --- */

/* Banned ids are as ids of probability 0, for every way to choose and every split. */
static void banned_ids_are_never_chosen(void **state)
{
    (void)state;
    enum { V = 900, ROUNDS = 60 };
    static float logits[V], left[V];
    tsr_rng rng = {77};
    for (int round = 0; round < ROUNDS; round++) {
        int32_t banned[V], n = 0;
        const int32_t cut[] = {0, 10, 10, 500, V};
        fill_logits(&rng, round % 2 ? NORMAL : FLAT, logits, V);
        memcpy(left, logits, sizeof left);
        for (int32_t i = 0; i < V; i++)
            if (tsr_rng_below(&rng, 3) > 0) left[banned[n++] = i] = -INFINITY;
        banned[n] = banned[0]; /* a repeat does no harm */
        tsr_sample_row row = {
            .sampling = TSR_SAMPLING_GREEDY, .banned = banned, .n_banned = n + 1, .draw = round};
        row.sampling.temperature = (float)(round % 3);
        row.sampling.top_p = round % 4 == 2 ? 0.7f : 1;
        row.sampling.top_k = round % 5 == 1 ? 40 : 0;
        row.sampling.logprobs = 1;
        tsr_sample_row free_row = row;
        free_row.n_banned = 0;
        kept_result *k = run_sharded(4, 1 + round % 2, cut, logits, &row, 1, NULL);
        reference r = reference_sample(left, V, &free_row);
        if (!r.doubtful) assert_int_equal(k->result.id, r.id);
        assert_true(left[k->result.id] > -INFINITY);
        double expected =
            logits[k->result.id] - reference_log_sum(logits, V); /* of all that the model said */
        assert_true(fabs(k->result.logprob - expected) < 1e-4);
        free(k);
    }
}

static void forced_ids_are_chosen(void **state)
{
    (void)state;
    const float logits[] = {5, 1, -3, 0, 4};
    const int32_t cut[] = {0, 2, 5}, all[] = {0, 1, 2, 3, 4};
    tsr_sample_row row = {.sampling = TSR_SAMPLING_GREEDY, .forced = true, .target = 2};
    row.sampling.logprobs = 1;
    row.sampling.temperature = 1;
    kept_result *k = run_sharded(2, 1, cut, logits, &row, 1, NULL);
    assert_int_equal(k->result.id, 2);
    assert_true(fabs(k->result.logprob - (-3 - reference_log_sum(logits, 5))) < 1e-5);
    free(k);
    row = (tsr_sample_row){.sampling = TSR_SAMPLING_GREEDY, .banned = all, .n_banned = 5};
    k = run_sharded(2, 1, cut, logits, &row, 1, NULL);
    assert_true(k->result.failed); /* no token is left */
    free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(rules_hold_where_they_should),
        cmocka_unit_test(banned_ids_are_never_chosen),
        cmocka_unit_test(forced_ids_are_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
