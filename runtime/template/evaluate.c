/* evaluate.c: expressions. */
#include "runtime/template/checks.h"
#include "runtime/template/filters.h"
#include "runtime/template/operators.h"

#include <string.h>

static tsr_status make_list(tpl_render *r, const tpl_node *node, tpl_form form, tpl_value *out)
{
    TSR_TRY(tsr_tpl_new_list(r, form, 0, out));
    for (const tpl_node *n = node->list; n; n = n->next) {
        tpl_value item;
        TSR_TRY(tsr_tpl_evaluate(r, n, &item));
        TSR_TRY(tsr_tpl_append(r, out->list, item));
    }
    return TSR_OK;
}

static tsr_status make_dict(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    TSR_TRY(tsr_tpl_new_dict(r, TPL_DICT, out));
    for (const tpl_node *n = node->list; n; n = n->next->next) {
        tpl_value key, value;
        TSR_TRY(tsr_tpl_evaluate(r, n, &key));
        TSR_TRY(tsr_tpl_evaluate(r, n->next, &value));
        TSR_TRY(tsr_tpl_put(r, out->dict, key, value));
    }
    return TSR_OK;
}

/* a < b < c is a < b and b < c, with b evaluated once. */
static tsr_status compare_chain(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value left, right;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &left));
    *out = tpl_bool(true);
    for (const tpl_node *n = node->list; n && out->truth; n = n->next, left = right) {
        const char op[3] = {(char)(n->op > 255 ? n->op >> 8 : n->op), (char)(n->op > 255 ? '=' : 0), 0};
        bool holds = false;
        int way = 0;
        TSR_TRY(tsr_tpl_evaluate(r, n->a, &right));
        if (n->op == 'i' || n->op == 'n')
            TSR_TRY(tsr_tpl_contains(r, right, left, &holds));
        else if (n->op == TPL_OP2('=', '=') || n->op == TPL_OP2('!', '='))
            TSR_TRY(tsr_tpl_equal(r, left, right, &holds));
        else
            TSR_TRY(tsr_tpl_compare(r, left, right, op, &way));
        bool nan = (left.kind == TPL_FLOAT && left.real != left.real) ||
                   (right.kind == TPL_FLOAT && right.real != right.real);
        if (op[0] == '<') holds = !nan && (way < 0 || (op[1] && way == 0));
        if (op[0] == '>') holds = !nan && (way > 0 || (op[1] && way == 0));
        *out = tpl_bool(holds != (n->op == 'n' || op[0] == '!'));
    }
    return TSR_OK;
}

static tsr_status concat(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value all;
    TSR_TRY(make_list(r, node, TPL_IS_LIST, &all));
    return tsr_tpl_join(r, tpl_string("", 0), all.list, out);
}

static tsr_status condition(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value when;
    TSR_TRY(tsr_tpl_evaluate(r, node->b, &when));
    if (tsr_tpl_truth(when)) return tsr_tpl_evaluate(r, node->a, out);
    if (node->c) return tsr_tpl_evaluate(r, node->c, out);
    return tsr_tpl_undefined(r, out, "the inline if-expression was false and has no else");
}

/* --- Calls --- */

static tsr_status add_argument(tpl_render *r, const char *keyword, tpl_value v, tpl_arguments *out)
{
    if (out->n == TPL_MOST_ARGUMENTS) return tsr_tpl_fail(r, "more than %d arguments", TPL_MOST_ARGUMENTS);
    for (int i = 0; keyword && i < out->n; i++)
        if (out->keyword[i] && strcmp(out->keyword[i], keyword) == 0)
            return tsr_tpl_fail(r, "argument '%.80s' is given twice", keyword);
    out->keyword[out->n] = keyword;
    out->value[out->n++] = v;
    return TSR_OK;
}

/* *list or **dict */
static tsr_status add_starred(tpl_render *r, int stars, tpl_value v, tpl_arguments *out)
{
    const tpl_list *all;
    if (stars == '*') {
        TSR_TRY(tsr_tpl_elements(r, v, &all));
        for (int64_t i = 0; i < all->count; i++) TSR_TRY(add_argument(r, NULL, all->items[i], out));
        return TSR_OK;
    }
    if (v.kind != TPL_DICT)
        return tsr_tpl_fail(r, "an argument after ** must be a mapping, not %s", tsr_tpl_type_name(v));
    for (int64_t i = 0; i < v.dict->count; i++) {
        tpl_value key = v.dict->keys[i];
        if (key.kind != TPL_STRING) return tsr_tpl_fail(r, "keywords must be strings");
        TSR_TRY(tsr_tpl_new_string(r, key.bytes, key.n, &key)); /* for its NUL */
        TSR_TRY(add_argument(r, key.bytes, v.dict->values[i], out));
    }
    return TSR_OK;
}

