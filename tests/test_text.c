/* test_text.c: the growable text: formats that fit and that do not, the cap, JSON strings whatever the bytes are. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* From each length on, a format of each size: whether there is room or not, the same bytes come. */
static void test_formats_grow(void **state)
{
    (void)state;
    char filling[64], wanted[128];
    memset(filling, 'x', sizeof filling);
    for (int before = 0; before < 40; before++)
        for (int width = 0; width < 40; width++) {
            tsr_text t;
            assert_int_equal(tsr_text_init(&t, 1000), TSR_OK);
            assert_int_equal(tsr_text_append(&t, filling, before), TSR_OK);
            assert_int_equal(tsr_text_format(&t, "%0*d|", width, 7), TSR_OK);
            int n = snprintf(wanted, sizeof wanted, "%.*s%0*d|", before, filling, width, 7);
            assert_int_equal(t.length, n);
            assert_string_equal(t.data, wanted);
            tsr_text_free(&t);
        }
}

/* What would go past the cap leaves the text as it was, its end included. */
static void test_cap(void **state)
{
    (void)state;
    tsr_text t;
    assert_int_equal(tsr_text_init(&t, 5), TSR_OK);
    assert_int_equal(tsr_text_puts(&t, "abc"), TSR_OK);
    assert_int_equal(tsr_text_format(&t, "%d", 123), TSR_ERR_CAPACITY);
    assert_int_equal(tsr_text_append(&t, "123", 3), TSR_ERR_CAPACITY);
    assert_int_equal(t.length, 3);
    assert_string_equal(t.data, "abc");
    assert_int_equal(tsr_text_format(&t, "%d", 12), TSR_OK);
    assert_string_equal(t.data, "abc12");
    tsr_text_free(&t);
}

static void test_json(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int n;
        const char *json;
    } cases[] = {{"", 0, "\"\""},
                 {"plain text", 10, "\"plain text\""},
                 {"\"\\", 2, "\"\\\"\\\\\""},
                 {"a\nb\tc\rd", 7, "\"a\\nb\\tc\\rd\""},
                 {"a\0b\x01\x7f", 5, "\"a\\u0000b\\u0001\\u007f\""},
                 {"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80!", 12, "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80!\""},
                 {"x\xffy", 3, "\"x\xef\xbf\xbdy\""},
                 {"cut \xe2\x82", 6, "\"cut \xef\xbf\xbd\""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tsr_text t;
        assert_int_equal(tsr_text_init(&t, 1000), TSR_OK);
        assert_int_equal(tsr_text_json(&t, cases[i].bytes, cases[i].n), TSR_OK);
        assert_string_equal(t.data, cases[i].json);
        tsr_text_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats_grow), cmocka_unit_test(test_cap),
                                       cmocka_unit_test(test_json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
