/* parse_expression.c: expressions, one function a level of precedence. */
#include "runtime/template/checks.h"
#include "runtime/template/filters.h"
#include "runtime/template/syntax.h"

#include <string.h>

typedef tsr_status (*level)(tpl_parser *p, tpl_node **out);

static tsr_status parse_unary(tpl_parser *p, bool filters, tpl_node **out);

/* --- Pieces --- */

static tsr_status enter(tpl_parser *p)
{
    if (++p->depth > TPL_DEEPEST_SYNTAX)
        return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: nested more than %d deep", p->name, p->at->line,
                        TPL_DEEPEST_SYNTAX);
    return TSR_OK;
}

static tsr_status need_operator(tpl_parser *p, int op)
{
    char expected[8] = {'\'', (char)op, '\'', 0};
    return tsr_tpl_skip_operator(p, op) ? TSR_OK : tsr_tpl_wrong(p, expected);
}

/* One argument; *past: what has been seen of " * =" so far, as bits 1 (starred), 2 (named), 4 (two stars). */
static tsr_status parse_argument(tpl_parser *p, int *past, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_ARGUMENT, out));
    if (tsr_tpl_skip_operator(p, '*')) {
        (*out)->op = '*';
        if (*past) return tsr_tpl_wrong(p, "a starred argument before named ones, and one only");
        *past |= 1;
    } else if (tsr_tpl_skip_operator(p, TPL_OP2('*', '*'))) {
        (*out)->op = TPL_OP2('*', '*');
        if (*past & 4) return tsr_tpl_wrong(p, "one argument with two stars only");
        *past |= 4;
    } else if (p->at->kind == TPL_TOKEN_NAME && p->at[1].kind == TPL_TOKEN_OPERATOR && p->at[1].op == '=') {
        (*out)->text = p->at->text;
        p->at += 2;
        if (*past & 4) return tsr_tpl_wrong(p, "named arguments before two stars");
        *past |= 2;
    } else if (*past) {
        return tsr_tpl_wrong(p, "a name for this argument, as one before has it or stars");
    }
    return tsr_tpl_expression(p, true, &(*out)->a);
}

/* Up to ')', which is taken. */
static tsr_status parse_arguments(tpl_parser *p, tpl_node **out)
{
    int past = 0;
    for (; !tsr_tpl_skip_operator(p, ')'); out = &(*out)->next) {
        TSR_TRY(parse_argument(p, &past, out));
        if (!tsr_tpl_at_operator(p, ')')) TSR_TRY(need_operator(p, ','));
    }
    return TSR_OK;
}

static tsr_status parse_list(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_MAKE_LIST, out));
    for (tpl_node **next = &(*out)->list; !tsr_tpl_skip_operator(p, ']'); next = &(*next)->next) {
        TSR_TRY(tsr_tpl_expression(p, true, next));
        if (!tsr_tpl_at_operator(p, ']')) TSR_TRY(need_operator(p, ','));
    }
    return TSR_OK;
}

static tsr_status parse_dict(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_MAKE_DICT, out));
    for (tpl_node **next = &(*out)->list; !tsr_tpl_skip_operator(p, '}'); next = &(*next)->next) {
        TSR_TRY(tsr_tpl_expression(p, true, next));
        TSR_TRY(need_operator(p, ':'));
        next = &(*next)->next;
        TSR_TRY(tsr_tpl_expression(p, true, next));
        if (!tsr_tpl_at_operator(p, '}')) TSR_TRY(need_operator(p, ','));
    }
    return TSR_OK;
}

/* Strings that follow one another are one. */
static tsr_status parse_strings(tpl_parser *p, tpl_node *node)
{
    int64_t n = 0;
    void *bytes;
    const tpl_token *first = p->at;
    for (; p->at->kind == TPL_TOKEN_STRING; p->at++) n += p->at->n;
    TSR_TRY(tsr_arena_alloc(p->arena, n + 1, &bytes));
    node->text = bytes;
    node->n = n;
    for (char *to = bytes; first < p->at; to += first++->n) memcpy(to, first->text, (size_t)first->n);
    return TSR_OK;
}

