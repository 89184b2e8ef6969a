/* methods.c: methods of lists, dicts and loops; finding any. */
#include "runtime/template/methods.h"

#include <string.h>

/* --- Dicts --- */

static tsr_status dict_get(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    TSR_TRY(tsr_tpl_check_key(r, arg[0]));
    TSR_TRY(tsr_tpl_get(r, v.dict, arg[0], out));
    if (out->kind == TPL_ABSENT) *out = arg[1].kind == TPL_ABSENT ? tpl_none() : arg[1];
    return TSR_OK;
}

static tsr_status view_of(tpl_render *r, tpl_value *items, int64_t n, const char *name, tpl_value *out)
{
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_VIEW, 0, out));
    out->list->items = items;
    out->list->count = n;
    out->list->name = name;
    return TSR_OK;
}

static tsr_status dict_keys(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return view_of(r, v.dict->keys, v.dict->count, "dict_keys", out);
}

static tsr_status dict_values(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    return view_of(r, v.dict->values, v.dict->count, "dict_values", out);
}

static tsr_status dict_items(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_VIEW, v.dict->count, out));
    out->list->name = "dict_items";
    for (int64_t i = 0; i < v.dict->count; i++) {
        tpl_value pair;
        TSR_TRY(tsr_tpl_new_pair(r, v.dict->keys[i], v.dict->values[i], &pair));
        TSR_TRY(tsr_tpl_append(r, out->list, pair));
    }
    return TSR_OK;
}

/* Nothing can be changed, so a copy is the thing itself. */
static tsr_status copy(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    (void)arg;
    *out = v;
    return tsr_tpl_step(r, 1);
}

static const tpl_row dict_methods[] = {
    {"get", dict_get, NULL, "key default", 1},
    {"keys", dict_keys, NULL, "", 0},
    {"values", dict_values, NULL, "", 0},
    {"items", dict_items, NULL, "", 0},
    {"copy", copy, NULL, "", 0},
    {0},
};

/* --- Lists --- */

static tsr_status list_count(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < v.list->count; i++) {
        bool same;
        TSR_TRY(tsr_tpl_equal(r, v.list->items[i], arg[0], &same));
        n += same;
    }
    *out = tpl_int(n);
    return TSR_OK;
}

static tsr_status list_index(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)
{
    for (int64_t i = 0; i < v.list->count; i++) {
        bool same;
        TSR_TRY(tsr_tpl_equal(r, v.list->items[i], arg[0], &same));
        *out = tpl_int(i);
        if (same) return TSR_OK;
    }
    return tsr_tpl_fail(r, "the value is not in the list");
}

static const tpl_row list_methods[] = {
    {"count", list_count, NULL, "value", 1},
    {"index", list_index, NULL, "value", 1},
    {"copy", copy, NULL, "", 0},
    {0},
};

/* --- Loops --- */

static tsr_status loop_cycle(tpl_render *r, tpl_value v, const tpl_arguments *given, tpl_value *out)
{
    if (given->n == 0) return tsr_tpl_fail(r, "no items for cycling given");
    *out = given->value[v.loop->at % given->n];
    return TSR_OK;
}

static tsr_status loop_changed(tpl_render *r, tpl_value v, const tpl_arguments *given, tpl_value *out)
{
    tpl_value now;
    bool same = false;
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_TUPLE, given->n, &now));
    for (int i = 0; i < given->n; i++) TSR_TRY(tsr_tpl_append(r, now.list, given->value[i]));
    if (v.loop->last.kind != TPL_ABSENT) TSR_TRY(tsr_tpl_equal(r, v.loop->last, now, &same));
    v.loop->last = now;
    *out = tpl_bool(!same);
    return TSR_OK;
}

static const tpl_row loop_methods[] = {
    {"cycle", NULL, loop_cycle, "*", 0},
    {"changed", NULL, loop_changed, "*", 0},
    {0},
};

/* --- Finding --- */

static const tpl_row *table_of(tpl_value v)
{
    bool list = v.kind == TPL_LIST && (v.list->form == TPL_IS_LIST || v.list->form == TPL_IS_TUPLE);
    return v.kind == TPL_STRING ? tsr_tpl_string_methods
           : v.kind == TPL_DICT ? dict_methods
           : v.kind == TPL_LOOP ? loop_methods
           : list               ? list_methods
                                : NULL;
}

static bool is_refused(tpl_value v, const char *name)
{
    static const char *const of_lists[] = {"append", "clear",  "extend",  "insert",
                                           "pop",    "remove", "reverse", "sort"};
    static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update"};
    if (strncmp(name, "__", 2) == 0) return true;
    for (size_t i = 0; i < 8 && v.kind == TPL_LIST && v.list->form == TPL_IS_LIST; i++)
        if (strcmp(name, of_lists[i]) == 0) return true;
    for (size_t i = 0; i < 5 && v.kind == TPL_DICT; i++)
        if (strcmp(name, of_dicts[i]) == 0) return true;
    return false;
}

tsr_status tsr_tpl_method(tpl_render *r, tpl_value v, const char *name, tpl_value *out)
{
    void *p;
    out->kind = TPL_ABSENT;
    if (is_refused(v, name))
        return tsr_tpl_undefined(r, out, "access to attribute '%.80s' of '%s' object is unsafe", name,
                                 tsr_tpl_type_name(v));
    for (const tpl_row *row = table_of(v); row && row->name; row++) {
        if (strcmp(row->name, name) != 0) continue;
        TSR_TRY(tsr_tpl_take(r, sizeof(tpl_callable), &p));
        *out = (tpl_value){.kind = TPL_CALLABLE, .callable = p};
        *out->callable = (tpl_callable){.kind = TPL_CALL_ROW, .row = row, .self = v};
        return TSR_OK;
    }
    return TSR_OK;
}
