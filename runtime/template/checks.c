/* checks.c: tests: what stands behind `is`. */
#include "runtime/template/checks.h"

#include "runtime/template/filters.h"
#include "runtime/template/operators.h"
#include "runtime/template/print.h"
#include "runtime/template/text_case.h"

#include <string.h>

typedef tsr_status check(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out);

static check is_boolean, is_callable, is_defined, is_divisible, is_equal, is_even, is_false, is_filter,
    is_float, is_greater, is_greater_equal, is_in, is_integer, is_iterable, is_less, is_less_equal, is_lower,
    is_mapping, is_none, is_number, is_odd, is_same, is_sequence, is_string, is_test, is_true, is_undefined,
    is_unequal, is_upper;

static const tpl_row rows[] = {
    {"boolean", is_boolean, NULL, "", 0},
    {"callable", is_callable, NULL, "", 0},
    {"defined", is_defined, NULL, "", 0},
    {"divisibleby", is_divisible, NULL, "num", 1},
    {"eq", is_equal, NULL, "other", 1},
    {"equalto", is_equal, NULL, "other", 1},
    {"==", is_equal, NULL, "other", 1},
    {"even", is_even, NULL, "", 0},
    {"false", is_false, NULL, "", 0},
    {"filter", is_filter, NULL, "", 0},
    {"float", is_float, NULL, "", 0},
    {"ge", is_greater_equal, NULL, "other", 1},
    {">=", is_greater_equal, NULL, "other", 1},
    {"gt", is_greater, NULL, "other", 1},
    {"greaterthan", is_greater, NULL, "other", 1},
    {">", is_greater, NULL, "other", 1},
    {"in", is_in, NULL, "seq", 1},
    {"integer", is_integer, NULL, "", 0},
    {"iterable", is_iterable, NULL, "", 0},
    {"le", is_less_equal, NULL, "other", 1},
    {"<=", is_less_equal, NULL, "other", 1},
    {"lower", is_lower, NULL, "", 0},
    {"lt", is_less, NULL, "other", 1},
    {"lessthan", is_less, NULL, "other", 1},
    {"<", is_less, NULL, "other", 1},
    {"mapping", is_mapping, NULL, "", 0},
    {"ne", is_unequal, NULL, "other", 1},
    {"!=", is_unequal, NULL, "other", 1},
    {"none", is_none, NULL, "", 0},
    {"number", is_number, NULL, "", 0},
    {"odd", is_odd, NULL, "", 0},
    {"sameas", is_same, NULL, "other", 1},
    {"sequence", is_sequence, NULL, "", 0},
    {"string", is_string, NULL, "", 0},
    {"test", is_test, NULL, "", 0},
    {"true", is_true, NULL, "", 0},
    {"undefined", is_undefined, NULL, "", 0},
    {"upper", is_upper, NULL, "", 0},
};

int tsr_tpl_check_row(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) return (int)i;
    return -1;
}

const tpl_row *tsr_tpl_check(int row)
{
    return &rows[row];
}

/* Tests of the kind alone. */
#define KIND_CHECK(name, holds)                                                                              \
    static tsr_status name(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)                 \
    {                                                                                                        \
        (void)r;                                                                                             \
        (void)arg;                                                                                           \
        *out = tpl_bool(holds);                                                                              \
        return TSR_OK;                                                                                       \
    }

KIND_CHECK(is_boolean, v.kind == TPL_BOOL)
KIND_CHECK(is_callable, v.kind == TPL_CALLABLE || v.kind == TPL_LOOP || v.kind == TPL_UNDEFINED)
KIND_CHECK(is_defined, v.kind != TPL_UNDEFINED)
KIND_CHECK(is_false, v.kind == TPL_BOOL && !v.truth)
KIND_CHECK(is_float, v.kind == TPL_FLOAT)
KIND_CHECK(is_integer, v.kind == TPL_INT)
KIND_CHECK(is_iterable, v.kind == TPL_STRING || v.kind == TPL_LIST || v.kind == TPL_DICT ||
                            v.kind == TPL_UNDEFINED || v.kind == TPL_LOOP)
KIND_CHECK(is_mapping, v.kind == TPL_DICT)
KIND_CHECK(is_none, v.kind == TPL_NONE)
KIND_CHECK(is_number, tsr_tpl_is_number(v))
KIND_CHECK(is_sequence,
           v.kind == TPL_STRING || v.kind == TPL_DICT || v.kind == TPL_UNDEFINED ||
               (v.kind == TPL_LIST && v.list->form != TPL_IS_VIEW && v.list->form != TPL_IS_GENERATOR))
