/* compare.c: equality, order and membership, as Python has them. */
#include "runtime/template/render.h"

#include <string.h>

static tsr_status equal_lists(tpl_render *r, const tpl_list *a, const tpl_list *b, bool *out)
{
    *out = a == b || (a->count == b->count && a->form == b->form && a->form != TPL_IS_GENERATOR);
    for (int64_t i = 0; a != b && *out && i < a->count; i++)
        TSR_TRY(tsr_tpl_equal(r, a->items[i], b->items[i], out));
    return TSR_OK;
}

static tsr_status equal_dicts(tpl_render *r, const tpl_dict *a, const tpl_dict *b, bool *out)
{
    *out = a->count == b->count;
    for (int64_t i = 0; a != b && *out && i < a->count; i++) {
        tpl_value other;
        TSR_TRY(tsr_tpl_get(r, b, a->keys[i], &other));
        *out = other.kind != TPL_ABSENT;
        if (*out) TSR_TRY(tsr_tpl_equal(r, a->values[i], other, out));
    }
    return TSR_OK;
}

static int64_t whole(tpl_value v)
{
    return v.kind == TPL_BOOL ? v.truth : v.integer;
}

/* An integer and a float are compared without rounding either. */
static int compare_numbers(tpl_value a, tpl_value b)
{
    if (a.kind != TPL_FLOAT && b.kind != TPL_FLOAT) {
        int64_t i = whole(a), k = whole(b);
        return i < k ? -1 : i > k;
    }
    long double x = a.kind == TPL_FLOAT ? a.real : (long double)whole(a);
    long double y = b.kind == TPL_FLOAT ? b.real : (long double)whole(b);
    return x < y ? -1 : x > y;
}

static bool is_nan(tpl_value v)
{
    return v.kind == TPL_FLOAT && v.real != v.real;
}

tsr_status tsr_tpl_equal(tpl_render *r, tpl_value a, tpl_value b, bool *out)
{
    *out = false;
    TSR_TRY(tsr_tpl_enter(r));
    if (tsr_tpl_is_number(a) && tsr_tpl_is_number(b))
        *out = !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
    else if (a.kind != b.kind)
        *out = false;
    else if (a.kind == TPL_STRING)
        *out = a.n == b.n && memcmp(a.bytes, b.bytes, (size_t)a.n) == 0;
    else if (a.kind == TPL_LIST)
        TSR_TRY(equal_lists(r, a.list, b.list, out));
    else if (a.kind == TPL_DICT)
        TSR_TRY(equal_dicts(r, a.dict, b.dict, out));
    else
        *out = a.kind == TPL_NONE || a.kind == TPL_UNDEFINED || a.dict == b.dict;
    r->depth--;
    return tsr_tpl_step(r, a.kind == TPL_STRING ? 1 + a.n / 16 : 1);
}

static tsr_status compare_lists(tpl_render *r, const tpl_list *a, const tpl_list *b, const char *op, int *out)
{
    for (int64_t i = 0; i < a->count && i < b->count; i++) {
        bool same;
        TSR_TRY(tsr_tpl_equal(r, a->items[i], b->items[i], &same));
        if (!same) return tsr_tpl_compare(r, a->items[i], b->items[i], op, out);
    }
    *out = a->count < b->count ? -1 : a->count > b->count;
    return TSR_OK;
}

tsr_status tsr_tpl_compare(tpl_render *r, tpl_value a, tpl_value b, const char *op, int *out)
{
    if (tsr_tpl_is_number(a) && tsr_tpl_is_number(b)) {
        *out = compare_numbers(a, b);
        return tsr_tpl_step(r, 1);
    }
    if (a.kind == TPL_STRING && b.kind == TPL_STRING) {
        int order =
            memcmp(a.bytes, b.bytes, (size_t)(a.n < b.n ? a.n : b.n)); /* UTF-8 sorts as its characters */
        *out = order ? order : a.n < b.n ? -1 : a.n > b.n;
        return tsr_tpl_step(r, 1 + a.n / 16);
    }
    bool lists = a.kind == TPL_LIST && b.kind == TPL_LIST && a.list->form == b.list->form &&
                 (a.list->form == TPL_IS_LIST || a.list->form == TPL_IS_TUPLE);
    if (lists) {
        TSR_TRY(tsr_tpl_enter(r));
        TSR_TRY(compare_lists(r, a.list, b.list, op, out));
        r->depth--;
        return TSR_OK;
    }
    if (a.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, a);
    if (b.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, b);
    return tsr_tpl_fail(r, "'%s' not supported between instances of '%s' and '%s'", op, tsr_tpl_type_name(a),
                        tsr_tpl_type_name(b));
}

/* A generator is read until the element is found. */
static tsr_status contains_element(tpl_render *r, tpl_value inside, tpl_value wanted, bool *out)
{
    const tpl_list *all = NULL;
    bool generator = inside.kind == TPL_LIST && inside.list->form == TPL_IS_GENERATOR;
    int64_t began = generator ? inside.list->at : 0;
    TSR_TRY(tsr_tpl_elements(r, inside, &all));
    *out = false;
    for (int64_t i = 0; i < all->count && !*out; i++) {
        TSR_TRY(tsr_tpl_equal(r, all->items[i], wanted, out));
        if (*out && generator) inside.list->at = began + i + 1;
    }
    return TSR_OK;
}

tsr_status tsr_tpl_contains(tpl_render *r, tpl_value inside, tpl_value wanted, bool *out)
{
    tpl_value found;
    if (inside.kind == TPL_STRING) {
        if (wanted.kind != TPL_STRING)
            return tsr_tpl_fail(r, "'in <string>' requires string as left operand, not %s",
                                tsr_tpl_type_name(wanted));
        *out = tsr_tpl_find(inside, wanted, 0) >= 0;
        return tsr_tpl_step(r, 1 + inside.n / 16);
    }
    if (inside.kind == TPL_DICT) {
        TSR_TRY(tsr_tpl_check_key(r, wanted));
        TSR_TRY(tsr_tpl_get(r, inside.dict, wanted, &found));
        *out = found.kind != TPL_ABSENT;
        return TSR_OK;
    }
    if (inside.kind == TPL_LIST || inside.kind == TPL_UNDEFINED)
        return contains_element(r, inside, wanted, out);
    return tsr_tpl_fail(r, "argument of type '%s' is not iterable", tsr_tpl_type_name(inside));
}