tsr_status tsr_tpl_arguments(tpl_render *r, const tpl_node *chain, tpl_arguments *out)
{
    out->n = 0;
    for (const tpl_node *n = chain; n; n = n->next) {
        tpl_value v;
        TSR_TRY(tsr_tpl_evaluate(r, n->a, &v));
        TSR_TRY(n->op ? add_starred(r, n->op, v, out) : add_argument(r, n->text, v, out));
    }
    return TSR_OK;
}

/* Where the parameter called `name`, or the one at `position`, stands among names with blanks between; -1. */
static int find_parameter(const char *names, const char *name, int position)
{
    int i = 0;
    for (const char *at = names; *at; i++) {
        size_t n = strcspn(at, " ");
        if (name ? strlen(name) == n && memcmp(at, name, n) == 0 : i == position) return i;
        at += n + (at[n] == ' ');
    }
    return -1;
}

tsr_status tsr_tpl_call_row(tpl_render *r, const tpl_row *row, tpl_value subject, const tpl_arguments *given,
                            tpl_value *out)
{
    tpl_value arg[TPL_MOST_PARAMETERS] = {0};
    TSR_TRY(tsr_tpl_step(r, 1));
    if (row->run_any) return row->run_any(r, subject, given, out);
    for (int i = 0; i < given->n; i++) {
        int at = find_parameter(row->parameters, given->keyword[i], i);
        if (at < 0 && given->keyword[i])
            return tsr_tpl_fail(r, "%s() has no argument '%.80s'", row->name, given->keyword[i]);
        if (at < 0) return tsr_tpl_fail(r, "%s() takes fewer arguments", row->name);
        if (arg[at].kind != TPL_ABSENT) return tsr_tpl_fail(r, "%s() got an argument twice", row->name);
        arg[at] = given->value[i];
    }
    for (int i = 0; i < row->needed; i++)
        if (arg[i].kind == TPL_ABSENT)
            return tsr_tpl_fail(r, "%s() needs %d arguments", row->name, row->needed);
    return row->run(r, subject, arg, out);
}

static tsr_status call_loop(tpl_render *r, tpl_loop *l, const tpl_arguments *given, tpl_value *out)
{
    tsr_text text, *before = r->out;
    tpl_scope *scope = r->scope;
    if (!l->node->op) return tsr_tpl_fail(r, "the loop is not recursive, so it cannot be called");
    if (given->n != 1) return tsr_tpl_fail(r, "loop() takes what to go through");
    TSR_TRY(tsr_text_init(&text, r->left.memory));
    r->out = &text;
    r->scope = l->scope;
    tsr_status s = tsr_tpl_run_loop(r, l->node, given->value[0], l->depth + 1);
    r->out = before;
    r->scope = scope;
    if (s == TSR_OK) s = tsr_tpl_new_string(r, text.data, text.length, out);
    tsr_text_free(&text);
    return s;
}

static tsr_status call_any(tpl_render *r, tpl_value callee, const tpl_arguments *given, tpl_value *out)
{
    tpl_callable *c = callee.callable;
    switch (c->kind) {
    case TPL_CALL_MACRO:
        return tsr_tpl_call_macro(r, c, given, (tpl_value){.kind = TPL_ABSENT}, out);
    case TPL_CALL_JOIN:
        *out = c->at++ ? c->self : tpl_string("", 0);
        return TSR_OK;
    default:
        return tsr_tpl_call_row(r, c->row, c->self, given, out);
    }
}

tsr_status tsr_tpl_call(tpl_render *r, tpl_value callee, const tpl_arguments *given, tpl_value *out)
{
    if (callee.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, callee);
    if (callee.kind != TPL_LOOP && callee.kind != TPL_CALLABLE)
        return tsr_tpl_fail(r, "'%s' object is not callable", tsr_tpl_type_name(callee));
    TSR_TRY(tsr_tpl_enter(r));
    TSR_TRY(callee.kind == TPL_LOOP ? call_loop(r, callee.loop, given, out)
                                    : call_any(r, callee, given, out));
    r->depth--;
    return TSR_OK;
}

static tsr_status call(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value callee;
    tpl_arguments given;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &callee));
    TSR_TRY(tsr_tpl_arguments(r, node->list, &given));
    r->line = node->line;
    return tsr_tpl_call(r, callee, &given, out);
}