static tpl_node_kind name_kind(const char *name)
{
    if (strcmp(name, "true") == 0 || strcmp(name, "True") == 0) return TPL_CONST_TRUE;
    if (strcmp(name, "false") == 0 || strcmp(name, "False") == 0) return TPL_CONST_FALSE;
    return strcmp(name, "none") == 0 || strcmp(name, "None") == 0 ? TPL_CONST_NONE : TPL_NAME;
}

static tsr_status parse_paren(tpl_parser *p, tpl_node **out)
{
    if (tsr_tpl_skip_operator(p, ')')) return tsr_tpl_node(p, TPL_MAKE_TUPLE, out);
    TSR_TRY(tsr_tpl_tuple(p, true, out));
    return need_operator(p, ')');
}

static tsr_status parse_primary(tpl_parser *p, tpl_node **out)
{
    const tpl_token *t = p->at;
    if (tsr_tpl_skip_operator(p, '(')) return parse_paren(p, out);
    if (tsr_tpl_skip_operator(p, '[')) return parse_list(p, out);
    if (tsr_tpl_skip_operator(p, '{')) return parse_dict(p, out);
    switch (t->kind) {
    case TPL_TOKEN_NAME:
        TSR_TRY(tsr_tpl_node(p, name_kind(t->text), out));
        break;
    case TPL_TOKEN_STRING:
        TSR_TRY(tsr_tpl_node(p, TPL_CONST_STRING, out));
        return parse_strings(p, *out);
    case TPL_TOKEN_INTEGER:
        TSR_TRY(tsr_tpl_node(p, TPL_CONST_INTEGER, out));
        (*out)->integer = t->integer;
        break;
    case TPL_TOKEN_REAL:
        TSR_TRY(tsr_tpl_node(p, TPL_CONST_REAL, out));
        (*out)->real = t->real;
        break;
    default:
        return tsr_tpl_wrong(p, "an expression");
    }
    (*out)->text = t->text;
    (*out)->n = t->n;
    p->at++;
    return TSR_OK;
}

/* --- What follows a value --- */

/* a[b], a[b:c:d], a[b, c]; '[' has been taken. */
static tsr_status parse_subscript(tpl_parser *p, tpl_node *subject, tpl_node **out)
{
    tpl_node *node;
    TSR_TRY(tsr_tpl_node(p, TPL_ITEM, &node));
    node->a = subject;
    *out = node;
    if (!tsr_tpl_at_operator(p, ':')) TSR_TRY(tsr_tpl_tuple(p, true, &node->b));
    if (tsr_tpl_skip_operator(p, ']')) return TSR_OK;
    node->kind = TPL_SLICE;
    TSR_TRY(need_operator(p, ':'));
    if (!tsr_tpl_at_operator(p, ':') && !tsr_tpl_at_operator(p, ']'))
        TSR_TRY(tsr_tpl_expression(p, true, &node->c));
    if (tsr_tpl_skip_operator(p, ':') && !tsr_tpl_at_operator(p, ']'))
        TSR_TRY(tsr_tpl_expression(p, true, &node->d));
    return need_operator(p, ']');
}

static tsr_status parse_dot(tpl_parser *p, tpl_node *subject, tpl_node **out)
{
    tpl_node *node;
    bool index = p->at->kind == TPL_TOKEN_INTEGER;
    if (!index && p->at->kind != TPL_TOKEN_NAME) return tsr_tpl_wrong(p, "a name behind '.'");
    TSR_TRY(tsr_tpl_node(p, index ? TPL_ITEM : TPL_ATTRIBUTE, &node));
    node->a = subject;
    node->text = p->at->text;
    node->n = p->at->n;
    if (index) TSR_TRY(parse_primary(p, &node->b));
    if (!index) p->at++;
    *out = node;
    return TSR_OK;
}

