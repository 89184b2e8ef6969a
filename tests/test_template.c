/* test_template.c: templates give what Python's jinja2 gives (template/make_cases.py), within bounds, and fail in order. */
#include "base/json.h"
#include "base/memory.h"
#include "runtime/template/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Renders; "" and *status where that fails. The result is the caller's. */
static char *render(const char *source, int64_t n, const json_t *variables, const tsr_template_limits *limits,
                    tsr_status *status, bool *loaded)
{
    tsr_template *t;
    tsr_text out;
    *status = tsr_template_create(source, n, "a template", &t);
    *loaded = *status == TSR_OK;
    assert_int_equal(tsr_text_init(&out, TSR_TEXT_NO_CAP), TSR_OK);
    if (*loaded) *status = tsr_template_render(t, variables, limits, &out);
    tsr_template_destroy(&t);
    assert_null(t);
    return out.data;
}

/* Whether it gave what was expected; says what it gave if not. */
static bool holds(const json_t *expected, const char *what, const char *source, int64_t n,
                  const json_t *variables, int64_t now)
{
    tsr_template_limits limits = TSR_TEMPLATE_LIMITS_INIT;
    limits.now = now;
    tsr_status status;
    bool loaded, good;
    char *out = render(source, n, variables, &limits, &status, &loaded);
    const char *wanted = json_string_value(json_object_get(expected, "output"));
    const char *error = json_string_value(json_object_get(expected, "error"));
    if (wanted)
        good = status == TSR_OK && strcmp(out, wanted) == 0;
    else if (strcmp(error, "load") == 0)
        good = !loaded && status == TSR_ERR_FORMAT;
    else /* filters and tests that are missing are found out earlier here */
        good = status == TSR_ERR_USAGE || status == TSR_ERR_FORMAT;
    if (!good)
        print_error("%s\n  expected %s%s\n  found    %s\n", what,
                    wanted ? wanted : "error: ", wanted ? "" : error,
                    status == TSR_OK ? out : tsr_error_text());
    if (status != TSR_OK && (strncmp(tsr_error_text(), "a template: line ", 17) != 0)) good = false;
    free(out);
    return good;
}

static json_t *read_file(const char *name)
{
    char path[512];
    json_error_t error;
    snprintf(path, sizeof path, "%s/template/%s", TSR_TEST_DATA, name);
    json_t *all = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!all) fail_msg("%s: %s", path, error.text);
    return all;
}

static void cases_give_what_jinja_gives(void **state)
{
    json_t *all = read_file("cases.json"), *one;
    size_t i;
    int wrong = 0;
    (void)state;
    int64_t now = json_integer_value(json_object_get(all, "now"));
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        json_t *variables = json_copy(json_object_get(all, "common")),
               *own = json_object_get(one, "variables");
        json_t *source = json_object_get(one, "template");
        if (own) json_object_update(variables, own);
        wrong += !holds(one, json_string_value(source), json_string_value(source),
                        (int64_t)json_string_length(source), variables, now);
        json_decref(variables);
    }
    assert_true(i > 300);
    json_decref(all);
    if (wrong) fail_msg("%d of %d cases differ", wrong, (int)i);
}

static char *read_template(const char *name)
{
    enum { ROOM = 1 << 16 };
    char path[512], *text = calloc(1, ROOM);
    snprintf(path, sizeof path, "%s/template/chats/%s.jinja", TSR_TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    if (!f || !text || fread(text, 1, ROOM - 1, f) == 0) fail_msg("%s cannot be read", path);
    fclose(f);
    return text;
}

static void chats_give_what_jinja_gives(void **state)
{
    json_t *all = read_file("chats.json"), *one;
    size_t i;
    int wrong = 0;
    char what[128];
    (void)state;
    int64_t now = json_integer_value(json_object_get(all, "now"));
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *chat = json_string_value(json_object_get(one, "conversation"));
        char *source = read_template(name);
        snprintf(what, sizeof what, "%s of %s", name, chat);
        wrong += !holds(one, what, source, (int64_t)strlen(source),
                        json_object_get(json_object_get(all, "conversations"), chat), now);
        free(source);
    }
    assert_true(i > 150);
    json_decref(all);
    if (wrong) fail_msg("%d of %d chats differ", wrong, (int)i);
}

/* --- Bounds --- */

static void expect(const char *source, tsr_status wanted, const char *text)
{
    tsr_status status;
    bool loaded;
    json_t *none = json_object();
    char *out = render(source, (int64_t)strlen(source), none, NULL, &status, &loaded);
    if (status != wanted) fail_msg("%.80s: %s", source, status == TSR_OK ? out : tsr_error_text());
    if (!strstr(tsr_error_text(), text)) fail_msg("\"%s\" lacks \"%s\"", tsr_error_text(), text);
    free(out);
    json_decref(none);
}

