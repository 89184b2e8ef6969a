/* value.c: making values, and what can be asked of one. */
#include "runtime/template/value.h"

#include "base/utf8.h"
#include "runtime/template/render.h"

#include <string.h>

bool tsr_tpl_is_text(tpl_value v, const char *text)
{
    return v.kind == TPL_STRING && v.n == (int64_t)strlen(text) && memcmp(v.bytes, text, (size_t)v.n) == 0;
}

/* --- Making --- */

tsr_status tsr_tpl_new_list(tpl_render *r, tpl_form form, int64_t capacity, tpl_value *out)
{
    void *list, *items;
    TSR_TRY(tsr_tpl_take(r, sizeof(tpl_list), &list));
    TSR_TRY(tsr_tpl_take(r, capacity * (int64_t)sizeof(tpl_value), &items));
    *out = (tpl_value){.kind = TPL_LIST, .list = list};
    *out->list = (tpl_list){.items = items, .capacity = capacity, .form = form};
    return TSR_OK;
}

/* Room for one more in an array of the rendering's; the old one is left behind. */
static tsr_status widen(tpl_render *r, tpl_value **array, int64_t count, int64_t capacity)
{
    void *wider;
    TSR_TRY(tsr_tpl_take(r, capacity * (int64_t)sizeof(tpl_value), &wider));
    if (count > 0) memcpy(wider, *array, (size_t)count * sizeof(tpl_value));
    *array = wider;
    return TSR_OK;
}

tsr_status tsr_tpl_append(tpl_render *r, tpl_list *list, tpl_value item)
{
    int64_t capacity = list->capacity ? list->capacity * 2 : 4;
    TSR_TRY(tsr_tpl_step(r, 1));
    if (list->count == list->capacity) {
        TSR_TRY(widen(r, &list->items, list->count, capacity));
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return TSR_OK;
}

tsr_status tsr_tpl_new_pair(tpl_render *r, tpl_value a, tpl_value b, tpl_value *out)
{
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_TUPLE, 2, out));
    TSR_TRY(tsr_tpl_append(r, out->list, a));
    return tsr_tpl_append(r, out->list, b);
}

tsr_status tsr_tpl_new_dict(tpl_render *r, tpl_kind kind, tpl_value *out)
{
    void *p;
    TSR_TRY(tsr_tpl_take(r, sizeof(tpl_dict), &p));
    *out = (tpl_value){.kind = kind, .dict = p};
    return TSR_OK;
}

tsr_status tsr_tpl_check_key(tpl_render *r, tpl_value key)
{
    bool tuple = key.kind == TPL_LIST && key.list->form == TPL_IS_TUPLE;
    if (key.kind == TPL_DICT || (key.kind == TPL_LIST && !tuple))
        return tsr_tpl_fail(r, "unhashable type: '%s'", tsr_tpl_type_name(key));
    for (int64_t i = 0; tuple && i < key.list->count; i++) TSR_TRY(tsr_tpl_check_key(r, key.list->items[i]));
    return TSR_OK;
}

static tsr_status find_key(tpl_render *r, const tpl_dict *dict, tpl_value key, int64_t *at)
{
    for (*at = 0; *at < dict->count; (*at)++) {
        bool same = false;
        const tpl_value *k = &dict->keys[*at];
        TSR_TRY(tsr_tpl_step(r, 1));
        if (k->kind == TPL_STRING && key.kind == TPL_STRING)
            same = k->n == key.n && memcmp(k->bytes, key.bytes, (size_t)key.n) == 0;
        else
            TSR_TRY(tsr_tpl_equal(r, *k, key, &same));
        if (same) return TSR_OK;
    }
    *at = -1;
    return TSR_OK;
}

tsr_status tsr_tpl_put(tpl_render *r, tpl_dict *dict, tpl_value key, tpl_value value)
{
    int64_t at, capacity = dict->capacity ? dict->capacity * 2 : 8;
    TSR_TRY(tsr_tpl_check_key(r, key));
    TSR_TRY(find_key(r, dict, key, &at));
    if (at >= 0) {
        dict->values[at] = value;
        return TSR_OK;
    }
    if (dict->count == dict->capacity) {
        TSR_TRY(widen(r, &dict->keys, dict->count, capacity));
        TSR_TRY(widen(r, &dict->values, dict->count, capacity));
        dict->capacity = capacity;
    }
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = value;
    return TSR_OK;
}

tsr_status tsr_tpl_get(tpl_render *r, const tpl_dict *dict, tpl_value key, tpl_value *out)
{
    int64_t at;
    TSR_TRY(find_key(r, dict, key, &at));
    *out = at >= 0 ? dict->values[at] : (tpl_value){.kind = TPL_ABSENT};
    return TSR_OK;
}

tsr_status tsr_tpl_get_text(tpl_render *r, const tpl_dict *dict, const char *key, tpl_value *out)
{
    return tsr_tpl_get(r, dict, tpl_string(key, (int64_t)strlen(key)), out);
}

tsr_status tsr_tpl_new_string(tpl_render *r, const char *bytes, int64_t n, tpl_value *out)
{
    void *p;
    TSR_TRY(tsr_tpl_step(r, n / 16));
    TSR_TRY(tsr_tpl_take(r, n + 1, &p));
    if (n > 0) memcpy(p, bytes, (size_t)n);
    *out = tpl_string(p, n);
    return TSR_OK;
}