static tsr_status parse_call(tpl_parser *p, tpl_node *subject, tpl_node **out)
{
    tpl_node *node;
    TSR_TRY(tsr_tpl_node(p, TPL_CALL, &node));
    node->a = subject;
    *out = node;
    return parse_arguments(p, &node->list);
}

static tsr_status parse_postfix(tpl_parser *p, tpl_node **subject)
{
    for (;;) {
        if (tsr_tpl_skip_operator(p, '.'))
            TSR_TRY(parse_dot(p, *subject, subject));
        else if (tsr_tpl_skip_operator(p, '['))
            TSR_TRY(parse_subscript(p, *subject, subject));
        else if (tsr_tpl_skip_operator(p, '('))
            TSR_TRY(parse_call(p, *subject, subject));
        else
            return TSR_OK;
    }
}

static tsr_status parse_filter(tpl_parser *p, tpl_node *subject, tpl_node **out)
{
    tpl_node *node;
    if (p->at->kind != TPL_TOKEN_NAME) return tsr_tpl_wrong(p, "the name of a filter");
    TSR_TRY(tsr_tpl_node(p, TPL_FILTER, &node));
    node->a = subject;
    node->text = p->at->text;
    node->row = tsr_tpl_filter_row(node->text);
    if (node->row < 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: there is no filter \"%s\"", p->name, node->line,
                        node->text);
    p->at++;
    *out = node;
    return tsr_tpl_skip_operator(p, '(') ? parse_arguments(p, &node->list) : TSR_OK;
}

tsr_status tsr_tpl_filters(tpl_parser *p, tpl_node *subject, bool inline_start, tpl_node **out)
{
    *out = subject;
    while (inline_start || tsr_tpl_skip_operator(p, '|')) {
        TSR_TRY(parse_filter(p, *out, out));
        inline_start = false;
    }
    return TSR_OK;
}

/* Whether an argument without brackets follows the name of a test. */
static bool at_bare_argument(const tpl_parser *p)
{
    switch (p->at->kind) {
    case TPL_TOKEN_NAME:
        return !tsr_tpl_at_name(p, "else") && !tsr_tpl_at_name(p, "or") && !tsr_tpl_at_name(p, "and");
    case TPL_TOKEN_STRING:
    case TPL_TOKEN_INTEGER:
    case TPL_TOKEN_REAL:
        return true;
    default:
        return tsr_tpl_at_operator(p, '[') || tsr_tpl_at_operator(p, '{');
    }
}

static tsr_status parse_test(tpl_parser *p, tpl_node *subject, tpl_node **out)
{
    tpl_node *node, *negative;
    bool negated = tsr_tpl_skip_name(p, "not");
    if (p->at->kind != TPL_TOKEN_NAME) return tsr_tpl_wrong(p, "the name of a test");
    TSR_TRY(tsr_tpl_node(p, TPL_TEST, &node));
    node->a = subject;
    node->text = p->at->text;
    node->row = tsr_tpl_check_row(node->text);
    if (node->row < 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: there is no test \"%s\"", p->name, node->line,
                        node->text);
    p->at++;
    if (tsr_tpl_skip_operator(p, '(')) {
        TSR_TRY(parse_arguments(p, &node->list));
    } else if (tsr_tpl_at_name(p, "is")) {
        return tsr_tpl_wrong(p, "one test at a time");
    } else if (at_bare_argument(p)) {
        TSR_TRY(tsr_tpl_node(p, TPL_ARGUMENT, &node->list));
        TSR_TRY(parse_primary(p, &node->list->a));
        TSR_TRY(parse_postfix(p, &node->list->a));
    }
    *out = node;
    if (!negated) return TSR_OK;
    TSR_TRY(tsr_tpl_node(p, TPL_NOT, &negative));
    negative->a = node;
    *out = negative;
    return TSR_OK;
}

