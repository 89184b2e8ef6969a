/* filters.c: the table of filters, and those on single values. */
#include "runtime/template/filters.h"

#include "runtime/template/filters_sequence.h"
#include "runtime/template/operators.h"
#include "runtime/template/print.h"
#include "runtime/template/text_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Strings --- */

static FILTER(lower)
{
    (void)arg;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    return tsr_tpl_change_case(r, v, TPL_LOWER, out);
}

static FILTER(upper)
{
    (void)arg;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    return tsr_tpl_change_case(r, v, TPL_UPPER, out);
}

static FILTER(capitalize)
{
    (void)arg;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    return tsr_tpl_change_case(r, v, TPL_CAPITALIZED, out);
}

static FILTER(title)
{
    (void)arg;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    return tsr_tpl_change_case(r, v, TPL_WORDS, out);
}

static FILTER(trim)
{
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    return tsr_tpl_strip(r, v, arg[0], true, true, out);
}

static FILTER(replace)
{
    tpl_value old, new;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    TSR_TRY(tsr_tpl_to_string(r, arg[0], &old));
    TSR_TRY(tsr_tpl_to_string(r, arg[1], &new));
    return tsr_tpl_replace(r, v, old, new, arg[2], out);
}

static FILTER(center)
{
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    return tsr_tpl_pad(r, v, arg[0].kind ? arg[0] : tpl_int(80), tpl_string(" ", 1), true, true, out);
}

static FILTER(to_string)
{
    (void)arg;
    return tsr_tpl_to_string(r, v, out);
}

static FILTER(safe)
{
    (void)arg;
    return tsr_tpl_to_string(r, v, out);
}

static FILTER(escape)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    (void)arg;
    TSR_TRY(tsr_tpl_to_string(r, v, out));
    for (int i = 0; i < 5; i++)
        TSR_TRY(tsr_tpl_replace(r, *out, tpl_string(from + i, 1), tpl_string(to[i], (int64_t)strlen(to[i])),
                                (tpl_value){.kind = TPL_ABSENT}, out));
    return TSR_OK;
}

/* Lines after the first, and the first and empty ones if asked for, get an indent. */
static FILTER(indent)
{
    tpl_value lines, margin = arg[0].kind ? arg[0] : tpl_int(4), pieces;
    bool first = tsr_tpl_truth(arg[1]), blank = tsr_tpl_truth(arg[2]);
    TSR_TRY(tsr_tpl_need_string(r, v, "indent"));
    if (margin.kind != TPL_STRING) TSR_TRY(tsr_tpl_binary(r, '*', tpl_string(" ", 1), margin, &margin));
    TSR_TRY(tsr_tpl_binary(r, '+', v, tpl_string("\n", 1), &v));
    TSR_TRY(tsr_tpl_split_lines(r, v, false, &lines));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, &pieces));
    for (int64_t i = 0; i < lines.list->count; i++) {
        tpl_value line = lines.list->items[i];
        bool shifted = i == 0 ? first : blank || line.n > 0;
        if (i > 0) TSR_TRY(tsr_tpl_append(r, pieces.list, tpl_string("\n", 1)));
        if (shifted) TSR_TRY(tsr_tpl_append(r, pieces.list, margin));
        TSR_TRY(tsr_tpl_append(r, pieces.list, line));
    }
    return tsr_tpl_join(r, tpl_string("", 0), pieces.list, out);
}

static FILTER(truncate)
{
    int64_t length, leeway, n;
    tpl_value end = arg[2].kind ? arg[2] : tpl_string("...", 3);
    *out = v;
    if (v.kind == TPL_UNDEFINED) return TSR_OK;
    TSR_TRY(tsr_tpl_need_string(r, v, "truncate"));
    TSR_TRY(tsr_tpl_need_integer(r, arg[0], 255, "truncate", &length));
    TSR_TRY(tsr_tpl_need_integer(r, arg[3], 5, "truncate", &leeway));
    TSR_TRY(tsr_tpl_need_string(r, end, "truncate"));
    TSR_TRY(tsr_tpl_length(r, v, &n));
    int64_t room = length - tsr_tpl_characters(end);
    if (room < 0) return tsr_tpl_fail(r, "truncate: the length is less than that of the end");
    *out = v;
    if (n <= length || n - leeway <= length) return TSR_OK;
    v = tsr_tpl_cut(v, 0, room);
    for (int64_t i = v.n; !tsr_tpl_truth(arg[1]) && i-- > 0;)
        if (v.bytes[i] == ' ') {
            v.n = i;
            break;
        }
    return tsr_tpl_binary(r, '+', v, end, out);
}

static FILTER_ANY(format)
{
    tpl_value all;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_TUPLE, given->n, &all));
    if (given->n > 0 && given->keyword[0]) TSR_TRY(tsr_tpl_new_dict(r, TPL_DICT, &all));
    for (int i = 0; i < given->n; i++) {
        if ((given->keyword[i] != NULL) != (all.kind == TPL_DICT))
            return tsr_tpl_fail(r, "can't handle positional and keyword arguments at the same time");
        if (all.kind == TPL_LIST)
            TSR_TRY(tsr_tpl_append(r, all.list, given->value[i]));
        else
            TSR_TRY(tsr_tpl_put(r, all.dict,
                                tpl_string(given->keyword[i], (int64_t)strlen(given->keyword[i])),
                                given->value[i]));
    }
    return tsr_tpl_format(r, v, all, out);
}

