/* print.c: str() and repr() of values. */
#include "runtime/template/print.h"

#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void tsr_tpl_float_text(double d, char out[40])
{
    char digits[40], *e;
    int precision = 1;
    if (isnan(d) || isinf(d)) {
        snprintf(out, 40, "%s", isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    do snprintf(digits, sizeof digits, "%.*e", precision - 1, d);
    while (strtod(digits, NULL) != d && precision++ < 17);
    e = strchr(digits, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        *e = '\0';
        snprintf(out, 40, "%.26se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    int decimals = precision - 1 - exponent;
    snprintf(out, 40, "%.*f", decimals > 0 ? decimals : 1, d);
}

/* Whether Python's repr shows the character as it is. */
static bool is_printable(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

static tsr_status put_character(const char *at, int n, uint32_t c, char quote, tsr_text *out)
{
    if (c == '\n') return tsr_text_puts(out, "\\n");
    if (c == '\r') return tsr_text_puts(out, "\\r");
    if (c == '\t') return tsr_text_puts(out, "\\t");
    if (c == '\\' || c == (uint32_t)quote) return tsr_text_format(out, "\\%c", (int)c);
    if (is_printable(c)) return tsr_text_append(out, at, n);
    return tsr_text_format(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

static tsr_status repr_string(tpl_value s, tsr_text *out)
{
    bool single = memchr(s.bytes, '\'', (size_t)s.n), twice = memchr(s.bytes, '"', (size_t)s.n);
    char quote = single && !twice ? '"' : '\'';
    uint32_t c;
    TSR_TRY(tsr_text_append(out, &quote, 1));
    for (int64_t i = 0; i < s.n;) {
        int n = tsr_utf8_decode(s.bytes + i, s.n - i, &c);
        if (n < 1) n = 1, c = 0xFFFD;
        TSR_TRY(put_character(s.bytes + i, n, c, quote, out));
        i += n;
    }
    return tsr_text_append(out, &quote, 1);
}

static tsr_status put_items(tpl_render *r, const tpl_list *list, const char *open, const char *close,
                            tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, open));
    for (int64_t i = 0; i < list->count; i++) {
        if (i) TSR_TRY(tsr_text_puts(out, ", "));
        TSR_TRY(tsr_tpl_repr(r, list->items[i], out));
    }
    return tsr_text_puts(out, close);
}

static tsr_status put_range(const tpl_list *list, tsr_text *out)
{
    long long first = list->count ? list->items[0].integer : 0, step = 1;
    if (list->count > 1) step = list->items[1].integer - first;
    TSR_TRY(tsr_text_format(out, "range(%lld, %lld", first, (long long)list->at));
    return list->capacity < 0 ? tsr_text_format(out, ", %lld)", step) : tsr_text_puts(out, ")");
}

static tsr_status put_list(tpl_render *r, const tpl_list *list, tsr_text *out)
{
    switch (list->form) {
    case TPL_IS_TUPLE:
        return put_items(r, list, "(", list->count == 1 ? ",)" : ")", out);
    case TPL_IS_RANGE:
        return put_range(list, out);
    case TPL_IS_VIEW:
        TSR_TRY(tsr_text_puts(out, list->name));
        return put_items(r, list, "([", "])", out);
    case TPL_IS_GENERATOR:
        return tsr_text_puts(out, "<generator object>");
    default:
        return put_items(r, list, "[", "]", out);
    }
}

static tsr_status put_dict(tpl_render *r, const tpl_dict *dict, tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "{"));
    for (int64_t i = 0; i < dict->count; i++) {
        if (i) TSR_TRY(tsr_text_puts(out, ", "));
        TSR_TRY(tsr_tpl_repr(r, dict->keys[i], out));
        TSR_TRY(tsr_text_puts(out, ": "));
        TSR_TRY(tsr_tpl_repr(r, dict->values[i], out));
    }
    return tsr_text_puts(out, "}");
}

static tsr_status put_value(tpl_render *r, tpl_value v, bool quoted, tsr_text *out)
{
    char number[40];
    switch (v.kind) {
    case TPL_NONE:
        return tsr_text_puts(out, "None");
    case TPL_BOOL:
        return tsr_text_puts(out, v.truth ? "True" : "False");
    case TPL_INT:
        return tsr_text_format(out, "%lld", (long long)v.integer);
    case TPL_FLOAT:
        tsr_tpl_float_text(v.real, number);
        return tsr_text_puts(out, number);
    case TPL_STRING:
        return quoted ? repr_string(v, out) : tsr_text_append(out, v.bytes, v.n);
    case TPL_LIST:
        return put_list(r, v.list, out);
    case TPL_NAMESPACE:
        TSR_TRY(tsr_text_puts(out, "<Namespace "));
        TSR_TRY(put_dict(r, v.dict, out));
        return tsr_text_puts(out, ">");
    case TPL_DICT:
        return put_dict(r, v.dict, out);
    case TPL_LOOP:
        return tsr_text_format(out, "<LoopContext %lld/%lld>", (long long)v.loop->at + 1,
                               (long long)v.loop->items->count);
    case TPL_CALLABLE:
        return tsr_text_puts(out, "<function>");
    default:
        return quoted ? tsr_text_puts(out, "Undefined") : TSR_OK;
    }
}

static tsr_status put_bounded(tpl_render *r, tpl_value v, bool quoted, tsr_text *out)
{
    int64_t before = out->length;
    TSR_TRY(tsr_tpl_enter(r));
    tsr_status s = put_value(r, v, quoted, out);
    r->depth--;
    /* What is nested was counted already; twice does no harm. */
    return s == TSR_OK ? tsr_tpl_step(r, 1 + (out->length - before) / 16) : s;
}

tsr_status tsr_tpl_print(tpl_render *r, tpl_value v, tsr_text *out)
{
    return put_bounded(r, v, false, out);
}

tsr_status tsr_tpl_repr(tpl_render *r, tpl_value v, tsr_text *out)
{
    return put_bounded(r, v, true, out);
}

tsr_status tsr_tpl_to_string(tpl_render *r, tpl_value v, tpl_value *out)
{
    tsr_text t;
    *out = v;
    if (v.kind == TPL_STRING) return TSR_OK;
    TSR_TRY(tsr_text_init(&t, r->left.output));
    tsr_status s = tsr_tpl_print(r, v, &t);
    if (s == TSR_OK) s = tsr_tpl_new_string(r, t.data, t.length, out);
    tsr_text_free(&t);
    return s;
}