static tsr_status parse_filters_and_tests(tpl_parser *p, tpl_node **subject)
{
    for (;;) {
        if (tsr_tpl_skip_operator(p, '|'))
            TSR_TRY(parse_filter(p, *subject, subject));
        else if (tsr_tpl_skip_name(p, "is"))
            TSR_TRY(parse_test(p, *subject, subject));
        else if (tsr_tpl_skip_operator(p, '('))
            TSR_TRY(parse_call(p, *subject, subject));
        else
            return TSR_OK;
    }
}

/* --- Operators --- */

static tsr_status parse_signed(tpl_parser *p, tpl_node_kind kind, tpl_node **out)
{
    tpl_node *node;
    TSR_TRY(tsr_tpl_node(p, kind, &node));
    *out = node;
    return parse_unary(p, false, &node->a);
}

static tsr_status parse_unary(tpl_parser *p, bool filters, tpl_node **out)
{
    TSR_TRY(enter(p));
    if (tsr_tpl_skip_operator(p, '-'))
        TSR_TRY(parse_signed(p, TPL_NEGATIVE, out));
    else if (tsr_tpl_skip_operator(p, '+'))
        TSR_TRY(parse_signed(p, TPL_POSITIVE, out));
    else
        TSR_TRY(parse_primary(p, out));
    TSR_TRY(parse_postfix(p, out));
    p->depth--;
    return filters ? parse_filters_and_tests(p, out) : TSR_OK;
}

static tsr_status parse_value(tpl_parser *p, tpl_node **out)
{
    return parse_unary(p, true, out);
}

/* Operands of one level, with any of `ops` between them; from left to right. */
static tsr_status parse_binary(tpl_parser *p, level lower, const int *ops, tpl_node **out)
{
    TSR_TRY(lower(p, out));
    for (;;) {
        tpl_node *node;
        int op = 0;
        for (const int *o = ops; *o && !op; o++)
            if (tsr_tpl_at_operator(p, *o)) op = *o;
        if (!op) return TSR_OK;
        TSR_TRY(tsr_tpl_node(p, TPL_BINARY, &node));
        p->at++;
        node->op = op;
        node->a = *out;
        *out = node;
        TSR_TRY(lower(p, &node->b));
    }
}

static tsr_status parse_power(tpl_parser *p, tpl_node **out)
{
    static const int ops[] = {TPL_OP2('*', '*'), 0};
    return parse_binary(p, parse_value, ops, out);
}

static tsr_status parse_product(tpl_parser *p, tpl_node **out)
{
    static const int ops[] = {'*', '/', TPL_OP2('/', '/'), '%', 0};
    return parse_binary(p, parse_power, ops, out);
}

static tsr_status parse_concat(tpl_parser *p, tpl_node **out)
{
    tpl_node *node;
    TSR_TRY(parse_product(p, out));
    if (!tsr_tpl_at_operator(p, '~')) return TSR_OK;
    TSR_TRY(tsr_tpl_node(p, TPL_CONCAT, &node));
    node->list = *out;
    *out = node;
    for (tpl_node **next = &node->list->next; tsr_tpl_skip_operator(p, '~'); next = &(*next)->next)
        TSR_TRY(parse_product(p, next));
    return TSR_OK;
}

static tsr_status parse_sum(tpl_parser *p, tpl_node **out)
{
    static const int ops[] = {'+', '-', 0};
    return parse_binary(p, parse_concat, ops, out);
}

/* The comparison at hand, taken; 0 if there is none. */
static int take_comparison(tpl_parser *p)
{
    static const int ops[] = {
        TPL_OP2('=', '='), TPL_OP2('!', '='), '<', TPL_OP2('<', '='), '>', TPL_OP2('>', '='), 0};
    for (const int *o = ops; *o; o++)
        if (tsr_tpl_skip_operator(p, *o)) return *o;
    if (tsr_tpl_skip_name(p, "in")) return 'i';
    if (!tsr_tpl_at_name(p, "not") || p->at[1].kind != TPL_TOKEN_NAME || strcmp(p->at[1].text, "in") != 0)
        return 0;
    p->at += 2;
    return 'n';
}