static FILTER(wordcount)
{
    int64_t n = 0;
    bool inside = false;
    (void)arg;
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    for (int64_t i = 0; i < v.n;) {
        int bytes;
        bool word = tsr_tpl_is_word(v.bytes + i, v.bytes + v.n, &bytes);
        n += word && !inside;
        inside = word;
        i += bytes;
    }
    *out = tpl_int(n);
    return tsr_tpl_step(r, v.n / 8);
}

/* --- Numbers --- */

/* The number a text stands for, as Python's float() reads it: no hexadecimal, no digits elsewhere. */
static bool read_float(tpl_value v, double *out)
{
    char text[400], *end;
    if (tsr_tpl_is_number(v)) {
        *out = tsr_tpl_number(v);
        return true;
    }
    if (v.kind != TPL_STRING || v.n == 0 || v.n >= (int64_t)sizeof text) return false;
    memcpy(text, v.bytes, (size_t)v.n);
    text[v.n] = '\0';
    if (strpbrk(text, "xX(")) return false;
    *out = strtod(text, &end);
    while (end > text && *end && strchr(" \t\n\r\f\v", *end)) end++;
    return end > text && *end == '\0';
}

static FILTER(to_float)
{
    double number;
    if (v.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, v);
    *out = read_float(v, &number) ? tpl_float(number) : arg[0].kind ? arg[0] : tpl_float(0);
    return tsr_tpl_step(r, 1);
}

static FILTER(to_int)
{
    double number;
    char text[80] = "", *end = text;
    int64_t base, whole = 0;
    if (v.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, v);
    TSR_TRY(tsr_tpl_need_integer(r, arg[1], 10, "int", &base));
    if (v.kind == TPL_STRING && v.n > 0 && v.n < (int64_t)sizeof text && base >= 2 && base <= 36) {
        memcpy(text, v.bytes, (size_t)v.n);
        whole = strtoll(text, &end, (int)base);
        while (end > text && *end && strchr(" \t\n\r\f\v", *end)) end++;
    }
    *out = arg[0].kind ? arg[0] : tpl_int(0);
    if (v.kind == TPL_INT || v.kind == TPL_BOOL)
        *out = tpl_int(v.kind == TPL_INT ? v.integer : v.truth);
    else if (end > text && !*end && whole != INT64_MAX && whole != INT64_MIN)
        *out = tpl_int(whole);
    else if (read_float(v, &number) && number > -9.2e18 && number < 9.2e18)
        *out = tpl_int((int64_t)number);
    return tsr_tpl_step(r, 1);
}

static FILTER(absolute)
{
    (void)arg;
    if (!tsr_tpl_is_number(v))
        return tsr_tpl_fail(r, "bad operand type for abs(): '%s'", tsr_tpl_type_name(v));
    *out = v.kind == TPL_BOOL ? tpl_int(v.truth) : v;
    return tsr_tpl_number(v) < 0 ? tsr_tpl_negative(r, v, out) : TSR_OK;
}

static FILTER(round_to)
{
    char text[800];
    int64_t digits;
    bool common = arg[1].kind == TPL_ABSENT || tsr_tpl_is_text(arg[1], "common");
    bool up = tsr_tpl_is_text(arg[1], "ceil"), down = tsr_tpl_is_text(arg[1], "floor");
    TSR_TRY(tsr_tpl_need_integer(r, arg[0], 0, "round", &digits));
    if (!common && !up && !down) return tsr_tpl_fail(r, "method must be common, ceil or floor");
    if (!tsr_tpl_is_number(v)) return tsr_tpl_fail(r, "type %s cannot be rounded", tsr_tpl_type_name(v));
    if (digits < -300 || digits > 300) return tsr_tpl_fail(r, "round() takes -300 to 300 digits");
    double number = tsr_tpl_number(v), scale = pow(10, (double)digits);
    *out = v.kind == TPL_BOOL ? tpl_int(v.truth) : v;
    if (!common) {
        *out = tpl_float((up ? ceil(number * scale) : floor(number * scale)) / scale);
    } else if (v.kind == TPL_FLOAT && digits >= 0 && isfinite(number)) {
        snprintf(text, sizeof text, "%.*f", (int)digits, number);
        *out = tpl_float(strtod(text, NULL));
    } else if (digits < 0 && isfinite(number)) {
        number = nearbyint(number / pow(10, (double)-digits)) * pow(10, (double)-digits);
        *out = v.kind == TPL_FLOAT ? tpl_float(number) : tpl_int((int64_t)number);
    }
    return TSR_OK;
}

/* --- Any value --- */

