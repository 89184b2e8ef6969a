/* run.c: statements. */
#include "runtime/template/print.h"
#include "runtime/template/render.h"

#include <string.h>

static tsr_status write_out(tpl_render *r, const char *bytes, int64_t n)
{
    TSR_TRY(tsr_tpl_step(r, n / 16));
    r->left.output -= n;
    if (r->left.output < 0)
        return tsr_fail(TSR_ERR_CAPACITY, "%s: line %d: the template writes more than it may", r->name,
                        r->line);
    return tsr_text_append(r->out, bytes, n);
}

tsr_status tsr_tpl_capture(tpl_render *r, const tpl_node *chain, tpl_value *out)
{
    tsr_text text, *before = r->out;
    TSR_TRY(tsr_text_init(&text, r->left.memory));
    r->out = &text;
    tsr_status s = tsr_tpl_run(r, chain);
    r->out = before;
    if (s == TSR_OK) s = tsr_tpl_new_string(r, text.data, text.length, out);
    tsr_text_free(&text);
    return s;
}

/* --- Assigning --- */

static tsr_status assign_attribute(tpl_render *r, const tpl_node *target, tpl_value value)
{
    tpl_value space;
    TSR_TRY(tsr_tpl_lookup(r, target->a->text, &space));
    if (space.kind != TPL_NAMESPACE)
        return tsr_tpl_fail(r, "cannot assign attribute on non-namespace object");
    return tsr_tpl_put(r, space.dict, tpl_string(target->text, target->n), value);
}

tsr_status tsr_tpl_assign(tpl_render *r, const tpl_node *target, tpl_value value)
{
    const tpl_list *parts;
    int64_t i = 0;
    if (target->kind == TPL_NAME) return tsr_tpl_bind(r, target->text, value);
    if (target->kind == TPL_ATTRIBUTE) return assign_attribute(r, target, value);
    TSR_TRY(tsr_tpl_enter(r));
    TSR_TRY(tsr_tpl_elements(r, value, &parts));
    for (const tpl_node *n = target->list; n; n = n->next, i++) {
        if (i >= parts->count) return tsr_tpl_fail(r, "not enough values to unpack");
        TSR_TRY(tsr_tpl_assign(r, n, parts->items[i]));
    }
    if (i < parts->count) return tsr_tpl_fail(r, "too many values to unpack");
    r->depth--;
    return TSR_OK;
}

static tsr_status set(tpl_render *r, const tpl_node *node)
{
    tpl_value v;
    TSR_TRY(tsr_tpl_evaluate(r, node->b, &v));
    return tsr_tpl_assign(r, node->a, v);
}

/* What a body writes, in a scope of its own, through filters if there are. */
static tsr_status captured_apart(tpl_render *r, const tpl_node *body, const tpl_node *filters, tpl_value *out)
{
    tpl_scope *scope = r->scope;
    TSR_TRY(tsr_tpl_push_scope(r, scope));
    TSR_TRY(tsr_tpl_capture(r, body, out));
    r->scope = scope;
    return filters ? tsr_tpl_filter_value(r, filters, *out, out) : TSR_OK;
}

static tsr_status set_block(tpl_render *r, const tpl_node *node)
{
    tpl_value v;
    TSR_TRY(captured_apart(r, node->list, node->b, &v));
    return tsr_tpl_assign(r, node->a, v);
}

static tsr_status filter_block(tpl_render *r, const tpl_node *node)
{
    tpl_value v;
    TSR_TRY(captured_apart(r, node->list, node->a, &v));
    if (v.kind != TPL_STRING)
        return tsr_tpl_fail(r, "the filter of a block must give text, not %s", tsr_tpl_type_name(v));
    return write_out(r, v.bytes, v.n);
}

/* --- Loops --- */