static void no_template_runs_away(void **state)
{
    static const char loops[] =
        "{% for a in range(90000) %}{% for b in range(90000) %}{{ a }}{% endfor %}{% endfor %}";
    (void)state;
    expect(loops, TSR_ERR_CAPACITY, "than it may");
    expect("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", TSR_ERR_CAPACITY, "more depth than it may");
    expect("{{ 'x' * 9000000000 }}", TSR_ERR_CAPACITY, "more memory than it may");
    expect("{{ 'x' * 9223372036854775807 * 4 }}", TSR_ERR_CAPACITY, "more memory than it may");
    expect("{{ [0] * 9000000000 }}", TSR_ERR_CAPACITY, "than it may");
    expect("{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
           TSR_ERR_CAPACITY, "more memory than it may");
    expect("{% for i in range(40) %}{{ 'x' * 1000000 }}{% endfor %}", TSR_ERR_CAPACITY,
           "writes more than it may");
    expect("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", TSR_ERR_CAPACITY,
           "more depth than it may");
    expect("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ "
           "ns.l | tojson }}",
           TSR_ERR_CAPACITY, "more depth than it may");
    expect("{{ 9223372036854775807 + 1 }}", TSR_ERR_USAGE, "line 1: a number is too large");
    expect("{{ 'a'.center(9000000000) }}", TSR_ERR_CAPACITY, "more steps");
    expect("\n\n{{ raise_exception('so it is') }}", TSR_ERR_USAGE, "a template: line 3: so it is");
}

static void nesting_is_bounded(void **state)
{
    enum { DEEP = 100000 };
    static const char *const parts[] = {"(", "[", "not ", "-", "{'a':", "a if b else ", "a.b(", "a[", "a|f("};
    char *text = malloc(DEEP * 16 + 16);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char *at = text + sprintf(text, "{{ ");
        for (int k = 0; k < DEEP; k++) at += sprintf(at, "%s", parts[i]);
        expect(text, TSR_ERR_FORMAT, "");
    }
    char *at = text;
    for (int k = 0; k < DEEP / 4; k++) at += sprintf(at, "{%% if a %%}");
    expect(text, TSR_ERR_FORMAT, "");
    memset(text, ' ', TSR_TEMPLATE_SOURCE_CAP + 1);
    text[TSR_TEMPLATE_SOURCE_CAP + 1] = '\0';
    expect(text, TSR_ERR_FORMAT, "larger than 1048576 bytes");
    free(text);
    expect("a\377", TSR_ERR_FORMAT, "no UTF-8");
}

/* A sum of many terms leans to one side: it is refused, not overrun. */
static void long_sums_are_bounded(void **state)
{
    enum { TERMS = 20000 };
    char *text = malloc(TERMS * 2 + 16), *at = text + sprintf(text, "{{ 1");
    (void)state;
    for (int i = 0; i < TERMS; i++) at += sprintf(at, "+1");
    memcpy(at, " }}", 4);
    expect(text, TSR_ERR_CAPACITY, "more depth");
    free(text);
}

static void memory_that_runs_out_is_told(void **state)
{
    static const char source[] =
        "{% for m in messages %}{{ m.role ~ m['content'] | upper | tojson }}{% set x = m %}"
        "{% endfor %}{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1) }}{{ [1, {'a': 2}] }}";
    json_t *variables = json_pack("{s:[{s:s,s:s}]}", "messages", "role", "user", "content", "x");
    tsr_status status = TSR_ERR_MEMORY;
    bool loaded;
    int n = 1;
    (void)state;
    for (; status == TSR_ERR_MEMORY && n < 500; n++) {
        tsr_template *t;
        tsr_text out = {0};
        tsr_memory_fail_after(n);
        status = tsr_template_create(source, sizeof source - 1, "a template", &t);
        if (status == TSR_OK) status = tsr_text_init(&out, TSR_TEXT_NO_CAP);
        if (status == TSR_OK) status = tsr_template_render(t, variables, NULL, &out);
        tsr_memory_fail_after(0);
        tsr_template_destroy(&t);
        tsr_text_free(&out);
    }
    assert_int_equal(status, TSR_OK);
    assert_true(n > 10);
    free(render(source, sizeof source - 1, variables, NULL, &status, &loaded));
    assert_int_equal(status, TSR_OK);
    json_decref(variables);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_give_what_jinja_gives), cmocka_unit_test(chats_give_what_jinja_gives),
        cmocka_unit_test(no_template_runs_away),       cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(long_sums_are_bounded),       cmocka_unit_test(memory_that_runs_out_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