tsr_status tsr_tpl_filter_value(tpl_render *r, const tpl_node *filters, tpl_value subject, tpl_value *out)
{
    tpl_arguments given;
    TSR_TRY(tsr_tpl_enter(r));
    if (filters->a && filters->a->kind == TPL_FILTER)
        TSR_TRY(tsr_tpl_filter_value(r, filters->a, subject, &subject));
    TSR_TRY(tsr_tpl_arguments(r, filters->list, &given));
    r->line = filters->line;
    TSR_TRY(tsr_tpl_call_row(r, tsr_tpl_filter(filters->row), subject, &given, out));
    r->depth--;
    return TSR_OK;
}

static tsr_status filter(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value subject;
    tpl_arguments given;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &subject));
    TSR_TRY(tsr_tpl_arguments(r, node->list, &given));
    r->line = node->line;
    return tsr_tpl_call_row(r, tsr_tpl_filter(node->row), subject, &given, out);
}

static tsr_status test(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value subject;
    tpl_arguments given;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &subject));
    TSR_TRY(tsr_tpl_arguments(r, node->list, &given));
    r->line = node->line;
    return tsr_tpl_call_row(r, tsr_tpl_check(node->row), subject, &given, out);
}

/* --- All of them --- */

static tsr_status two_operands(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value a, b;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &a));
    bool logic = node->kind == TPL_AND || node->kind == TPL_OR;
    if (logic && tsr_tpl_truth(a) == (node->kind == TPL_OR)) {
        *out = a;
        return TSR_OK;
    }
    if (logic) return tsr_tpl_evaluate(r, node->b, out);
    TSR_TRY(tsr_tpl_evaluate(r, node->b, &b));
    return node->kind == TPL_ITEM ? tsr_tpl_item(r, a, b, out) : tsr_tpl_binary(r, node->op, a, b, out);
}

static tsr_status one_operand(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    tpl_value v;
    TSR_TRY(tsr_tpl_evaluate(r, node->a, &v));
    if (node->kind == TPL_ATTRIBUTE) return tsr_tpl_attribute(r, v, node->text, out);
    if (node->kind == TPL_NOT) {
        *out = tpl_bool(!tsr_tpl_truth(v));
        return TSR_OK;
    }
    TSR_TRY(tsr_tpl_negative(r, v, out));
    return node->kind == TPL_POSITIVE ? tsr_tpl_negative(r, *out, out) : TSR_OK;
}

static tsr_status evaluate(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    switch (node->kind) {
    case TPL_CONST_NONE:
        return *out = tpl_none(), TSR_OK;
    case TPL_CONST_TRUE:
    case TPL_CONST_FALSE:
        return *out = tpl_bool(node->kind == TPL_CONST_TRUE), TSR_OK;
    case TPL_CONST_INTEGER:
        return *out = tpl_int(node->integer), TSR_OK;
    case TPL_CONST_REAL:
        return *out = tpl_float(node->real), TSR_OK;
    case TPL_CONST_STRING:
        return *out = tpl_string(node->text, node->n), TSR_OK;
    case TPL_NAME:
        return tsr_tpl_lookup(r, node->text, out);
    case TPL_MAKE_LIST:
        return make_list(r, node, TPL_IS_LIST, out);
    case TPL_MAKE_TUPLE:
        return make_list(r, node, TPL_IS_TUPLE, out);
    case TPL_MAKE_DICT:
        return make_dict(r, node, out);
    case TPL_SLICE:
        return tsr_tpl_slice(r, node, out);
    case TPL_CALL:
        return call(r, node, out);
    case TPL_FILTER:
        return filter(r, node, out);
    case TPL_TEST:
        return test(r, node, out);
    case TPL_ATTRIBUTE:
    case TPL_NOT:
    case TPL_NEGATIVE:
    case TPL_POSITIVE:
        return one_operand(r, node, out);
    case TPL_COMPARE:
        return compare_chain(r, node, out);
    case TPL_CONCAT:
        return concat(r, node, out);
    case TPL_CONDITION:
        return condition(r, node, out);
    default:
        return two_operands(r, node, out);
    }
}

tsr_status tsr_tpl_evaluate(tpl_render *r, const tpl_node *node, tpl_value *out)
{
    TSR_TRY(tsr_tpl_enter(r));
    TSR_TRY(tsr_tpl_step(r, 1));
    r->line = node->line;
    TSR_TRY(evaluate(r, node, out));
    r->depth--;
    return TSR_OK;
}
