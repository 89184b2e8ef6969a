/* filters_sequence.c: choosing, ordering and combining elements. */
#include "runtime/template/filters_sequence.h"

#include "runtime/template/checks.h"
#include "runtime/template/filters.h"
#include "runtime/template/operators.h"
#include "runtime/template/print.h"
#include "runtime/template/text_case.h"

#include <string.h>

/* An empty generator to fill. */
static tsr_status generator(tpl_render *r, tpl_value *out)
{
    return tsr_tpl_new_list(r, TPL_IS_GENERATOR, 0, out);
}

/* --- Taking --- */

FILTER(tsr_tpl_first)
{
    const tpl_list *all;
    (void)arg;
    bool lazy = v.kind == TPL_LIST && v.list->form == TPL_IS_GENERATOR;
    int64_t at = lazy ? v.list->at : 0;
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    if (all->count == 0) return tsr_tpl_undefined(r, out, "No first item, sequence was empty.");
    *out = all->items[0];
    if (lazy) v.list->at = at + 1;
    return TSR_OK;
}

FILTER(tsr_tpl_last)
{
    const tpl_list *all;
    (void)arg;
    if (v.kind == TPL_LIST && v.list->form == TPL_IS_GENERATOR)
        return tsr_tpl_fail(r, "'generator' object is not reversible");
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    if (all->count == 0) return tsr_tpl_undefined(r, out, "No last item, sequence was empty.");
    *out = all->items[all->count - 1];
    return TSR_OK;
}

FILTER(tsr_tpl_list)
{
    const tpl_list *all;
    (void)arg;
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, all->count, out));
    for (int64_t i = 0; i < all->count; i++) TSR_TRY(tsr_tpl_append(r, out->list, all->items[i]));
    return TSR_OK;
}

FILTER(tsr_tpl_reverse)
{
    const tpl_list *all;
    (void)arg;
    bool lazy =
        v.kind == TPL_LIST && v.list->form == TPL_IS_GENERATOR; /* has to be read first, and becomes a list */
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    TSR_TRY(tsr_tpl_new_list(r, lazy ? TPL_IS_LIST : TPL_IS_GENERATOR, 0, out));
    for (int64_t i = all->count; i-- > 0;) TSR_TRY(tsr_tpl_append(r, out->list, all->items[i]));
    return v.kind == TPL_STRING ? tsr_tpl_join(r, tpl_string("", 0), out->list, out) : TSR_OK;
}

FILTER(tsr_tpl_items)
{
    (void)arg;
    TSR_TRY(generator(r, out));
    if (v.kind == TPL_UNDEFINED) return TSR_OK;
    if (v.kind != TPL_DICT) return tsr_tpl_fail(r, "Can only get item pairs from a mapping.");
    for (int64_t i = 0; i < v.dict->count; i++) {
        tpl_value pair;
        TSR_TRY(tsr_tpl_new_pair(r, v.dict->keys[i], v.dict->values[i], &pair));
        TSR_TRY(tsr_tpl_append(r, out->list, pair));
    }
    return TSR_OK;
}

FILTER(tsr_tpl_batch)
{
    const tpl_list *all;
    tpl_value row = {0};
    int64_t width;
    TSR_TRY(tsr_tpl_need_integer(r, arg[0], 1, "batch", &width));
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    TSR_TRY(generator(r, out));
    for (int64_t i = 0, in_row = 0; i < all->count; i++, in_row++) {
        if (i == 0 || in_row == width) {
            TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, &row));
            TSR_TRY(tsr_tpl_append(r, out->list, row));
            in_row = 0;
        }
        TSR_TRY(tsr_tpl_append(r, row.list, all->items[i]));
    }
    bool fill = row.list && arg[1].kind != TPL_ABSENT && arg[1].kind != TPL_NONE;
    while (fill && row.list->count < width) TSR_TRY(tsr_tpl_append(r, row.list, arg[1]));
    return TSR_OK;
}

/* --- Ordering --- */