KIND_CHECK(is_string, v.kind == TPL_STRING)
KIND_CHECK(is_true, v.kind == TPL_BOOL && v.truth)
KIND_CHECK(is_undefined, v.kind == TPL_UNDEFINED)

static tsr_status leaves(tpl_render *r, tpl_value v, tpl_value by, int64_t rest, tpl_value *out)
{
    bool same;
    TSR_TRY(tsr_tpl_binary(r, '%', v, by, &v));
    TSR_TRY(tsr_tpl_equal(r, v, tpl_int(rest), &same));
    *out = tpl_bool(same);
    return TSR_OK;
}

static tsr_status is_divisible(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    return leaves(r, v, arg[0], 0, out);
}

static tsr_status is_even(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return leaves(r, v, tpl_int(2), 0, out);
}

static tsr_status is_odd(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return leaves(r, v, tpl_int(2), 1, out);
}

static tsr_status is_equal(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    bool same;
    TSR_TRY(tsr_tpl_equal(r, v, arg[0], &same));
    *out = tpl_bool(same);
    return TSR_OK;
}

static tsr_status is_unequal(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    TSR_TRY(is_equal(r, v, arg, out));
    out->truth = !out->truth;
    return TSR_OK;
}

static tsr_status is_less(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    int way;
    TSR_TRY(tsr_tpl_compare(r, v, arg[0], "<", &way));
    *out = tpl_bool(way < 0);
    return TSR_OK;
}

static tsr_status is_greater(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    int way;
    TSR_TRY(tsr_tpl_compare(r, v, arg[0], ">", &way));
    *out = tpl_bool(way > 0);
    return TSR_OK;
}

static tsr_status is_less_equal(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    int way;
    TSR_TRY(tsr_tpl_compare(r, v, arg[0], "<=", &way));
    *out = tpl_bool(way <= 0);
    return TSR_OK;
}

static tsr_status is_greater_equal(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    int way;
    TSR_TRY(tsr_tpl_compare(r, v, arg[0], ">=", &way));
    *out = tpl_bool(way >= 0);
    return TSR_OK;
}

static tsr_status is_in(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    bool found;
    TSR_TRY(tsr_tpl_contains(r, arg[0], v, &found));
    *out = tpl_bool(found);
    return TSR_OK;
}

/* Identity: one object for none, true and false; equal small integers; else the same memory. */
static tsr_status is_same(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    bool same = v.kind == arg[0].kind;
    if (same && v.kind != TPL_NONE)
        same = v.kind <= TPL_FLOAT ? v.integer == arg[0].integer : v.bytes == arg[0].bytes;
    if (same && v.kind == TPL_BOOL) same = v.truth == arg[0].truth;
    *out = tpl_bool(same);
    return tsr_tpl_step(r, 1);
}

/* Letters have one case alone, and there is a letter. */
static tsr_status has_case(tpl_render *r, tpl_value v, tpl_case how, tpl_value *out)
{
    tpl_value same, other;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    TSR_TRY(tsr_tpl_change_case(r, v, how, &same));
    TSR_TRY(tsr_tpl_change_case(r, v, how == TPL_LOWER ? TPL_UPPER : TPL_LOWER, &other));
    *out = tpl_bool(v.n == same.n && memcmp(v.bytes, same.bytes, (size_t)v.n) == 0 &&
                    !(v.n == other.n && memcmp(v.bytes, other.bytes, (size_t)v.n) == 0));
    return TSR_OK;
}

static tsr_status is_lower(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return has_case(r, v, TPL_LOWER, out);
}

static tsr_status is_upper(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return has_case(r, v, TPL_UPPER, out);
}

static tsr_status named(tpl_render *r, tpl_value v, int (*find)(const char *), tpl_value *out)
{
    char name[32] = "";
    bool fits = v.kind == TPL_STRING && v.n < (int64_t)sizeof name;
    if (fits) memcpy(name, v.bytes, (size_t)v.n);
    *out = tpl_bool(fits && find(name) >= 0);
    return tsr_tpl_step(r, 1);
}

static tsr_status is_filter(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return named(r, v, tsr_tpl_filter_row, out);
}

static tsr_status is_test(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return named(r, v, tsr_tpl_check_row, out);
}