/* --- Asking --- */

bool tsr_tpl_truth(tpl_value v)
{
    switch (v.kind) {
    case TPL_BOOL:
        return v.truth;
    case TPL_INT:
        return v.integer != 0;
    case TPL_FLOAT:
        return v.real != 0;
    case TPL_STRING:
        return v.n > 0;
    case TPL_LIST:
        return v.list->count > 0 || v.list->form == TPL_IS_GENERATOR;
    case TPL_DICT:
        return v.dict->count > 0;
    default:
        return v.kind == TPL_NAMESPACE || v.kind == TPL_CALLABLE || v.kind == TPL_LOOP;
    }
}

const char *tsr_tpl_type_name(tpl_value v)
{
    static const char *const names[] = {"absent", "Undefined", "NoneType", "bool",
                                        "int",    "float",     "str",      "list",
                                        "dict",   "Namespace", "function", "LoopContext"};
    static const char *const forms[] = {"list", "tuple", "range", "", "generator"};
    if (v.kind == TPL_LIST) return v.list->form == TPL_IS_VIEW ? v.list->name : forms[v.list->form];
    return names[v.kind];
}

bool tsr_tpl_is_number(tpl_value v)
{
    return v.kind == TPL_BOOL || v.kind == TPL_INT || v.kind == TPL_FLOAT;
}

double tsr_tpl_number(tpl_value v)
{
    return v.kind == TPL_FLOAT ? v.real : v.kind == TPL_INT ? (double)v.integer : v.truth;
}

tsr_status tsr_tpl_length(tpl_render *r, tpl_value v, int64_t *out)
{
    *out = 0;
    if (v.kind == TPL_STRING) *out = tsr_tpl_characters(v);
    if (v.kind == TPL_LIST && v.list->form != TPL_IS_GENERATOR) *out = v.list->count;
    if (v.kind == TPL_DICT) *out = v.dict->count;
    if (v.kind == TPL_LOOP) *out = v.loop->items->count;
    bool has = v.kind == TPL_STRING || v.kind == TPL_DICT || v.kind == TPL_LOOP || v.kind == TPL_UNDEFINED ||
               (v.kind == TPL_LIST && v.list->form != TPL_IS_GENERATOR);
    if (!has) return tsr_tpl_fail(r, "object of type '%s' has no len()", tsr_tpl_type_name(v));
    return tsr_tpl_step(r, v.kind == TPL_STRING ? v.n / 16 : 0);
}

static tsr_status characters_of(tpl_render *r, tpl_value v, tpl_value *out)
{
    uint32_t c;
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, out));
    for (int64_t at = 0; at < v.n;) {
        int n = tsr_utf8_decode(v.bytes + at, v.n - at, &c);
        if (n < 1) n = 1;
        TSR_TRY(tsr_tpl_append(r, out->list, tpl_string(v.bytes + at, n)));
        at += n;
    }
    return TSR_OK;
}

tsr_status tsr_tpl_elements(tpl_render *r, tpl_value v, const tpl_list **out)
{
    tpl_value made = {.kind = TPL_LIST};
    if (v.kind == TPL_LIST && v.list->form != TPL_IS_GENERATOR) {
        *out = v.list;
        return tsr_tpl_step(r, 1);
    }
    if (v.kind == TPL_STRING) {
        TSR_TRY(characters_of(r, v, &made));
    } else if (v.kind == TPL_LIST || v.kind == TPL_DICT || v.kind == TPL_UNDEFINED) {
        TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, &made));
        if (v.kind == TPL_LIST) {
            made.list->items = v.list->items + v.list->at;
            made.list->count = made.list->capacity = v.list->count - v.list->at;
            v.list->at = v.list->count;
        } else if (v.kind == TPL_DICT) {
            made.list->items = v.dict->keys;
            made.list->count = made.list->capacity = v.dict->count;
        }
    } else {
        return tsr_tpl_fail(r, "'%s' object is not iterable", tsr_tpl_type_name(v));
    }
    *out = made.list;
    return tsr_tpl_step(r, 1);
}

/* --- Strings --- */

int64_t tsr_tpl_characters(tpl_value s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s.n; i++) n += (s.bytes[i] & 0xC0) != 0x80;
    return n;
}

tpl_value tsr_tpl_cut(tpl_value s, int64_t from, int64_t to)
{
    int64_t i = 0, seen = -1, begin = s.n, end = s.n;
    if (from >= to) return tpl_string(s.bytes, 0);
    for (; i < s.n; i++) {
        if ((s.bytes[i] & 0xC0) == 0x80) continue;
        seen++;
        if (seen == from) begin = i;
        if (seen == to) {
            end = i;
            break;
        }
    }
    return tpl_string(s.bytes + begin, end - begin);
}

int64_t tsr_tpl_find(tpl_value s, tpl_value part, int64_t from)
{
    if (from > s.n) return -1;
    if (part.n == 0) return from;
    const char *found = memmem(s.bytes + from, (size_t)(s.n - from), part.bytes, (size_t)part.n);
    return found ? found - s.bytes : -1;
}
