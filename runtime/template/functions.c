/* functions.c: what every template can call. */
#include "runtime/template/functions.h"

#include "runtime/template/print.h"
#include "runtime/template/text_case.h"

#include <string.h>
#include <time.h>

/* The sandbox of Jinja makes no longer ranges. */
enum { LONGEST_RANGE = 100000 };

static int64_t range_length(int64_t from, int64_t to, int64_t step)
{
    if (step > 0) return from < to ? (int64_t)(((uint64_t)to - (uint64_t)from - 1) / (uint64_t)step) + 1 : 0;
    return from > to ? (int64_t)(((uint64_t)from - (uint64_t)to - 1) / (0 - (uint64_t)step)) + 1 : 0;
}

static tsr_status make_range(tpl_render *r, tpl_value subject, const tpl_value *arg, tpl_value *out)
{
    int64_t from, to, step;
    (void)subject;
    TSR_TRY(tsr_tpl_need_integer(r, arg[0], 0, "range", &from));
    TSR_TRY(tsr_tpl_need_integer(r, arg[1], from, "range", &to));
    TSR_TRY(tsr_tpl_need_integer(r, arg[2], 1, "range", &step));
    if (arg[1].kind == TPL_ABSENT) from = 0;
    if (step == 0) return tsr_tpl_fail(r, "range() arg 3 must not be zero");
    int64_t n = range_length(from, to, step);
    if (n < 0 || n > LONGEST_RANGE) return tsr_tpl_fail(r, "range too big; the limit is %d", LONGEST_RANGE);
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_RANGE, n, out));
    for (int64_t i = 0; i < n; i++) TSR_TRY(tsr_tpl_append(r, out->list, tpl_int(from + i * step)));
    out->list->at = to;
    if (step != 1) out->list->capacity = -1; /* it is printed with its step */
    return TSR_OK;
}

static tsr_status fill_dict(tpl_render *r, const tpl_arguments *given, tpl_value *out)
{
    for (int i = 0; i < given->n; i++) {
        const char *key = given->keyword[i];
        const tpl_value *v = &given->value[i];
        if (!key && v->kind != TPL_DICT) return tsr_tpl_fail(r, "arguments must be named, or a dict");
        if (key) TSR_TRY(tsr_tpl_put(r, out->dict, tpl_string(key, (int64_t)strlen(key)), *v));
        for (int64_t k = 0; !key && k < v->dict->count; k++)
            TSR_TRY(tsr_tpl_put(r, out->dict, v->dict->keys[k], v->dict->values[k]));
    }
    return TSR_OK;
}

static tsr_status make_dict(tpl_render *r, tpl_value subject, const tpl_arguments *given, tpl_value *out)
{
    (void)subject;
    TSR_TRY(tsr_tpl_new_dict(r, TPL_DICT, out));
    return fill_dict(r, given, out);
}

static tsr_status make_namespace(tpl_render *r, tpl_value subject, const tpl_arguments *given, tpl_value *out)
{
    (void)subject;
    TSR_TRY(tsr_tpl_new_dict(r, TPL_NAMESPACE, out));
    return fill_dict(r, given, out);
}

static tsr_status make_joiner(tpl_render *r, tpl_value subject, const tpl_value *arg, tpl_value *out)
{
    void *p;
    (void)subject;
    TSR_TRY(tsr_tpl_take(r, sizeof(tpl_callable), &p));
    *out = (tpl_value){.kind = TPL_CALLABLE, .callable = p};
    *out->callable =
        (tpl_callable){.kind = TPL_CALL_JOIN, .self = arg[0].kind ? arg[0] : tpl_string(", ", 2)};
    return TSR_OK;
}

static tsr_status raise_exception(tpl_render *r, tpl_value subject, const tpl_value *arg, tpl_value *out)
{
    tpl_value text;
    (void)subject;
    (void)out;
    TSR_TRY(tsr_tpl_to_string(r, arg[0], &text));
    return tsr_tpl_fail(r, "%.*s", (int)(text.n < 400 ? text.n : 400), text.bytes);
}

static tsr_status strftime_now(tpl_render *r, tpl_value subject, const tpl_value *arg, tpl_value *out)
{
    char format[128], text[512];
    time_t now = r->left.now ? (time_t)r->left.now : time(NULL);
    struct tm local;
    (void)subject;
    TSR_TRY(tsr_tpl_need_string(r, arg[0], "strftime_now"));
    if (arg[0].n >= (int64_t)sizeof format || !localtime_r(&now, &local))
        return tsr_tpl_fail(r, "strftime_now() takes a format of at most %d bytes", (int)sizeof format - 1);
    memcpy(format, arg[0].bytes, (size_t)arg[0].n);
    format[arg[0].n] = '\0';
    size_t n = strftime(text, sizeof text, format, &local);
    return tsr_tpl_new_string(r, text, (int64_t)n, out);
}

static const tpl_row rows[] = {
    {"range", make_range, NULL, "start stop step", 1},
    {"dict", NULL, make_dict, "*", 0},
    {"namespace", NULL, make_namespace, "*", 0},
    {"joiner", make_joiner, NULL, "sep", 0},
    {"raise_exception", raise_exception, NULL, "message", 1},
    {"strftime_now", strftime_now, NULL, "format", 1},
};

tsr_status tsr_tpl_function(tpl_render *r, const char *name, tpl_value *out)
{
    void *p;
    out->kind = TPL_ABSENT;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        TSR_TRY(tsr_tpl_take(r, sizeof(tpl_callable), &p));
        *out = (tpl_value){.kind = TPL_CALLABLE, .callable = p};
        *out->callable = (tpl_callable){.kind = TPL_CALL_ROW, .row = &rows[i]};
        return TSR_OK;
    }
    return TSR_OK;
}