/* The elements for which the loop's `if` holds; the target is set for each, and no loop is there. */
static tsr_status choose(tpl_render *r, const tpl_node *node, const tpl_list *all, const tpl_list **out)
{
    tpl_value chosen, holds;
    tpl_scope *scope = r->scope;
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, &chosen));
    for (int64_t i = 0; i < all->count; i++) {
        TSR_TRY(tsr_tpl_push_scope(r, scope));
        TSR_TRY(tsr_tpl_assign(r, node->a, all->items[i]));
        TSR_TRY(tsr_tpl_evaluate(r, node->c, &holds));
        if (tsr_tpl_truth(holds)) TSR_TRY(tsr_tpl_append(r, chosen.list, all->items[i]));
    }
    r->scope = scope;
    *out = chosen.list;
    return TSR_OK;
}

static tsr_status rounds(tpl_render *r, tpl_loop *l)
{
    for (; l->at < l->items->count && r->flow != TPL_LEAVE_LOOP; l->at++) {
        TSR_TRY(tsr_tpl_push_scope(r, l->scope));
        TSR_TRY(tsr_tpl_bind(r, "loop", (tpl_value){.kind = TPL_LOOP, .loop = l}));
        TSR_TRY(tsr_tpl_assign(r, l->node->a, l->items->items[l->at]));
        TSR_TRY(tsr_tpl_run(r, l->node->list));
        if (r->flow == TPL_NEXT_ROUND) r->flow = TPL_GO_ON;
    }
    r->flow = TPL_GO_ON;
    return TSR_OK;
}

tsr_status tsr_tpl_run_loop(tpl_render *r, const tpl_node *node, tpl_value items, int64_t depth)
{
    void *p;
    tpl_scope *scope = r->scope;
    TSR_TRY(tsr_tpl_take(r, sizeof(tpl_loop), &p));
    tpl_loop *l = p;
    *l = (tpl_loop){.node = node, .depth = depth, .scope = scope};
    TSR_TRY(tsr_tpl_elements(r, items, &l->items));
    if (node->c) TSR_TRY(choose(r, node, l->items, &l->items));
    if (l->items->count > 0) {
        TSR_TRY(rounds(r, l));
    } else {
        TSR_TRY(tsr_tpl_push_scope(r, scope));
        TSR_TRY(tsr_tpl_run(r, node->other));
    }
    r->scope = scope;
    return TSR_OK;
}

static tsr_status loop(tpl_render *r, const tpl_node *node)
{
    tpl_value items;
    TSR_TRY(tsr_tpl_evaluate(r, node->b, &items));
    return tsr_tpl_run_loop(r, node, items, 0);
}

/* --- Macros --- */

static tsr_status make_macro(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    void *p;
    TSR_TRY(tsr_tpl_take(r, sizeof(tpl_callable), &p));
    *out = (tpl_value){.kind = TPL_CALLABLE, .callable = p};
    *out->callable = (tpl_callable){.kind = TPL_CALL_MACRO, .macro = node, .scope = r->scope};
    return TSR_OK;
}

static const tpl_value *find_argument(const tpl_arguments *given, const tpl_node *parameter, int position)
{
    for (int i = 0; i < given->n; i++) {
        const char *keyword = given->keyword[i], *name = parameter->text;
        bool same = keyword ? strcmp(keyword, name) == 0 : i == position;
        if (same) return &given->value[i];
    }
    return NULL;
}

static tsr_status bind_parameters(tpl_render *r, const tpl_callable *c, const tpl_arguments *given)
{
    int position = 0, used = 0;
    for (const tpl_node *n = c->macro->list; n; n = n->next, position++) {
        tpl_value v;
        const tpl_value *stated = find_argument(given, n, position);
        used += stated != NULL;
        if (stated)
            v = *stated;
        else if (n->a)
            TSR_TRY(tsr_tpl_evaluate(r, n->a, &v));
        else
            TSR_TRY(tsr_tpl_undefined(r, &v, "parameter '%.80s' was not provided", n->text));
        TSR_TRY(tsr_tpl_bind(r, n->text, v));
    }
    if (used < given->n)
        return tsr_tpl_fail(r, "macro '%.80s' takes other arguments",
                            c->macro->text ? c->macro->text : "caller");
    return TSR_OK;
}

