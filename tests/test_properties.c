/* test_properties.c: the forms of a properties file, what is refused and where, and memory that runs out. */
#include "base/memory.h"
#include "base/properties.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct good_case {
    const char *text;
    const char *pairs; /* key NUL value NUL ... NUL */
    int lines[4];
} good_case;

static const good_case good[] = {
    {"", "\0", {0}},
    {"\n\n  \n\t\f\n", "\0", {0}},
    {"# a=b\n   ! c=d\\\n", "\0", {0}},
    {"a=b", "a\0b\0", {1}},
    {"a=b\n", "a\0b\0", {1}},
    {"a=b\r\nc=d\re=f\n", "a\0b\0c\0d\0e\0f\0", {1, 2, 3}},
    {"  a  =  b c \n", "a\0b c \0", {1}},
    {"a:b\nc d\ne\tf\n", "a\0b\0c\0d\0e\0f\0", {1, 2, 3}},
    {"a : = b\nc == d\ne  =:f", "a\0= b\0c\0= d\0e\0:f\0", {1, 2, 3}},
    {"a\nb=\nc =\n", "a\0\0b\0\0c\0\0", {1, 2, 3}},
    {"a\\=b=c\na\\:=1\na\\ b=2", "a=b\0c\0a:\0001\0a b\0002\0", {1, 2, 3}},
    {"k=\\t\\n\\r\\f\\\\\\q\\=", "k\0\t\n\r\f\\q=\0", {1}},
    {"k=\\u0041\\u00e9\\u20AC\\uD83D\\uDE00", "k\0A\303\251\342\202\254\360\237\230\200\0", {1}},
    {"\\u006b=v", "k\0v\0", {1}},
    {"k=a\\\n   b\\\r\n\tc\\\rd\nx=y", "k\0abcd\0x\0y\0", {1, 5}},
    {"k=a\\\\\nb=c", "k\0a\\\0b\0c\0", {1, 2}},
    {"ke\\\n  y=v", "key\0v\0", {1}},
    {"k\\\n  =v\nl \\\n = \\\n w", "k\0v\0l\0w\0", {1, 3}},
    {"k=a\\\n# no comment", "k\0a# no comment\0", {1}},
    {"k=v\\", "k\0v\0", {1}},
    {"\\\n  k=v", "k\0v\0", {1}},
    {"k=a#b;c!d\"e\"", "k\0a#b;c!d\"e\"\0", {1}},
    {"option.model_id = s3://bucket/x", "option.model_id\0s3://bucket/x\0", {1}},
    {"\303\251=\342\202\254", "\303\251\0\342\202\254\0", {1}},
};

static void forms_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        tsr_properties p;
        const char *at = good[i].pairs;
        int64_t n = 0;
        tsr_status s = tsr_properties_parse(good[i].text, (int64_t)strlen(good[i].text), "f", &p);
        if (s != TSR_OK) fail_msg("%s: %s", good[i].text, tsr_error_text());
        for (; *at; n++) {
            if (n == p.count) fail_msg("%s: %d keys are too few", good[i].text, (int)n);
            assert_string_equal(p.items[n].key, at);
            at += strlen(at) + 1;
            assert_string_equal(p.items[n].value, at);
            at += strlen(at) + 1;
            assert_int_equal(p.items[n].line, good[i].lines[n]);
        }
        assert_int_equal(p.count, n);
        tsr_properties_free(&p);
    }
}

static void refuse(const char *text, int64_t n, const char *why)
{
    tsr_properties p;
    assert_int_equal(tsr_properties_parse(text, n, "the file", &p), TSR_ERR_FORMAT);
    if (!strstr(tsr_error_text(), why)) fail_msg("\"%s\" lacks \"%s\"", tsr_error_text(), why);
    assert_memory_equal(tsr_error_text(), "the file: ", 10);
    assert_int_equal(p.count, 0);
    assert_null(p.items);
    assert_null(p.bytes);
}

static void what_is_wrong_is_refused(void **state)
{
    static const char *const wrong[][2] = {
        {"a=1\n\n=b", "line 3: there is no key"},
        {":b", "line 1: there is no key"},
        {"a=1\nb=2\n\na:3", "line 4: key \"a\" stands in line 1"},
        {"a=\\u12", "line 1: \\u must have four"},
        {"a=\\u12g4", "line 1: \\u must have four"},
        {"a=1\nb=\\u0000", "line 2: \\u0000 is no character"},
        {"a=\\uD83D", "is no character"},
        {"a=\\uDE00\\uD83D", "\\ude00 is no character"},
        {"a=\377", "no UTF-8"},
        {"a=\303", "no UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        refuse(wrong[i][0], (int64_t)strlen(wrong[i][0]), wrong[i][1]);
    refuse("a=b\0c", 5, "no UTF-8");
}

static void sizes_are_bounded(void **state)
{
    enum { ROOM = TSR_PROPERTIES_CAP + 1 };
    char *text = malloc(ROOM), *at = text;
    tsr_properties p;
    (void)state;
    assert_non_null(text);
    memset(text, 'a', ROOM);
    assert_int_equal(tsr_properties_parse(text, ROOM - 1, "f", &p), TSR_OK);
    tsr_properties_free(&p);
    refuse(text, ROOM, "larger than 1048576 bytes");
    for (int i = 0; i < TSR_PROPERTIES_MOST; i++) at += sprintf(at, "k%d\n", i);
    assert_int_equal(tsr_properties_parse(text, at - text, "f", &p), TSR_OK);
    assert_int_equal(p.count, TSR_PROPERTIES_MOST);
    assert_string_equal(p.items[4095].key, "k4095");
    tsr_properties_free(&p);
    at += sprintf(at, "last\n");
    refuse(text, at - text, "more than 4096 keys");
    free(text);
}

static void memory_that_runs_out_is_told(void **state)
{
    static const char text[] = "a=1\nb=2\nc=3\n";
    tsr_properties p;
    (void)state;
    for (int n = 1; n <= 2; n++) {
        tsr_memory_fail_after(n);
        assert_int_equal(tsr_properties_parse(text, sizeof text - 1, "f", &p), TSR_ERR_MEMORY);
        assert_null(p.items);
    }
    tsr_memory_fail_after(0);
    assert_int_equal(tsr_properties_read("/nowhere/at/all", &p), TSR_ERR_IO);
    assert_int_equal(tsr_properties_read("/", &p), TSR_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_read),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(memory_that_runs_out_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
