/* access.c: a.b, a[b] and a[b:c:d]. */
#include "runtime/template/methods.h"
#include "runtime/template/operators.h"
#include "runtime/template/print.h"
#include "runtime/template/render.h"

#include <stdlib.h>
#include <string.h>

/* Attributes of a loop that are values. */
static tsr_status loop_attribute(tpl_render *r, tpl_loop *l, const char *name, tpl_value *out)
{
    int64_t n = l->items->count, i = l->at;
    const struct {
        const char *name;
        tpl_value value;
    } known[] = {
        {"index", tpl_int(i + 1)},     {"index0", tpl_int(i)},
        {"revindex", tpl_int(n - i)},  {"revindex0", tpl_int(n - i - 1)},
        {"first", tpl_bool(i == 0)},   {"last", tpl_bool(i == n - 1)},
        {"length", tpl_int(n)},        {"depth", tpl_int(l->depth + 1)},
        {"depth0", tpl_int(l->depth)},
    };
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
        if (strcmp(known[k].name, name) == 0) {
            *out = known[k].value;
            return TSR_OK;
        }
    bool previous = strcmp(name, "previtem") == 0, next = strcmp(name, "nextitem") == 0;
    if (previous && i > 0)
        *out = l->items->items[i - 1];
    else if (next && i + 1 < n)
        *out = l->items->items[i + 1];
    else if (previous || next)
        return tsr_tpl_undefined(r, out, "there is no %s item", previous ? "previous" : "next");
    return TSR_OK;
}

/* What it is called in messages. */
static const char *object_name(tpl_value v)
{
    return v.kind == TPL_NONE ? "None" : tsr_tpl_type_name(v);
}

tsr_status tsr_tpl_attribute(tpl_render *r, tpl_value v, const char *name, tpl_value *out)
{
    if (v.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, v);
    out->kind = TPL_ABSENT;
    if (v.kind == TPL_LOOP) TSR_TRY(loop_attribute(r, v.loop, name, out));
    if (out->kind == TPL_ABSENT && v.kind != TPL_NAMESPACE) TSR_TRY(tsr_tpl_method(r, v, name, out));
    if (out->kind == TPL_ABSENT && (v.kind == TPL_DICT || v.kind == TPL_NAMESPACE))
        TSR_TRY(tsr_tpl_get_text(r, v.dict, name, out));
    if (out->kind != TPL_ABSENT) return TSR_OK;
    return tsr_tpl_undefined(r, out, "'%s object' has no attribute '%.80s'", object_name(v), name);
}

static bool is_sequence(tpl_value v)
{
    return v.kind == TPL_LIST && v.list->form != TPL_IS_GENERATOR && v.list->form != TPL_IS_VIEW;
}

static tsr_status element(tpl_render *r, tpl_value v, int64_t at, tpl_value *out)
{
    int64_t n;
    TSR_TRY(tsr_tpl_length(r, v, &n));
    if (at < 0) at += n;
    if (at < 0 || at >= n)
        return tsr_tpl_undefined(r, out, "%s object has no element %lld", tsr_tpl_type_name(v),
                                 (long long)at);
    *out = v.kind == TPL_LIST ? v.list->items[at] : tsr_tpl_cut(v, at, at + 1);
    return TSR_OK;
}

tsr_status tsr_tpl_item(tpl_render *r, tpl_value v, tpl_value key, tpl_value *out)
{
    tpl_value name;
    bool whole = key.kind == TPL_INT || key.kind == TPL_BOOL;
    if (v.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, v);
    out->kind = TPL_ABSENT;
    if (v.kind == TPL_DICT && key.kind != TPL_DICT &&
        !(key.kind == TPL_LIST && key.list->form != TPL_IS_TUPLE))
        TSR_TRY(tsr_tpl_get(r, v.dict, key, out));
    if ((is_sequence(v) || v.kind == TPL_STRING) && whole)
        return element(r, v, key.kind == TPL_BOOL ? key.truth : key.integer, out);
    if (out->kind != TPL_ABSENT) return TSR_OK;
    if (key.kind != TPL_STRING)
        return tsr_tpl_undefined(r, out, "'%s object' has no such element", object_name(v));
    TSR_TRY(tsr_tpl_new_string(r, key.bytes, key.n, &name)); /* for its NUL */
    return tsr_tpl_attribute(r, v, name.bytes, out);
}