/* What an element is ordered by: itself or its attributes ("a,b": one after another), in lower case unless case counts. */
static tsr_status key_of(tpl_render *r, tpl_value item, tpl_value attribute, bool keep_case, tpl_value *out)
{
    *out = item;
    if (attribute.kind == TPL_STRING && memchr(attribute.bytes, ',', (size_t)attribute.n)) {
        tpl_value keys;
        TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, &keys));
        for (int64_t at = 0; at <= attribute.n;) {
            const char *comma = memchr(attribute.bytes + at, ',', (size_t)(attribute.n - at));
            int64_t end = comma ? comma - attribute.bytes : attribute.n;
            tpl_value key;
            TSR_TRY(key_of(r, item, tpl_string(attribute.bytes + at, end - at), keep_case, &key));
            TSR_TRY(tsr_tpl_append(r, keys.list, key));
            at = end + 1;
        }
        *out = keys;
        return TSR_OK;
    }
    if (attribute.kind != TPL_ABSENT && attribute.kind != TPL_NONE)
        TSR_TRY(tsr_tpl_path(r, item, attribute, out));
    return out->kind == TPL_STRING && !keep_case ? tsr_tpl_change_case(r, *out, TPL_LOWER, out) : TSR_OK;
}

typedef struct keyed {
    tpl_value key, item;
} keyed;

/* Merges sorted [0, half) and [half, n); equals keep their order, also in reverse. */
static tsr_status merge(tpl_render *r, keyed *k, int64_t half, int64_t n, bool reverse, keyed *room)
{
    int64_t a = 0, b = half, to = 0;
    while (a < half && b < n) {
        int way = 0;
        bool same; /* equals are not compared, so that they need no order */
        TSR_TRY(tsr_tpl_equal(r, k[b].key, k[a].key, &same));
        if (!same) TSR_TRY(tsr_tpl_compare(r, k[b].key, k[a].key, "<", &way));
        bool later = reverse ? way > 0 : way < 0;
        room[to++] = later ? k[b++] : k[a++];
    }
    while (a < half) room[to++] = k[a++];
    while (b < n) room[to++] = k[b++];
    memcpy(k, room, (size_t)n * sizeof *k);
    return tsr_tpl_step(r, n);
}

static tsr_status merge_sort(tpl_render *r, keyed *k, int64_t n, bool reverse, keyed *room)
{
    if (n < 2) return TSR_OK;
    TSR_TRY(merge_sort(r, k, n / 2, reverse, room));
    TSR_TRY(merge_sort(r, k + n / 2, n - n / 2, reverse, room));
    return merge(r, k, n / 2, n, reverse, room);
}

static tsr_status sort_list(tpl_render *r, const tpl_list *all, tpl_value attribute, bool keep_case,
                            bool reverse, tpl_value *out)
{
    void *p, *room;
    TSR_TRY(tsr_tpl_take(r, all->count * (int64_t)sizeof(keyed), &p));
    TSR_TRY(tsr_tpl_take(r, all->count * (int64_t)sizeof(keyed), &room));
    keyed *k = p;
    for (int64_t i = 0; i < all->count; i++) {
        k[i].item = all->items[i];
        TSR_TRY(key_of(r, k[i].item, attribute, keep_case, &k[i].key));
    }
    TSR_TRY(merge_sort(r, k, all->count, reverse, room));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, all->count, out));
    for (int64_t i = 0; i < all->count; i++) TSR_TRY(tsr_tpl_append(r, out->list, k[i].item));
    return TSR_OK;
}

FILTER(tsr_tpl_sort)
{
    const tpl_list *all;
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    return sort_list(r, all, arg[2], tsr_tpl_truth(arg[1]), tsr_tpl_truth(arg[0]), out);
}

FILTER(tsr_tpl_dictsort)
{
    tpl_value pairs;
    bool by_value = tsr_tpl_is_text(arg[1], "value");
    if (arg[1].kind != TPL_ABSENT && !by_value && !tsr_tpl_is_text(arg[1], "key"))
        return tsr_tpl_fail(r, "You can only sort by either \"key\" or \"value\"");
    if (v.kind != TPL_DICT) return tsr_tpl_fail(r, "dictsort needs a dict, found %s", tsr_tpl_type_name(v));
    TSR_TRY(tsr_tpl_items(r, v, arg, &pairs));
    return sort_list(r, pairs.list, tpl_int(by_value), tsr_tpl_truth(arg[0]), tsr_tpl_truth(arg[2]), out);
}

