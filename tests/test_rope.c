/* test_rope.c: rotary tables against those of a reference (rope_expected.h), and configs that contradict
 * themselves. */
#include "base/json.h"
#include "layers/rope.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "rope_expected.h"

/* Two units in the last place: the reference's powers come from another mathematical library. */
static const double RELATIVE = 2.4e-7;

static tsr_status make(tsr_arena *arena, const char *text, const char *keys, int dims, int max_positions,
                       tsr_rope *out)
{
    tsr_json doc;
    tsr_status status = tsr_json_parse(text, (int64_t)strlen(text), "config.json", &doc);
    assert_int_equal(status, TSR_OK);
    status = tsr_rope_from_config(arena, tsr_json_root(&doc), dims, keys, 10000.0, max_positions, out);
    tsr_json_free(&doc);
    return status;
}

static void expect_near(const char *name, const char *what, int i, double found, double expected,
                        double tolerance)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("%s: %s[%d] is %.9g, expected %.9g", name, what, i, found, expected);
}

/* An angle is a position times a frequency, and errs by as much as they do. */
static const float *check_place(const rope_case *c, const tsr_rope *rope, rope_place place,
                                const float *expected)
{
    float cosine[64], sine[64];
    int half = rope->dims / 2;
    assert_true(half <= 64);
    tsr_rope_angles(rope, place.position, place.length, cosine, sine);
    double tolerance = 4e-7 + RELATIVE * place.position * rope->attention_factor;
    for (int i = 0; i < half; i++) {
        expect_near(c->name, "cosine", i, cosine[i], expected[i], tolerance);
        expect_near(c->name, "sine", i, sine[i], expected[half + i], tolerance);
    }
    return expected + 2 * half;
}

static void tables_equal_the_reference(void **state)
{
    (void)state;
    const float *expected = rope_numbers;
    for (size_t n = 0; n < sizeof rope_cases / sizeof *rope_cases; n++) {
        const rope_case *c = &rope_cases[n];
        tsr_arena *arena;
        tsr_rope rope;
        assert_int_equal(tsr_arena_create("test", &arena), TSR_OK);
        if (make(arena, c->config, c->theta_keys, c->dims, c->max_positions, &rope) != TSR_OK)
            fail_msg("%s: %s", c->name, tsr_error_text());
        assert_int_equal(rope.dims, c->dims + c->dims % 2);
        for (int i = 0; i < rope.dims / 2; i++, expected++)
            expect_near(c->name, "inv_freq", i, rope.inv_freq[i], *expected, RELATIVE * *expected);
        for (int p = 0; p < c->n_places; p++) expected = check_place(c, &rope, c->places[p], expected);
        tsr_arena_destroy(&arena);
    }
    assert_ptr_equal(expected, rope_numbers + sizeof rope_numbers / sizeof *rope_numbers);
}

/* A table that depends on the length must not depend on it below the limit, and must beyond. */
static void lengths_matter_beyond_the_limit_only(void **state)
{
    (void)state;
    static const char *const configs[] = {
        "{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}}",
        "{\"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": [1, 3]}}"};
    for (int n = 0; n < 2; n++) {
        tsr_arena *arena;
        tsr_rope rope;
        float c[4][2], s[4][2];
        const int lengths[] = {8, 100, 101, 150};
        assert_int_equal(tsr_arena_create("test", &arena), TSR_OK);
        assert_int_equal(make(arena, configs[n], "rope_theta", 4, 100, &rope), TSR_OK);
        for (int i = 0; i < 4; i++) tsr_rope_angles(&rope, 7, lengths[i], c[i], s[i]);
        assert_memory_equal(s[0], s[1], sizeof s[0]);
        assert_true(s[1][1] != s[2][1]);
        assert_int_equal(s[2][1] == s[3][1], n == 1);
        tsr_arena_destroy(&arena);
    }
}

#define SCALING(text) "{\"rope_scaling\": {" text "}}"

typedef struct refusal {
    const char *config, *line; /* the line must contain this */
} refusal;

