/* print_json.c: json.dumps. */
#include "base/utf8.h"
#include "runtime/template/print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tsr_status put_string(tpl_value s, bool ascii, tsr_text *out)
{
    static const char marks[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
    uint32_t c;
    TSR_TRY(tsr_text_puts(out, "\""));
    for (int64_t i = 0; i < s.n;) {
        int n = tsr_utf8_decode(s.bytes + i, s.n - i, &c);
        if (n < 1) n = 1, c = 0xFFFD;
        const char *mark = c && c < 128 ? strchr(marks, (int)c) : NULL;
        if (mark)
            TSR_TRY(tsr_text_format(out, "\\%c", letters[mark - marks]));
        else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000 && c != 0x7F))
            TSR_TRY(tsr_text_format(out, "\\u%04x", c));
        else if (ascii && c >= 0x10000)
            TSR_TRY(tsr_text_format(out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                                    0xDC00 + ((c - 0x10000) & 0x3FF)));
        else
            TSR_TRY(tsr_text_append(out, s.bytes + i, n));
        i += n;
    }
    return tsr_text_puts(out, "\"");
}

static tsr_status put_break(const tpl_json_style *style, int level, tsr_text *out)
{
    if (style->indent.kind != TPL_STRING) return TSR_OK;
    TSR_TRY(tsr_text_puts(out, "\n"));
    for (int i = 0; i < level; i++) TSR_TRY(tsr_text_append(out, style->indent.bytes, style->indent.n));
    return TSR_OK;
}

static tsr_status put_number(tpl_value v, tsr_text *out)
{
    char number[40];
    if (v.kind == TPL_INT) return tsr_text_format(out, "%lld", (long long)v.integer);
    tsr_tpl_float_text(v.real, number);
    return tsr_text_puts(out, isnan(v.real)   ? "NaN"
                              : isinf(v.real) ? (v.real < 0 ? "-Infinity" : "Infinity")
                                              : number);
}

static tsr_status put_list(tpl_render *r, const tpl_list *list, const tpl_json_style *style, int level,
                           tsr_text *out)
{
    TSR_TRY(tsr_text_puts(out, "["));
    for (int64_t i = 0; i < list->count; i++) {
        if (i) TSR_TRY(tsr_text_append(out, style->between.bytes, style->between.n));
        TSR_TRY(put_break(style, level + 1, out));
        TSR_TRY(tsr_tpl_json(r, list->items[i], style, level + 1, out));
    }
    if (list->count > 0) TSR_TRY(put_break(style, level, out));
    return tsr_text_puts(out, "]");
}

/* Keys that are no strings are written as their JSON between quotes. */
static tsr_status put_key(tpl_render *r, tpl_value key, const tpl_json_style *style, tsr_text *out)
{
    if (key.kind == TPL_STRING) return put_string(key, style->ascii, out);
    if (key.kind != TPL_NONE && !tsr_tpl_is_number(key))
        return tsr_tpl_fail(r, "keys must be str, int, float, bool or None, not %s", tsr_tpl_type_name(key));
    TSR_TRY(tsr_text_puts(out, "\""));
    TSR_TRY(tsr_tpl_json(r, key, style, 0, out));
    return tsr_text_puts(out, "\"");
}

/* order[i]: the i-th key to be written; by size if they are to be sorted. Insertion: tools have few keys. */
static tsr_status order_keys(tpl_render *r, const tpl_dict *dict, bool sort, int64_t *order)
{
    for (int64_t i = 0; i < dict->count; i++) {
        int64_t at = i;
        for (; sort && at > 0; at--) {
            int way;
            TSR_TRY(tsr_tpl_compare(r, dict->keys[i], dict->keys[order[at - 1]], "<", &way));
            if (way >= 0) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return TSR_OK;
}

static tsr_status put_dict(tpl_render *r, const tpl_dict *dict, const tpl_json_style *style, int level,
                           tsr_text *out)
{
    void *p;
    TSR_TRY(tsr_tpl_take(r, dict->count * (int64_t)sizeof(int64_t), &p));
    int64_t *order = p;
    TSR_TRY(order_keys(r, dict, style->sort, order));
    TSR_TRY(tsr_text_puts(out, "{"));
    for (int64_t i = 0; i < dict->count; i++) {
        if (i) TSR_TRY(tsr_text_append(out, style->between.bytes, style->between.n));
        TSR_TRY(put_break(style, level + 1, out));
        TSR_TRY(put_key(r, dict->keys[order[i]], style, out));
        TSR_TRY(tsr_text_append(out, style->after_name.bytes, style->after_name.n));
        TSR_TRY(tsr_tpl_json(r, dict->values[order[i]], style, level + 1, out));
    }
    if (dict->count > 0) TSR_TRY(put_break(style, level, out));
    return tsr_text_puts(out, "}");
}

static tsr_status put_value(tpl_render *r, tpl_value v, const tpl_json_style *style, int level, tsr_text *out)
{
    switch (v.kind) {
    case TPL_NONE:
        return tsr_text_puts(out, "null");
    case TPL_BOOL:
        return tsr_text_puts(out, v.truth ? "true" : "false");
    case TPL_INT:
    case TPL_FLOAT:
        return put_number(v, out);
    case TPL_STRING:
        return put_string(v, style->ascii, out);
    case TPL_DICT:
        return put_dict(r, v.dict, style, level, out);
    case TPL_LIST:
        if (v.list->form == TPL_IS_LIST || v.list->form == TPL_IS_TUPLE)
            return put_list(r, v.list, style, level, out);
        break;
    default:
        break;
    }
    return tsr_tpl_fail(r, "Object of type %s is not JSON serializable", tsr_tpl_type_name(v));
}

tsr_status tsr_tpl_json(tpl_render *r, tpl_value v, const tpl_json_style *style, int level, tsr_text *out)
{
    int64_t before = out->length;
    TSR_TRY(tsr_tpl_enter(r));
    tsr_status s = put_value(r, v, style, level, out);
    r->depth--;
    return s == TSR_OK ? tsr_tpl_step(r, 1 + (out->length - before) / 16) : s;
}