static tsr_status extreme(tpl_render *r, tpl_value v, const tpl_value *arg, int wanted, tpl_value *out)
{
    const tpl_list *all;
    tpl_value best = {0}, key;
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    if (all->count == 0) return tsr_tpl_undefined(r, out, "No aggregated item, sequence was empty.");
    for (int64_t i = 0; i < all->count; i++) {
        int way = wanted;
        TSR_TRY(key_of(r, all->items[i], arg[1], tsr_tpl_truth(arg[0]), &key));
        if (i > 0) TSR_TRY(tsr_tpl_compare(r, key, best, wanted < 0 ? "<" : ">", &way));
        if (wanted < 0 ? way >= 0 : way <= 0) continue;
        best = key;
        *out = all->items[i];
    }
    return TSR_OK;
}

FILTER(tsr_tpl_max)
{
    return extreme(r, v, arg, 1, out);
}

FILTER(tsr_tpl_min)
{
    return extreme(r, v, arg, -1, out);
}

FILTER(tsr_tpl_unique)
{
    const tpl_list *all;
    tpl_value seen, key;
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    TSR_TRY(generator(r, out));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, &seen));
    for (int64_t i = 0; i < all->count; i++) {
        bool known;
        TSR_TRY(key_of(r, all->items[i], arg[1], tsr_tpl_truth(arg[0]), &key));
        TSR_TRY(tsr_tpl_check_key(r, key));
        TSR_TRY(tsr_tpl_contains(r, seen, key, &known));
        if (known) continue;
        TSR_TRY(tsr_tpl_append(r, seen.list, key));
        TSR_TRY(tsr_tpl_append(r, out->list, all->items[i]));
    }
    return TSR_OK;
}

/* --- Combining --- */

static tsr_status attributes_of(tpl_render *r, tpl_value v, tpl_value attribute, tpl_value *out)
{
    const tpl_list *all;
    bool plain = attribute.kind == TPL_ABSENT || attribute.kind == TPL_NONE;
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, all->count, out));
    for (int64_t i = 0; i < all->count; i++) {
        tpl_value item = all->items[i];
        if (!plain) TSR_TRY(tsr_tpl_path(r, item, attribute, &item));
        TSR_TRY(tsr_tpl_append(r, out->list, item));
    }
    return TSR_OK;
}

FILTER(tsr_tpl_join_filter)
{
    tpl_value all, between = tpl_string("", 0);
    TSR_TRY(attributes_of(r, v, arg[1], &all));
    if (arg[0].kind != TPL_ABSENT) TSR_TRY(tsr_tpl_to_string(r, arg[0], &between));
    return tsr_tpl_join(r, between, all.list, out);
}

FILTER(tsr_tpl_sum)
{
    tpl_value all;
    TSR_TRY(attributes_of(r, v, arg[0], &all));
    *out = arg[1].kind == TPL_ABSENT ? tpl_int(0) : arg[1];
    if (out->kind == TPL_STRING) return tsr_tpl_fail(r, "sum() can't sum strings");
    for (int64_t i = 0; i < all.list->count; i++)
        TSR_TRY(tsr_tpl_binary(r, '+', *out, all.list->items[i], out));
    return TSR_OK;
}

/* --- Choosing, by filters and tests that are named --- */

/* What map and select go through: nothing where the value is false, whatever it is. */
static tsr_status elements_if_true(tpl_render *r, tpl_value v, const tpl_list **out)
{
    return tsr_tpl_elements(r, tsr_tpl_truth(v) ? v : tpl_string("", 0), out);
}

/* The arguments behind the first `n`. */
static void rest_of(const tpl_arguments *given, int n, tpl_arguments *out)
{
    out->n = given->n - n;
    memcpy(out->value, given->value + n, (size_t)out->n * sizeof out->value[0]);
    memcpy(out->keyword, given->keyword + n, (size_t)out->n * sizeof out->keyword[0]);
}

