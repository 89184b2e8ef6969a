/* format.c: "%s and %5.2f" % (..), as Python's. */
#include "runtime/template/operators.h"
#include "runtime/template/print.h"
#include "runtime/template/text_case.h"

#include <stdio.h>
#include <string.h>

typedef struct formatter {
    tpl_render *r;
    const char *at, *end;
    tpl_value arguments;
    int64_t next;
    tsr_text *out;
} formatter;

typedef struct spec {
    char flags[8];
    int width, precision; /* -1: none */
    tpl_value value;
} spec;

static tsr_status next_argument(formatter *f, tpl_value *out)
{
    bool tuple = f->arguments.kind == TPL_LIST && f->arguments.list->form == TPL_IS_TUPLE;
    int64_t n = tuple ? f->arguments.list->count : 1;
    if (f->next >= n) return tsr_tpl_fail(f->r, "not enough arguments for format string");
    *out = tuple ? f->arguments.list->items[f->next] : f->arguments;
    f->next++;
    return TSR_OK;
}

/* %(name)s */
static tsr_status named_argument(formatter *f, tpl_value *out)
{
    const char *from = f->at;
    if (f->arguments.kind != TPL_DICT) return tsr_tpl_fail(f->r, "format requires a mapping");
    while (f->at < f->end && *f->at != ')') f->at++;
    TSR_TRY(tsr_tpl_get(f->r, f->arguments.dict, tpl_string(from, f->at - from), out));
    if (f->at == f->end || out->kind == TPL_ABSENT) return tsr_tpl_fail(f->r, "format key is not there");
    f->at++;
    return TSR_OK;
}

static int take_digits(formatter *f)
{
    int n = 0;
    for (; f->at < f->end && *f->at >= '0' && *f->at <= '9'; f->at++)
        n = n < 10000 ? n * 10 + *f->at - '0' : n;
    return n;
}

static tsr_status put_padded(formatter *f, const spec *s, const char *bytes, int64_t n)
{
    int64_t missing = s->width - tsr_tpl_characters(tpl_string(bytes, n));
    bool left = strchr(s->flags, '-');
    for (int64_t i = 0; !left && i < missing; i++) TSR_TRY(tsr_text_puts(f->out, " "));
    TSR_TRY(tsr_text_append(f->out, bytes, n));
    for (int64_t i = 0; left && i < missing; i++) TSR_TRY(tsr_text_puts(f->out, " "));
    return TSR_OK;
}

static tsr_status put_text(formatter *f, const spec *s, bool quoted)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, f->r->left.memory));
    tsr_status status = quoted ? tsr_tpl_repr(f->r, s->value, &t) : tsr_tpl_print(f->r, s->value, &t);
    tpl_value text = tpl_string(t.data, t.length);
    if (s->precision >= 0) text = tsr_tpl_cut(text, 0, s->precision);
    if (status == TSR_OK) status = put_padded(f, s, text.bytes, text.n);
    tsr_text_free(&t);
    return status;
}

/* By printf itself, from parts of ours. */
static tsr_status put_number(formatter *f, const spec *s, char letter)
{
    char format[32], text[1600];
    bool whole = strchr("dixXo", letter);
    if (!tsr_tpl_is_number(s->value))
        return tsr_tpl_fail(f->r, "%%%c format: a number is required, not %s", letter,
                            tsr_tpl_type_name(s->value));
    if (s->width > 1000 || s->precision > 300) return tsr_tpl_fail(f->r, "a format is too wide");
    int n = snprintf(format, sizeof format, "%%%s%d", s->flags, s->width);
    if (s->width == 0) n = snprintf(format, sizeof format, "%%%s", s->flags);
    if (s->precision >= 0) n += snprintf(format + n, sizeof format - (size_t)n, ".%d", s->precision);
    snprintf(format + n, sizeof format - (size_t)n, "%s%c", whole ? "ll" : "", letter);
    double number = tsr_tpl_number(s->value);
    if (whole && !(number > -9.2e18 && number < 9.2e18)) return tsr_tpl_fail(f->r, "a number is too large");
    long long integer = s->value.kind == TPL_INT ? s->value.integer : (long long)number;
    bool negative_bits = strchr("xXo", letter) && integer < 0;
    if (negative_bits) return tsr_tpl_fail(f->r, "a negative number in base 8 or 16");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    n = whole ? snprintf(text, sizeof text, format, integer) : snprintf(text, sizeof text, format, number);
#pragma GCC diagnostic pop
    if (n < 0 || n >= (int)sizeof text) return tsr_tpl_fail(f->r, "a number is too long");
    return tsr_text_append(f->out, text, n);
}

static tsr_status put_one(formatter *f)
{
    spec s = {.precision = -1};
    bool named = f->at < f->end && *f->at == '(';
    if (f->at < f->end && *f->at == '%') {
        f->at++;
        return tsr_text_puts(f->out, "%");
    }
    if (named) {
        f->at++;
        TSR_TRY(named_argument(f, &s.value));
    }
    for (int n = 0; f->at < f->end && *f->at && strchr("-+ #0", *f->at) && n < 7; f->at++)
        s.flags[n++] = *f->at;
    s.width = take_digits(f);
    if (f->at < f->end && *f->at == '.') {
        f->at++;
        s.precision = take_digits(f);
    }
    if (f->at == f->end) return tsr_tpl_fail(f->r, "incomplete format");
    char letter = *f->at++;
    if (!letter || !strchr("srdixXofFeEgG", letter))
        return tsr_tpl_fail(f->r, "unsupported format character");
    if (!named) TSR_TRY(next_argument(f, &s.value));
    TSR_TRY(tsr_tpl_step(f->r, 1 + s.width));
    return letter == 's' || letter == 'r' ? put_text(f, &s, letter == 'r') : put_number(f, &s, letter);
}

static tsr_status put_all(formatter *f)
{
    while (f->at < f->end) {
        const char *mark = memchr(f->at, '%', (size_t)(f->end - f->at));
        const char *stop = mark ? mark : f->end;
        TSR_TRY(tsr_text_append(f->out, f->at, stop - f->at));
        f->at = mark ? mark + 1 : f->end;
        if (mark) TSR_TRY(put_one(f));
    }
    const tpl_value *a = &f->arguments;
    bool tuple = a->kind == TPL_LIST && a->list->form == TPL_IS_TUPLE;
    /* What can be asked by key need not be used up. */
    bool keyed = a->kind == TPL_DICT || a->kind == TPL_UNDEFINED ||
                 (a->kind == TPL_LIST && (a->list->form == TPL_IS_LIST || a->list->form == TPL_IS_RANGE));
    if (!keyed && f->next < (tuple ? a->list->count : 1))
        return tsr_tpl_fail(f->r, "not all arguments converted during string formatting");
    return TSR_OK;
}

tsr_status tsr_tpl_format(tpl_render *r, tpl_value format, tpl_value arguments, tpl_value *out)
{
    tsr_text t;
    TSR_TRY(tsr_tpl_need_string(r, format, "format"));
    TSR_TRY(tsr_text_init(&t, r->left.memory));
    formatter f = {
        .r = r, .at = format.bytes, .end = format.bytes + format.n, .arguments = arguments, .out = &t};
    tsr_status s = put_all(&f);
    if (s == TSR_OK) s = tsr_tpl_new_string(r, t.data, t.length, out);
    tsr_text_free(&t);
    return s;
}