tsr_status tsr_tpl_call_macro(tpl_render *r, const tpl_callable *c, const tpl_arguments *given,
                              tpl_value caller, tpl_value *out)
{
    tpl_scope *scope = r->scope;
    TSR_TRY(tsr_tpl_push_scope(r, c->scope));
    if (caller.kind != TPL_ABSENT) TSR_TRY(tsr_tpl_bind(r, "caller", caller));
    TSR_TRY(bind_parameters(r, c, given));
    TSR_TRY(tsr_tpl_capture(r, c->macro->other, out));
    r->scope = scope;
    return TSR_OK;
}

static tsr_status macro(tpl_render *r, const tpl_node *node)
{
    tpl_value m;
    TSR_TRY(make_macro(r, node, &m));
    return tsr_tpl_bind(r, node->text, m);
}

static tsr_status call_block(tpl_render *r, const tpl_node *node)
{
    tpl_value callee, body, out;
    tpl_arguments given;
    TSR_TRY(make_macro(r, node, &body));
    TSR_TRY(tsr_tpl_evaluate(r, node->a->a, &callee));
    TSR_TRY(tsr_tpl_arguments(r, node->a->list, &given));
    if (callee.kind != TPL_CALLABLE || callee.callable->kind != TPL_CALL_MACRO)
        return tsr_tpl_fail(r, "call needs a macro, found %s", tsr_tpl_type_name(callee));
    TSR_TRY(tsr_tpl_call_macro(r, callee.callable, &given, body, &out));
    return write_out(r, out.bytes, out.n);
}

/* --- All of them --- */

static tsr_status branch(tpl_render *r, const tpl_node *node)
{
    for (const tpl_node *b = node->list; b; b = b->next) {
        tpl_value when = tpl_bool(true);
        if (b->a) TSR_TRY(tsr_tpl_evaluate(r, b->a, &when));
        if (tsr_tpl_truth(when)) return tsr_tpl_run(r, b->list);
    }
    return TSR_OK;
}

/* All values are found before any name is set. */
static tsr_status scope(tpl_render *r, const tpl_node *node)
{
    tpl_scope *before = r->scope, *inner;
    TSR_TRY(tsr_tpl_push_scope(r, before));
    inner = r->scope;
    for (const tpl_node *n = node->list; n; n = n->next) {
        tpl_value v;
        r->scope = before;
        TSR_TRY(tsr_tpl_evaluate(r, n->b, &v));
        r->scope = inner;
        TSR_TRY(tsr_tpl_assign(r, n->a, v));
    }
    TSR_TRY(tsr_tpl_run(r, node->other));
    r->scope = before;
    return TSR_OK;
}

static tsr_status print(tpl_render *r, const tpl_node *node)
{
    tpl_value v;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &v));
    TSR_TRY(tsr_tpl_to_string(r, v, &v));
    return write_out(r, v.bytes, v.n);
}

static tsr_status run_one(tpl_render *r, const tpl_node *node)
{
    switch (node->kind) {
    case TPL_DATA:
        return write_out(r, node->text, node->n);
    case TPL_PRINT:
        return print(r, node);
    case TPL_IF:
        return branch(r, node);
    case TPL_FOR:
        return loop(r, node);
    case TPL_SET:
        return set(r, node);
    case TPL_SET_BLOCK:
        return set_block(r, node);
    case TPL_SCOPE:
        return scope(r, node);
    case TPL_MACRO:
        return macro(r, node);
    case TPL_CALL_BLOCK:
        return call_block(r, node);
    case TPL_FILTER_BLOCK:
        return filter_block(r, node);
    default:
        r->flow = node->kind == TPL_BREAK ? TPL_LEAVE_LOOP : TPL_NEXT_ROUND;
        return TSR_OK;
    }
}

tsr_status tsr_tpl_run(tpl_render *r, const tpl_node *chain)
{
    TSR_TRY(tsr_tpl_enter(r));
    for (const tpl_node *n = chain; n && r->flow == TPL_GO_ON; n = n->next) {
        r->line = n->line;
        TSR_TRY(tsr_tpl_step(r, 1));
        TSR_TRY(run_one(r, n));
    }
    r->depth--;
    return TSR_OK;
}
