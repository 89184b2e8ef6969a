/* syntax.h: a template as a tree of nodes, made once and never changed. */
#ifndef TSR_TEMPLATE_SYNTAX_H
#define TSR_TEMPLATE_SYNTAX_H

#include "runtime/template/token.h"

typedef enum tpl_node_kind {
    /* expressions */
    TPL_CONST_NONE,
    TPL_CONST_TRUE,
    TPL_CONST_FALSE,
    TPL_CONST_INTEGER,
    TPL_CONST_REAL,
    TPL_CONST_STRING,
    TPL_NAME,      /* text */
    TPL_MAKE_LIST, /* list */
    TPL_MAKE_TUPLE,
    TPL_MAKE_DICT, /* list: key, value, key, value.. */
    TPL_ATTRIBUTE, /* a.text */
    TPL_ITEM,      /* a[b] */
    TPL_SLICE,     /* a[b:c:d]; each may be NULL */
    TPL_CALL,      /* a(list): TPL_ARGUMENT */
    TPL_ARGUMENT,  /* a; text: keyword or NULL; op: its stars */
    TPL_FILTER,    /* a|text(list); a is NULL for what a block gives; row */
    TPL_TEST,      /* a is text(list); row */
    TPL_NOT,       /* a */
    TPL_NEGATIVE,  /* a */
    TPL_POSITIVE,  /* a */
    TPL_AND,       /* a, b */
    TPL_OR,        /* a, b */
    TPL_BINARY,    /* a op b */
    TPL_COMPARE,   /* a, list: TPL_OPERAND */
    TPL_OPERAND,   /* op a; 'i': in, 'n': not in */
    TPL_CONCAT,    /* list */
    TPL_CONDITION, /* a if b else c; c may be NULL */
    /* statements */
    TPL_DATA,         /* text */
    TPL_PRINT,        /* a */
    TPL_IF,           /* list: TPL_BRANCH */
    TPL_BRANCH,       /* a: condition or NULL; list: body */
    TPL_FOR,          /* a: target, b: what, c: if or NULL; list: body; other: else; op: recursive */
    TPL_SET,          /* a: target, b: value */
    TPL_SET_BLOCK,    /* a: target, b: filters or NULL; list: body */
    TPL_SCOPE,        /* list: TPL_SET; other: body: with, generation */
    TPL_MACRO,        /* text; list: TPL_PARAMETER; other: body */
    TPL_PARAMETER,    /* text; a: default or NULL */
    TPL_CALL_BLOCK,   /* a: call; list: TPL_PARAMETER; other: body */
    TPL_FILTER_BLOCK, /* a: filters; list: body */
    TPL_BREAK,
    TPL_CONTINUE
} tpl_node_kind;

typedef struct tpl_node tpl_node;
struct tpl_node {
    tpl_node_kind kind;
    int line, op;
    const char *text; /* [n], NUL behind it */
    int64_t n;
    union {
        int64_t integer;
        double real;
        int row; /* of the table of filters or tests */
    };
    tpl_node *a, *b, *c, *d;
    tpl_node *list, *other; /* first of a chain */
    tpl_node *next;         /* in the chain this node is in */
};

enum { TPL_DEEPEST_SYNTAX = 150 };

typedef struct tpl_parser {
    const tpl_token *at;
    const char *name;
    tsr_arena *arena;
    int depth, loops;
} tpl_parser;

/* The whole template as a chain of statements. TSR_ERR_FORMAT. */
tsr_status tsr_tpl_parse(tpl_parser *p, tpl_node **out);

/* Between parse_statement.c and parse_expression.c. */
tsr_status tsr_tpl_node(tpl_parser *p, tpl_node_kind kind, tpl_node **out);
tsr_status tsr_tpl_wrong(const tpl_parser *p, const char *expected);
bool tsr_tpl_at_operator(const tpl_parser *p, int op);
bool tsr_tpl_at_name(const tpl_parser *p, const char *name);
bool tsr_tpl_skip_operator(tpl_parser *p, int op);
bool tsr_tpl_skip_name(tpl_parser *p, const char *name);
tsr_status tsr_tpl_expression(tpl_parser *p, bool with_condition, tpl_node **out);
/* One expression, or several with commas as a tuple. */
tsr_status tsr_tpl_tuple(tpl_parser *p, bool with_condition, tpl_node **out);
/* A name, names with commas, or a namespace's attribute: what is assigned to. */
tsr_status tsr_tpl_target(tpl_parser *p, bool attributes, tpl_node **out);
/* "|f|g(x)" behind `subject` (NULL in blocks); without any it is the subject. inline_start: the first '|' is left out. */
tsr_status tsr_tpl_filters(tpl_parser *p, tpl_node *subject, bool inline_start, tpl_node **out);

#endif
