/* test_stop_scan.c: stop texts in streamed text: nothing of them is ever shown, everything else is. */
#include "runtime/stop_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_examples(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int shown, safe;
        bool found;
    } cases[] = {{"hello", 0, 5, false}, {"hello\n", 0, 5, false}, {"hello\n\n", 0, 5, true},
                 {"a\nb", 0, 3, false},  {"xEN", 0, 1, false},     {"xEND", 1, 1, true},
                 {"xENDy", 1, 1, true},  {"", 0, 0, false},        {"\n\n", 0, 0, true}};
    const char *stop[] = {"\n\n", "END"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool found;
        int64_t safe =
            tsr_stop_scan(cases[i].text, (int64_t)strlen(cases[i].text), cases[i].shown, stop, 2, &found);
        assert_int_equal(safe, cases[i].safe);
        assert_int_equal(found, cases[i].found);
    }
}

/* A stop text that ends first wins over one that began first. */
static void test_inner_stop(void **state)
{
    (void)state;
    const char *stop[] = {"abcX", "bc"};
    bool found;
    assert_int_equal(tsr_stop_scan("abc", 3, 0, stop, 2, &found), 1);
    assert_true(found);
}

/* Random text in random pieces against a search in the whole. */
static void test_random_pieces(void **state)
{
    (void)state;
    const char *stop[] = {"aab", "ba"};
    srand(5);
    for (int round = 0; round < 20000; round++) {
        char text[24];
        int n = rand() % 20, length = 0;
        int64_t shown = 0;
        bool found = false;
        for (int i = 0; i < n; i++) text[i] = (char)('a' + rand() % 3);
        text[n] = '\0';
        while (length < n && !found) {
            length += 1; /* a character at a time: the earliest end decides */
            shown = tsr_stop_scan(text, length, shown, stop, 2, &found);
        }
        const char *expected = NULL;
        for (int end = 1; end <= n && !expected; end++)
            for (int s = 0; s < 2; s++) {
                int m = (int)strlen(stop[s]);
                if (end >= m && memcmp(text + end - m, stop[s], (size_t)m) == 0) expected = text + end - m;
            }
        assert_int_equal(found, expected != NULL);
        if (found) assert_int_equal(shown, expected - text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples), cmocka_unit_test(test_inner_stop),
                                       cmocka_unit_test(test_random_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
