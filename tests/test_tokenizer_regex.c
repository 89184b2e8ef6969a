/* test_tokenizer_regex.c: regular expressions match what the reference's match
 * (tests/tokenizer/regexes.json), and stay within their bounds. */
#include "runtime/tokenizer/regex.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static tsr_regex_work *work;

static tsr_regex *compile(const char *pattern)
{
    tsr_regex *r;
    if (tsr_regex_compile(pattern, (int64_t)strlen(pattern), "test", &r) != TSR_OK)
        fail_msg("%s: %s", pattern, tsr_error_text());
    return r;
}

/* Compares the matches that are not empty. */
static bool same_matches(const tsr_regex *r, const char *text, int64_t n, const json_t *wanted)
{
    size_t i = 0;
    bool found;
    int64_t begin, end;
    tsr_regex_work_reset(work, n);
    tsr_regex_scan scan = tsr_regex_scan_begin(r, work, text, n);
    for (;;) {
        if (tsr_regex_next(&scan, &found, &begin, &end) != TSR_OK) fail_msg("%s", tsr_error_text());
        if (!found) return i == json_array_size(wanted);
        if (begin == end) continue;
        const json_t *m = json_array_get(wanted, i++);
        if (!m || json_integer_value(json_array_get(m, 0)) != begin ||
            json_integer_value(json_array_get(m, 1)) != end)
            return false;
    }
}

static void patterns_match_as_in_the_reference(void **state)
{
    tsr_json doc;
    int failures = 0, checks = 0;
    size_t i, k;
    json_t *entry, *wanted;
    (void)state;
    assert_int_equal(tsr_json_read(TSR_TEST_DATA "/tokenizer/regexes.json", 1 << 24, &doc), TSR_OK);
    const json_t *texts = json_object_get(doc.root, "texts");
    json_array_foreach(json_object_get(doc.root, "patterns"), i, entry)
    {
        const char *pattern = json_string_value(json_object_get(entry, "pattern"));
        tsr_regex *r = compile(pattern);
        json_array_foreach(json_object_get(entry, "matches"), k, wanted)
        {
            const json_t *text = json_array_get(texts, k);
            checks++;
            if (same_matches(r, json_string_value(text), (int64_t)json_string_length(text), wanted)) continue;
            failures++;
            print_error("pattern %s differs on text %zu: %.60s\n", pattern, k, json_string_value(text));
        }
        tsr_regex_destroy(&r);
    }
    tsr_json_free(&doc);
    assert_true(checks > 2000);
    assert_int_equal(failures, 0);
}

static void an_empty_match_is_found_once(void **state)
{
    (void)state;
    tsr_regex *r = compile("b*");
    tsr_regex_scan scan = tsr_regex_scan_begin(r, work, "abc\xC3\xA9", 5);
    static const int64_t wanted[][2] = {{0, 0}, {1, 2}, {3, 3}, {5, 5}};
    for (int i = 0; i < 4; i++) {
        bool found;
        int64_t begin, end;
        assert_int_equal(tsr_regex_next(&scan, &found, &begin, &end), TSR_OK);
        assert_true(found);
        assert_int_equal(begin, wanted[i][0]);
        assert_int_equal(end, wanted[i][1]);
    }
    tsr_regex_destroy(&r);
}