static const refusal refusals[] = {
    {SCALING("\"type\": \"cubic\", \"factor\": 2"),
     "rope type \"cubic\" is not one of those we have: default, linear"},
    {SCALING("\"type\": 3"), "config.json: rope_scaling: \"type\" must be a string, found an integer"},
    {SCALING("\"type\": \"linear\", \"rope_type\": \"yarn\", \"factor\": 2"),
     "\"rope_type\" is \"yarn\", but \"type\""},
    {SCALING("\"type\": \"linear\""), "rope_scaling: \"factor\" is missing"},
    {SCALING("\"type\": \"linear\", \"factor\": null"), "\"factor\" is missing"},
    {SCALING("\"type\": \"linear\", \"factor\": 0"), "\"factor\" must lie in"},
    {SCALING("\"type\": \"linear\", \"factor\": \"2\""), "\"factor\" must be a number, found a string"},
    {SCALING("\"type\": \"dynamic\", \"factor\": -2"), "\"factor\" must lie in"},
    {SCALING("\"type\": \"yarn\""), "\"factor\" is missing"},
    {SCALING("\"type\": \"yarn\", \"factor\": 2, \"beta_fast\": 1, \"beta_slow\": 8"),
     "must not be less than"},
    {SCALING("\"type\": \"yarn\", \"factor\": 2, \"truncate\": 1"), "\"truncate\" must be true or false"},
    {SCALING("\"type\": \"yarn\", \"factor\": 2, \"original_max_position_embeddings\": 0"),
     "must lie in 1.."},
    {SCALING("\"type\": \"longrope\", \"short_factor\": [1, 1, 1, 1]"), "\"long_factor\" is missing"},
    {SCALING("\"type\": \"longrope\", \"short_factor\": [1, 1, 1], \"long_factor\": [1, 1, 1, 1]"),
     "has 3 numbers"},
    {SCALING("\"type\": \"longrope\", \"short_factor\": [1, 1, 0, 1]"),
     "\"short_factor\"[2] must be a number in"},
    {SCALING("\"type\": \"longrope\", \"short_factor\": [1, 1, 1, \"\"]"),
     "\"short_factor\"[3] must be a number in"},
    {SCALING("\"type\": \"longrope\", \"short_factor\": 5"), "\"short_factor\" must be an array"},
    {SCALING("\"type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 4, \"high_freq_factor\": 1"),
     "must exceed"},
    {SCALING("\"type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 1, \"high_freq_factor\": 4"),
     "\"original_max_position_embeddings\" is missing"},
    {SCALING("\"full_attention\": {\"rope_type\": \"default\"}"), "per kind of layer (\"full_attention\")"},
    {"{\"rope_scaling\": [2]}", "\"rope_scaling\" must be an object, found an array"},
    {"{\"rope_scaling\": \"linear\"}", "\"rope_scaling\" must be an object"},
    {"{\"rope_theta\": 0}", "\"rope_theta\" must lie in"},
    {"{\"rope_theta\": 1e30}", "\"rope_theta\" must lie in"},
    {"{\"rope_parameters\": {\"rope_theta\": true}}",
     "config.json: rope_parameters: \"rope_theta\" must be a number"},
    {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_parameters\": {\"rope_type\": "
     "\"default\"}}",
     "contradict each other"},
    {"{\"original_max_position_embeddings\": 64, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, "
     "\"original_max_position_embeddings\": 32}}",
     "is 32, but beside it 64"},
};

static void contradictions_are_one_clear_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        tsr_arena *arena;
        tsr_rope rope;
        assert_int_equal(tsr_arena_create("test", &arena), TSR_OK);
        if (make(arena, refusals[i].config, "rope_theta", 8, 128, &rope) != TSR_ERR_FORMAT)
            fail_msg("accepted: %s", refusals[i].config);
        if (!strstr(tsr_error_text(), refusals[i].line) ||
            strncmp(tsr_error_text(), "config.json: ", 13) != 0)
            fail_msg("%s: says \"%s\", expected \"%s\"", refusals[i].config, tsr_error_text(),
                     refusals[i].line);
        tsr_arena_destroy(&arena);
    }
}

static void impossible_dimensions_are_refused(void **state)
{
    (void)state;
    tsr_arena *arena;
    tsr_rope rope;
    assert_int_equal(tsr_arena_create("test", &arena), TSR_OK);
    assert_int_equal(make(arena, "{}", "rope_theta", 0, 128, &rope), TSR_ERR_FORMAT);
    assert_int_equal(make(arena, "{}", "rope_theta", 1 << 20, 128, &rope), TSR_ERR_FORMAT);
    assert_int_equal(
        make(arena, SCALING("\"type\": \"dynamic\", \"factor\": 2"), "rope_theta", 2, 128, &rope),
        TSR_ERR_FORMAT);
    assert_int_equal(make(arena, SCALING("\"type\": \"yarn\", \"factor\": 2"), "rope_theta", 3, 128, &rope),
                     TSR_ERR_FORMAT);
    tsr_arena_destroy(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_equal_the_reference),
        cmocka_unit_test(lengths_matter_beyond_the_limit_only),
        cmocka_unit_test(contradictions_are_one_clear_line),
        cmocka_unit_test(impossible_dimensions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