static FILTER(otherwise)
{
    bool missing = v.kind == TPL_UNDEFINED || (tsr_tpl_truth(arg[1]) && !tsr_tpl_truth(v));
    *out = !missing ? v : arg[0].kind ? arg[0] : tpl_string("", 0);
    return tsr_tpl_step(r, 1);
}

static FILTER(length)
{
    int64_t n;
    (void)arg;
    TSR_TRY(tsr_tpl_length(r, v, &n));
    *out = tpl_int(n);
    return TSR_OK;
}

static FILTER(attribute)
{
    return tsr_tpl_path(r, v, arg[0], out);
}

/* (",", ": ") or the like. */
static tsr_status read_separators(tpl_render *r, tpl_value v, tpl_json_style *style)
{
    if (v.kind == TPL_ABSENT || v.kind == TPL_NONE) return TSR_OK;
    bool pair = v.kind == TPL_LIST && v.list->count == 2 && v.list->items[0].kind == TPL_STRING &&
                v.list->items[1].kind == TPL_STRING;
    if (!pair) return tsr_tpl_fail(r, "separators must be two strings");
    style->between = v.list->items[0];
    style->after_name = v.list->items[1];
    return TSR_OK;
}

static FILTER(tojson)
{
    tsr_text t;
    tpl_json_style style = {
        .between = tpl_string(", ", 2), .after_name = tpl_string(": ", 2), .indent = tpl_none()};
    style.ascii = tsr_tpl_truth(arg[0]);
    style.sort = tsr_tpl_truth(arg[3]);
    if (arg[1].kind != TPL_ABSENT && arg[1].kind != TPL_NONE) {
        style.indent = arg[1];
        style.between.n = 1;
        if (arg[1].kind != TPL_STRING)
            TSR_TRY(tsr_tpl_binary(r, '*', tpl_string(" ", 1), arg[1], &style.indent));
    }
    TSR_TRY(read_separators(r, arg[2], &style));
    TSR_TRY(tsr_text_init(&t, r->left.memory));
    tsr_status s = tsr_tpl_json(r, v, &style, 0, &t);
    if (s == TSR_OK) s = tsr_tpl_new_string(r, t.data, t.length, out);
    tsr_text_free(&t);
    return s;
}

/* --- The table --- */

static const tpl_row rows[] = {
    {"abs", absolute, NULL, "", 0},
    {"attr", attribute, NULL, "name", 1},
    {"batch", tsr_tpl_batch, NULL, "linecount fill_with", 1},
    {"capitalize", capitalize, NULL, "", 0},
    {"center", center, NULL, "width", 0},
    {"count", length, NULL, "", 0},
    {"d", otherwise, NULL, "default_value boolean", 0},
    {"default", otherwise, NULL, "default_value boolean", 0},
    {"dictsort", tsr_tpl_dictsort, NULL, "case_sensitive by reverse", 0},
    {"e", escape, NULL, "", 0},
    {"escape", escape, NULL, "", 0},
    {"first", tsr_tpl_first, NULL, "", 0},
    {"float", to_float, NULL, "default", 0},
    {"format", NULL, format, "*", 0},
    {"indent", indent, NULL, "width first blank", 0},
    {"int", to_int, NULL, "default base", 0},
    {"items", tsr_tpl_items, NULL, "", 0},
    {"join", tsr_tpl_join_filter, NULL, "d attribute", 0},
    {"last", tsr_tpl_last, NULL, "", 0},
    {"length", length, NULL, "", 0},
    {"list", tsr_tpl_list, NULL, "", 0},
    {"lower", lower, NULL, "", 0},
    {"map", NULL, tsr_tpl_map, "*", 0},
    {"max", tsr_tpl_max, NULL, "case_sensitive attribute", 0},
    {"min", tsr_tpl_min, NULL, "case_sensitive attribute", 0},
    {"reject", NULL, tsr_tpl_reject, "*", 0},
    {"rejectattr", NULL, tsr_tpl_rejectattr, "*", 0},
    {"replace", replace, NULL, "old new count", 2},
    {"reverse", tsr_tpl_reverse, NULL, "", 0},
    {"round", round_to, NULL, "precision method", 0},
    {"safe", safe, NULL, "", 0},
    {"select", NULL, tsr_tpl_select, "*", 0},
    {"selectattr", NULL, tsr_tpl_selectattr, "*", 0},
    {"sort", tsr_tpl_sort, NULL, "reverse case_sensitive attribute", 0},
    {"string", to_string, NULL, "", 0},
    {"sum", tsr_tpl_sum, NULL, "attribute start", 0},
    {"title", title, NULL, "", 0},
    {"tojson", tojson, NULL, "ensure_ascii indent separators sort_keys", 0},
    {"trim", trim, NULL, "chars", 0},
    {"truncate", truncate, NULL, "length killwords end leeway", 0},
    {"unique", tsr_tpl_unique, NULL, "case_sensitive attribute", 0},
    {"upper", upper, NULL, "", 0},
    {"wordcount", wordcount, NULL, "", 0},
};

int tsr_tpl_filter_row(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) return (int)i;
    return -1;
}

const tpl_row *tsr_tpl_filter(int row)
{
    return &rows[row];
}