static tsr_status parse_comparison(tpl_parser *p, tpl_node **out)
{
    tpl_node *node, **next;
    TSR_TRY(parse_sum(p, out));
    int op = take_comparison(p);
    if (!op) return TSR_OK;
    TSR_TRY(tsr_tpl_node(p, TPL_COMPARE, &node));
    node->a = *out;
    *out = node;
    for (next = &node->list; op; op = take_comparison(p), next = &(*next)->next) {
        TSR_TRY(tsr_tpl_node(p, TPL_OPERAND, next));
        (*next)->op = op;
        TSR_TRY(parse_sum(p, &(*next)->a));
    }
    return TSR_OK;
}

static tsr_status parse_not(tpl_parser *p, tpl_node **out)
{
    if (!tsr_tpl_at_name(p, "not")) return parse_comparison(p, out);
    TSR_TRY(enter(p));
    TSR_TRY(tsr_tpl_node(p, TPL_NOT, out));
    p->at++;
    TSR_TRY(parse_not(p, &(*out)->a));
    p->depth--;
    return TSR_OK;
}

static tsr_status parse_logic(tpl_parser *p, const char *word, tpl_node_kind kind, level lower,
                              tpl_node **out)
{
    TSR_TRY(lower(p, out));
    while (tsr_tpl_at_name(p, word)) {
        tpl_node *node;
        TSR_TRY(tsr_tpl_node(p, kind, &node));
        p->at++;
        node->a = *out;
        *out = node;
        TSR_TRY(lower(p, &node->b));
    }
    return TSR_OK;
}

static tsr_status parse_and(tpl_parser *p, tpl_node **out)
{
    return parse_logic(p, "and", TPL_AND, parse_not, out);
}

static tsr_status parse_or(tpl_parser *p, tpl_node **out)
{
    return parse_logic(p, "or", TPL_OR, parse_and, out);
}

tsr_status tsr_tpl_expression(tpl_parser *p, bool with_condition, tpl_node **out)
{
    TSR_TRY(enter(p));
    TSR_TRY(parse_or(p, out));
    while (with_condition && tsr_tpl_at_name(p, "if")) {
        tpl_node *node;
        TSR_TRY(tsr_tpl_node(p, TPL_CONDITION, &node));
        p->at++;
        node->a = *out;
        *out = node;
        TSR_TRY(parse_or(p, &node->b));
        if (tsr_tpl_skip_name(p, "else")) TSR_TRY(tsr_tpl_expression(p, true, &node->c));
    }
    p->depth--;
    return TSR_OK;
}

/* Whether no further element of a tuple can follow a comma. */
static bool at_tuple_end(const tpl_parser *p)
{
    return p->at->kind == TPL_TOKEN_BLOCK_END || p->at->kind == TPL_TOKEN_PRINT_END ||
           tsr_tpl_at_operator(p, ')') || tsr_tpl_at_operator(p, ']');
}

tsr_status tsr_tpl_tuple(tpl_parser *p, bool with_condition, tpl_node **out)
{
    tpl_node *node;
    TSR_TRY(tsr_tpl_expression(p, with_condition, out));
    if (!tsr_tpl_at_operator(p, ',')) return TSR_OK;
    TSR_TRY(tsr_tpl_node(p, TPL_MAKE_TUPLE, &node));
    node->list = *out;
    *out = node;
    for (tpl_node **next = &node->list->next; tsr_tpl_skip_operator(p, ',') && !at_tuple_end(p);
         next = &(*next)->next)
        TSR_TRY(tsr_tpl_expression(p, with_condition, next));
    return TSR_OK;
}
