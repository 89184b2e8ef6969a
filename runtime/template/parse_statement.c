/* parse_statement.c: statements, a row of a table each, and chains of them. */
#include "runtime/template/syntax.h"

#include <string.h>

static tsr_status parse_body(tpl_parser *p, const char *const *ends, tpl_node **out);

/* --- Pieces --- */

tsr_status tsr_tpl_node(tpl_parser *p, tpl_node_kind kind, tpl_node **out)
{
    void *mem;
    TSR_TRY(tsr_arena_alloc(p->arena, sizeof(tpl_node), &mem));
    *out = mem;
    (*out)->kind = kind;
    (*out)->line = p->at->line;
    return TSR_OK;
}

static const char *describe(const tpl_token *t, char *operator)
{
    switch (t->kind) {
    case TPL_TOKEN_NAME:
        return t->text;
    case TPL_TOKEN_OPERATOR:
        operator[0] =(char)(t->op > 255 ? t->op >> 8 : t->op);
        operator[1] =(char)(t->op > 255 ? t->op & 255 : 0);
        return operator;
    case TPL_TOKEN_STRING:
        return "a string";
    case TPL_TOKEN_INTEGER:
    case TPL_TOKEN_REAL:
        return "a number";
    case TPL_TOKEN_BLOCK_END:
    case TPL_TOKEN_PRINT_END:
        return "the end of the tag";
    default:
        return "the end of the template";
    }
}

tsr_status tsr_tpl_wrong(const tpl_parser *p, const char *expected)
{
    char operator[3] = "";
    return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: expected %s, found %.40s", p->name, p->at->line, expected,
                    describe(p->at, operator));
}

bool tsr_tpl_at_operator(const tpl_parser *p, int op)
{
    return p->at->kind == TPL_TOKEN_OPERATOR && p->at->op == op;
}

bool tsr_tpl_at_name(const tpl_parser *p, const char *name)
{
    return p->at->kind == TPL_TOKEN_NAME && strcmp(p->at->text, name) == 0;
}

bool tsr_tpl_skip_operator(tpl_parser *p, int op)
{
    bool there = tsr_tpl_at_operator(p, op);
    p->at += there;
    return there;
}

bool tsr_tpl_skip_name(tpl_parser *p, const char *name)
{
    bool there = tsr_tpl_at_name(p, name);
    p->at += there;
    return there;
}

static tsr_status need_tag_end(tpl_parser *p)
{
    if (p->at->kind != TPL_TOKEN_BLOCK_END) return tsr_tpl_wrong(p, "the end of the tag");
    p->at++;
    return TSR_OK;
}

/* The body up to {% END %}, which is taken. */
static tsr_status body_until(tpl_parser *p, const char *end, tpl_node **out)
{
    const char *const ends[] = {end, NULL};
    TSR_TRY(need_tag_end(p));
    TSR_TRY(parse_body(p, ends, out));
    p->at++;
    return need_tag_end(p);
}

static tsr_status parse_name(tpl_parser *p, tpl_node *into)
{
    static const char *const taken[] = {"true", "false", "none", "True", "False", "None"};
    if (p->at->kind != TPL_TOKEN_NAME) return tsr_tpl_wrong(p, "a name");
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (strcmp(p->at->text, taken[i]) == 0) return tsr_tpl_wrong(p, "a name that can be assigned to");
    into->text = p->at->text;
    into->n = p->at->n;
    p->at++;
    return TSR_OK;
}

static tsr_status parse_one_target(tpl_parser *p, bool attributes, tpl_node **out)
{
    if (tsr_tpl_skip_operator(p, '(')) {
        TSR_TRY(tsr_tpl_target(p, false, out));
        return tsr_tpl_skip_operator(p, ')') ? TSR_OK : tsr_tpl_wrong(p, "')'");
    }
    TSR_TRY(tsr_tpl_node(p, TPL_NAME, out));
    TSR_TRY(parse_name(p, *out));
    if (!attributes || !tsr_tpl_skip_operator(p, '.')) return TSR_OK;
    tpl_node *space = *out;
    TSR_TRY(tsr_tpl_node(p, TPL_ATTRIBUTE, out));
    (*out)->a = space;
    return parse_name(p, *out);
}

tsr_status tsr_tpl_target(tpl_parser *p, bool attributes, tpl_node **out)
{
    tpl_node *tuple;
    if (++p->depth > TPL_DEEPEST_SYNTAX) return tsr_tpl_wrong(p, "less nesting");
    TSR_TRY(parse_one_target(p, attributes, out));
    if (tsr_tpl_at_operator(p, ',')) {
        TSR_TRY(tsr_tpl_node(p, TPL_MAKE_TUPLE, &tuple));
        tuple->list = *out;
        *out = tuple;
        for (tpl_node **next = &tuple->list->next; tsr_tpl_skip_operator(p, ','); next = &(*next)->next) {
            if (tsr_tpl_at_operator(p, ')')) break;
            TSR_TRY(parse_one_target(p, attributes, next));
        }
    }
    p->depth--;
    return TSR_OK;
}