/* One bound of a slice: `otherwise` if there is none, else into [low, high]. */
static tsr_status bound(tpl_render *r, const tpl_node *node, int64_t n, int64_t low, int64_t high,
                        int64_t otherwise, int64_t *out)
{
    tpl_value v = tpl_none();
    if (node) TSR_TRY(tsr_tpl_evaluate(r, node, &v));
    *out = otherwise;
    if (v.kind == TPL_NONE) return TSR_OK;
    if (v.kind != TPL_INT && v.kind != TPL_BOOL)
        return tsr_tpl_fail(r, "slice indices must be integers or None, not %s", tsr_tpl_type_name(v));
    int64_t i = v.kind == TPL_BOOL ? v.truth : v.integer;
    if (i < 0) i = i < -n ? low : i + n;
    *out = i < low ? low : i > high ? high : i;
    return TSR_OK;
}

static tsr_status slice_step(tpl_render *r, const tpl_node *node, int64_t *out)
{
    tpl_value v = tpl_none();
    if (node) TSR_TRY(tsr_tpl_evaluate(r, node, &v));
    *out = v.kind == TPL_BOOL ? v.truth : v.kind == TPL_INT ? v.integer : 1;
    if (v.kind != TPL_NONE && v.kind != TPL_INT && v.kind != TPL_BOOL)
        return tsr_tpl_fail(r, "slice indices must be integers or None, not %s", tsr_tpl_type_name(v));
    if (*out == 0) return tsr_tpl_fail(r, "slice step cannot be zero");
    if (*out > INT32_MAX) *out = INT32_MAX;
    if (*out < -INT32_MAX) *out = -INT32_MAX;
    return TSR_OK;
}

static tsr_status take_every(tpl_render *r, tpl_value v, int64_t from, int64_t to, int64_t step,
                             tpl_value *out)
{
    const tpl_list *all;
    TSR_TRY(tsr_tpl_elements(r, v, &all));
    TSR_TRY(tsr_tpl_new_list(
        r, v.kind == TPL_LIST && v.list->form == TPL_IS_TUPLE ? TPL_IS_TUPLE : TPL_IS_LIST, 0, out));
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        TSR_TRY(tsr_tpl_append(r, out->list, all->items[i]));
    return v.kind == TPL_STRING ? tsr_tpl_join(r, tpl_string("", 0), out->list, out) : TSR_OK;
}

tsr_status tsr_tpl_slice(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value v;
    int64_t n, from, to, step;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &v));
    if (v.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, v);
    if (!is_sequence(v) && v.kind != TPL_STRING)
        return tsr_tpl_fail(r, "'%s' object cannot be cut", tsr_tpl_type_name(v));
    TSR_TRY(tsr_tpl_length(r, v, &n));
    TSR_TRY(slice_step(r, node->d, &step));
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    TSR_TRY(bound(r, node->b, n, low, high, step > 0 ? 0 : n - 1, &from));
    TSR_TRY(bound(r, node->c, n, low, high, step > 0 ? n : -1, &to));
    if (v.kind == TPL_STRING && step == 1) {
        *out = tsr_tpl_cut(v, from, to);
        return tsr_tpl_step(r, v.n / 16);
    }
    return take_every(r, v, from, to, step, out);
}

tsr_status tsr_tpl_path(tpl_render *r, tpl_value v, tpl_value path, tpl_value *out)
{
    *out = v;
    if (path.kind == TPL_INT) return tsr_tpl_item(r, v, path, out);
    if (path.kind != TPL_STRING) return tsr_tpl_fail(r, "an attribute must be a name or a number");
    for (int64_t at = 0; at <= path.n;) {
        const char *dot = memchr(path.bytes + at, '.', (size_t)(path.n - at));
        int64_t end = dot ? dot - path.bytes : path.n;
        tpl_value part = tpl_string(path.bytes + at, end - at);
        bool digits = part.n > 0 && part.n < 18;
        for (int64_t i = 0; i < part.n; i++) digits &= part.bytes[i] >= '0' && part.bytes[i] <= '9';
        if (digits) {
            int64_t number = 0;
            for (int64_t i = 0; i < part.n; i++) number = number * 10 + part.bytes[i] - '0';
            part = tpl_int(number);
        }
        TSR_TRY(tsr_tpl_item(r, *out, part, out));
        at = end + 1;
    }
    return TSR_OK;
}