static tsr_status row_named(tpl_render *r, tpl_value name, int (*find)(const char *), const char *what,
                            int *out)
{
    char text[32] = "";
    if (name.kind == TPL_STRING && name.n < (int64_t)sizeof text) memcpy(text, name.bytes, (size_t)name.n);
    *out = find(text);
    if (*out < 0) return tsr_tpl_fail(r, "there is no %s \"%s\"", what, text);
    return TSR_OK;
}

static tsr_status map_attribute(tpl_render *r, const tpl_list *all, const tpl_arguments *given,
                                tpl_value *out)
{
    tpl_value attribute = {0}, otherwise = {0};
    for (int i = 0; i < given->n; i++) {
        if (!given->keyword[i]) return tsr_tpl_fail(r, "map takes attribute and default, or a filter");
        if (strcmp(given->keyword[i], "attribute") == 0)
            attribute = given->value[i];
        else if (strcmp(given->keyword[i], "default") == 0)
            otherwise = given->value[i];
        else
            return tsr_tpl_fail(r, "map() has no argument '%.80s'", given->keyword[i]);
    }
    for (int64_t i = 0; i < all->count; i++) {
        tpl_value item;
        TSR_TRY(tsr_tpl_path(r, all->items[i], attribute, &item));
        if (item.kind == TPL_UNDEFINED && otherwise.kind != TPL_ABSENT) item = otherwise;
        TSR_TRY(tsr_tpl_append(r, out->list, item));
    }
    return TSR_OK;
}

FILTER_ANY(tsr_tpl_map)
{
    const tpl_list *all;
    tpl_arguments rest;
    int row;
    TSR_TRY(elements_if_true(r, v, &all));
    TSR_TRY(generator(r, out));
    if (given->n == 0) return tsr_tpl_fail(r, "map requires a filter argument");
    if (given->keyword[0]) return map_attribute(r, all, given, out);
    TSR_TRY(row_named(r, given->value[0], tsr_tpl_filter_row, "filter", &row));
    rest_of(given, 1, &rest);
    TSR_TRY(tsr_tpl_enter(r));
    for (int64_t i = 0; i < all->count; i++) {
        tpl_value item;
        TSR_TRY(tsr_tpl_call_row(r, tsr_tpl_filter(row), all->items[i], &rest, &item));
        TSR_TRY(tsr_tpl_append(r, out->list, item));
    }
    r->depth--;
    return TSR_OK;
}

/* Those for which the test holds (or not); without a test, those that are true. by: of an attribute, the first argument. */
static tsr_status choose(tpl_render *r, tpl_value v, const tpl_arguments *given, bool by, bool wanted,
                         tpl_value *out)
{
    const tpl_list *all;
    tpl_arguments rest = {.n = 0};
    int row = -1;
    if (by && given->n == 0) return tsr_tpl_fail(r, "the name of an attribute is missing");
    TSR_TRY(elements_if_true(r, v, &all));
    TSR_TRY(generator(r, out));
    if (given->n > by) {
        TSR_TRY(row_named(r, given->value[by], tsr_tpl_check_row, "test", &row));
        rest_of(given, by + 1, &rest);
    }
    for (int64_t i = 0; i < all->count; i++) {
        tpl_value item = all->items[i];
        if (by) TSR_TRY(tsr_tpl_path(r, item, given->value[0], &item));
        if (row >= 0) TSR_TRY(tsr_tpl_call_row(r, tsr_tpl_check(row), item, &rest, &item));
        if (tsr_tpl_truth(item) == wanted) TSR_TRY(tsr_tpl_append(r, out->list, all->items[i]));
    }
    return TSR_OK;
}

FILTER_ANY(tsr_tpl_select)
{
    return choose(r, v, given, false, true, out);
}

FILTER_ANY(tsr_tpl_reject)
{
    return choose(r, v, given, false, false, out);
}

FILTER_ANY(tsr_tpl_selectattr)
{
    return choose(r, v, given, true, true, out);
}

FILTER_ANY(tsr_tpl_rejectattr)
{
    return choose(r, v, given, true, false, out);
}