/* (a, b=1) */
static tsr_status parse_parameters(tpl_parser *p, tpl_node **out)
{
    bool defaults = false;
    while (!tsr_tpl_skip_operator(p, ')')) {
        TSR_TRY(tsr_tpl_node(p, TPL_PARAMETER, out));
        TSR_TRY(parse_name(p, *out));
        if (tsr_tpl_skip_operator(p, '='))
            TSR_TRY(tsr_tpl_expression(p, true, &(*out)->a));
        else if (defaults)
            return tsr_tpl_wrong(p, "a default, as the parameter before has one");
        defaults = (*out)->a;
        out = &(*out)->next;
        if (!tsr_tpl_at_operator(p, ')') && !tsr_tpl_skip_operator(p, ','))
            return tsr_tpl_wrong(p, "',' or ')'");
    }
    return TSR_OK;
}

/* --- Statements; the name has been taken --- */

static tsr_status parse_for(tpl_parser *p, tpl_node **out)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    TSR_TRY(tsr_tpl_node(p, TPL_FOR, out));
    TSR_TRY(tsr_tpl_target(p, false, &(*out)->a));
    if (!tsr_tpl_skip_name(p, "in")) return tsr_tpl_wrong(p, "in");
    TSR_TRY(tsr_tpl_tuple(p, false, &(*out)->b));
    if (tsr_tpl_skip_name(p, "if")) TSR_TRY(tsr_tpl_expression(p, true, &(*out)->c));
    (*out)->op = tsr_tpl_skip_name(p, "recursive");
    TSR_TRY(need_tag_end(p));
    p->loops++;
    TSR_TRY(parse_body(p, ends, &(*out)->list));
    p->loops--;
    if (tsr_tpl_skip_name(p, "else")) return body_until(p, "endfor", &(*out)->other);
    p->at++;
    return need_tag_end(p);
}

static tsr_status parse_if(tpl_parser *p, tpl_node **out)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    TSR_TRY(tsr_tpl_node(p, TPL_IF, out));
    for (tpl_node **next = &(*out)->list;; next = &(*next)->next) {
        TSR_TRY(tsr_tpl_node(p, TPL_BRANCH, next));
        TSR_TRY(tsr_tpl_tuple(p, true, &(*next)->a));
        TSR_TRY(need_tag_end(p));
        TSR_TRY(parse_body(p, ends, &(*next)->list));
        if (tsr_tpl_skip_name(p, "elif")) continue;
        next = &(*next)->next;
        if (tsr_tpl_skip_name(p, "else")) {
            TSR_TRY(tsr_tpl_node(p, TPL_BRANCH, next));
            return body_until(p, "endif", &(*next)->list);
        }
        p->at++;
        return need_tag_end(p);
    }
}

static tsr_status parse_set(tpl_parser *p, tpl_node **out)
{
    tpl_node *target;
    TSR_TRY(tsr_tpl_node(p, TPL_SET, out));
    TSR_TRY(tsr_tpl_target(p, true, &target));
    (*out)->a = target;
    if (tsr_tpl_skip_operator(p, '=')) {
        TSR_TRY(tsr_tpl_tuple(p, true, &(*out)->b));
        return need_tag_end(p);
    }
    (*out)->kind = TPL_SET_BLOCK;
    TSR_TRY(tsr_tpl_filters(p, NULL, false, &(*out)->b));
    return body_until(p, "endset", &(*out)->list);
}

static tsr_status parse_with(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_SCOPE, out));
    for (tpl_node **next = &(*out)->list; p->at->kind != TPL_TOKEN_BLOCK_END; next = &(*next)->next) {
        if (*out != NULL && (*out)->list && !tsr_tpl_skip_operator(p, ',')) return tsr_tpl_wrong(p, "','");
        TSR_TRY(tsr_tpl_node(p, TPL_SET, next));
        TSR_TRY(parse_one_target(p, false, &(*next)->a));
        if (!tsr_tpl_skip_operator(p, '=')) return tsr_tpl_wrong(p, "'='");
        TSR_TRY(tsr_tpl_expression(p, true, &(*next)->b));
    }
    return body_until(p, "endwith", &(*out)->other);
}