static void what_cannot_run_is_refused_by_name(void **state)
{
    static const char *const cases[][2] = {
        {"(", "without its ')'"},
        {")", "without its '('"},
        {"[a", "without its end"},
        {"[b-a]", "empty range"},
        {"a\\", "backslash at the end"},
        {"\\p{Nonsense}", "\"nonsense\""},
        {"\\g<1>", "\\g"},
        {"(?R)", "not supported"},
        {"(?C)", "not supported"},
        {"(*LIMIT_MATCH=1)a", "(*...)"},
        {"(?x) a", "not supported"},
        {"(?(1)a|b)", "not supported"},
        {"\\cA", "\\c"},
        {"\\xE3", "hexadecimal"},
        {"\\x{110000}", "hexadecimal"},
        {"\\uD800", "hexadecimal"},
        {"a**b{2}{3", NULL},
        {"(?<n", "without its name"},
        {"(?#", "without its end"},
        {"[[:nonsense:]]", "nonsense"},
        {"\\p", "\\p without"},
        {"*", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tsr_regex *r;
        tsr_status s = tsr_regex_compile(cases[i][0], (int64_t)strlen(cases[i][0]), "file.json: split", &r);
        if (!cases[i][1]) { /* whatever it is, it must end */
            tsr_regex_destroy(&r);
            continue;
        }
        if (s != TSR_ERR_FORMAT) fail_msg("%s was accepted", cases[i][0]);
        assert_null(r);
        if (!strstr(tsr_error_text(), cases[i][1])) fail_msg("%s: %s", cases[i][0], tsr_error_text());
        assert_non_null(strstr(tsr_error_text(), "file.json: split: "));
    }
}

static void sizes_are_bounded(void **state)
{
    enum { N = TSR_REGEX_PATTERN_CAP + 1 };
    char *pattern = malloc(N + 1);
    tsr_regex *r;
    (void)state;
    memset(pattern, 'a', N);
    assert_int_equal(tsr_regex_compile(pattern, N, "test", &r), TSR_ERR_FORMAT);
    memset(pattern, '(', N);
    assert_int_equal(tsr_regex_compile(pattern, N - 1, "test", &r), TSR_ERR_FORMAT);
    memset(pattern, '[', N);
    assert_int_equal(tsr_regex_compile(pattern, N - 1, "test", &r), TSR_ERR_FORMAT);
    for (int i = 0; i < N - 4; i += 4) memcpy(pattern + i, "\\p{L", 4);
    assert_int_equal(tsr_regex_compile(pattern, N - 1, "test", &r), TSR_ERR_FORMAT);
    free(pattern);
    assert_int_equal(tsr_regex_compile("(((a{1000}){1000}){1000}){1000}", 31, "test", &r), TSR_ERR_FORMAT);
}

/* Patterns that take exponential or quadratic time must be given up, not run to the end. */
static void hostile_patterns_are_given_up(void **state)
{
    static const char *const patterns[] = {"(a+)+$",        "(a|aa)+$", "(?:a*)*b",
                                           "(a|a)*\\z(?!)", "(.*)*x",   "(?:(?:a?){40}a{40})+$"};
    enum { N = 20000 };
    char *text = malloc(N);
    (void)state;
    memset(text, 'a', N);
    text[N - 1] = '!';
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        tsr_regex *r = compile(patterns[i]);
        tsr_regex_work_reset(work, N);
        tsr_regex_scan scan = tsr_regex_scan_begin(r, work, text, N);
        bool found = true;
        int64_t begin, end;
        clock_t start = clock();
        tsr_status s = TSR_OK;
        while (s == TSR_OK && found) s = tsr_regex_next(&scan, &found, &begin, &end);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds > 60) fail_msg("%s took %.0f s", patterns[i], seconds);
        if (i < 2 && s != TSR_ERR_FORMAT) fail_msg("%s ended", patterns[i]);
        tsr_regex_destroy(&r);
    }
    free(text);
}

static void match_run(const char *pattern, const char *text, int64_t n)
{
    tsr_regex *r = compile(pattern);
    tsr_regex_work_reset(work, n);
    tsr_regex_scan scan = tsr_regex_scan_begin(r, work, text, n);
    bool found = true;
    int64_t begin, end, matches = 0;
    clock_t start = clock();
    while (found) {
        if (tsr_regex_next(&scan, &found, &begin, &end) != TSR_OK)
            fail_msg("%s: %s", pattern, tsr_error_text());
        matches++;
    }
    assert_true(matches <= 3);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20);
    tsr_regex_destroy(&r);
}

/* Sound patterns on long runs: neither a limit nor quadratic time. */
static void long_runs_match(void **state)
{
    static const char *const patterns[] = {
        " ?[^(\\s|[.,!?\xE2\x80\xA6])]+",
        "\\s+(?!\\S)|\\s+|\\S+",
        "\\s*[\\r\\n]+|\\s+",
        "[\\p{L}&&[^b]]+",
        "\\w+\\b",
        "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    };
    enum { N = 1 << 20 };
    char *text = malloc(N);
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        /* An intersection takes memory for each character, where PCRE2 has no JIT. */
        int64_t n = strstr(patterns[i], "&&") ? N / 16 : N;
        for (int blank = 0; blank < 2; blank++) {
            memset(text, blank ? ' ' : 'a', N);
            match_run(patterns[i], text, n);
        }
    }
    free(text);
}

static int setup(void **state)
{
    (void)state;
    return tsr_regex_work_create(&work);
}

static int teardown(void **state)
{
    (void)state;
    tsr_regex_work_destroy(&work);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_in_the_reference), cmocka_unit_test(an_empty_match_is_found_once),
        cmocka_unit_test(what_cannot_run_is_refused_by_name), cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(hostile_patterns_are_given_up),      cmocka_unit_test(long_runs_match),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