static tsr_status parse_generation(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_SCOPE, out));
    return body_until(p, "endgeneration", &(*out)->other);
}

/* A body that runs elsewhere: no break or continue of a loop around it. */
static tsr_status body_apart(tpl_parser *p, const char *end, tpl_node **out)
{
    int loops = p->loops;
    p->loops = 0;
    TSR_TRY(body_until(p, end, out));
    p->loops = loops;
    return TSR_OK;
}

static tsr_status parse_macro(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_MACRO, out));
    TSR_TRY(parse_name(p, *out));
    if (!tsr_tpl_skip_operator(p, '(')) return tsr_tpl_wrong(p, "'('");
    TSR_TRY(parse_parameters(p, &(*out)->list));
    return body_apart(p, "endmacro", &(*out)->other);
}

static tsr_status parse_call_block(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_CALL_BLOCK, out));
    if (tsr_tpl_skip_operator(p, '(')) TSR_TRY(parse_parameters(p, &(*out)->list));
    TSR_TRY(tsr_tpl_expression(p, true, &(*out)->a));
    if ((*out)->a->kind != TPL_CALL) return tsr_tpl_wrong(p, "a call before it");
    return body_apart(p, "endcall", &(*out)->other);
}

static tsr_status parse_filter_block(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_FILTER_BLOCK, out));
    TSR_TRY(tsr_tpl_filters(p, NULL, true, &(*out)->a));
    return body_apart(p, "endfilter", &(*out)->list);
}

static tsr_status parse_leave(tpl_parser *p, tpl_node_kind kind, tpl_node **out)
{
    if (p->loops == 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: break or continue outside of a loop", p->name,
                        p->at->line);
    TSR_TRY(tsr_tpl_node(p, kind, out));
    return need_tag_end(p);
}

static tsr_status parse_break(tpl_parser *p, tpl_node **out)
{
    return parse_leave(p, TPL_BREAK, out);
}

static tsr_status parse_continue(tpl_parser *p, tpl_node **out)
{
    return parse_leave(p, TPL_CONTINUE, out);
}

static const struct statement_row {
    const char *name;
    tsr_status (*parse)(tpl_parser *p, tpl_node **out);
} statements[] = {
    {"for", parse_for},
    {"if", parse_if},
    {"set", parse_set},
    {"with", parse_with},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"break", parse_break},
    {"continue", parse_continue},
    {"generation", parse_generation},
};

static tsr_status parse_statement(tpl_parser *p, tpl_node **out)
{
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (tsr_tpl_skip_name(p, statements[i].name)) return statements[i].parse(p, out);
    return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: there is no statement \"%.40s\"", p->name, p->at->line,
                    p->at->kind == TPL_TOKEN_NAME ? p->at->text : "");
}

static tsr_status parse_print(tpl_parser *p, tpl_node **out)
{
    TSR_TRY(tsr_tpl_node(p, TPL_PRINT, out));
    p->at++;
    TSR_TRY(tsr_tpl_tuple(p, true, &(*out)->a));
    if (p->at->kind != TPL_TOKEN_PRINT_END) return tsr_tpl_wrong(p, "'}}'");
    p->at++;
    return TSR_OK;
}

static bool at_one_of(const tpl_parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (tsr_tpl_at_name(p, *ends)) return true;
    return false;
}

/* Statements up to a tag that begins with one of `ends` (stops at that name), or to the end without any. */
static tsr_status parse_chain(tpl_parser *p, const char *const *ends, tpl_node **out)
{
    for (;; out = &(*out)->next) {
        switch (p->at->kind) {
        case TPL_TOKEN_END:
            if (!ends) return TSR_OK;
            return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: the template ends before %s", p->name, p->at->line,
                            ends[0]);
        case TPL_TOKEN_DATA:
            TSR_TRY(tsr_tpl_node(p, TPL_DATA, out));
            (*out)->text = p->at->text;
            (*out)->n = p->at++->n;
            break;
        case TPL_TOKEN_PRINT_BEGIN:
            TSR_TRY(parse_print(p, out));
            break;
        default:
            p->at++;
            if (at_one_of(p, ends)) return TSR_OK;
            TSR_TRY(parse_statement(p, out));
        }
    }
}

static tsr_status parse_body(tpl_parser *p, const char *const *ends, tpl_node **out)
{
    if (++p->depth > TPL_DEEPEST_SYNTAX) return tsr_tpl_wrong(p, "less nesting");
    TSR_TRY(parse_chain(p, ends, out));
    p->depth--;
    return TSR_OK;
}

tsr_status tsr_tpl_parse(tpl_parser *p, tpl_node **out)
{
    *out = NULL;
    return parse_chain(p, NULL, out);
}
