/* render.h: one rendering in progress: what it has used, its variables, where it writes. */
#ifndef TSR_TEMPLATE_RENDER_H
#define TSR_TEMPLATE_RENDER_H

#include "base/memory.h"
#include "runtime/template/syntax.h"
#include "runtime/template/template.h"
#include "runtime/template/value.h"

typedef struct tpl_binding tpl_binding;
struct tpl_binding {
    const char *name;
    tpl_value value;
    tpl_binding *next;
};

/* Variables, and those around. */
typedef struct tpl_scope {
    struct tpl_scope *around;
    tpl_binding *first;
} tpl_scope;

typedef enum tpl_flow { TPL_GO_ON, TPL_LEAVE_LOOP, TPL_NEXT_ROUND } tpl_flow;

struct tpl_render {
    const char *name;
    tsr_arena *arena;
    tsr_template_limits left; /* what may still be used */
    int depth, line;
    tpl_scope *scope;
    tsr_text *out;
    tpl_flow flow;
};

enum { TPL_MOST_ARGUMENTS = 32 };

typedef struct tpl_arguments {
    tpl_value value[TPL_MOST_ARGUMENTS];
    const char *keyword[TPL_MOST_ARGUMENTS]; /* NULL: by position; those come first */
    int n;
} tpl_arguments;

/* A row of a table of filters, tests, functions or methods. `parameters`: names with blanks between; "*" instead: any
 * arguments, for the function to sort out. arg[i] is ABSENT where none was given. */
enum { TPL_MOST_PARAMETERS = 6 };
typedef struct tpl_row {
    const char *name;
    tsr_status (*run)(tpl_render *r, tpl_value subject, const tpl_value *arg, tpl_value *out);
    tsr_status (*run_any)(tpl_render *r, tpl_value subject, const tpl_arguments *given, tpl_value *out);
    const char *parameters;
    int needed; /* so many of them must be given */
} tpl_row;

typedef enum tpl_callable_kind {
    TPL_CALL_ROW,
    TPL_CALL_MACRO,
    TPL_CALL_LOOP,
    TPL_CALL_CYCLE,
    TPL_CALL_JOIN
} tpl_callable_kind;

struct tpl_callable {
    tpl_callable_kind kind;
    const tpl_row *row;
    tpl_value self;        /* of a method: what it is of */
    const tpl_node *macro; /* its list: parameters; other: body */
    tpl_scope *scope;      /* where a macro was made */
    tpl_list *items;       /* of a cycler; of a joiner: its separator */
    int64_t at;
};

struct tpl_loop {
    const tpl_node *node;
    const tpl_list *items;
    int64_t at, depth;
    tpl_scope *scope; /* around it */
    tpl_value last;   /* what changed() saw */
};

/* A failure at the line at hand. */
tsr_status tsr_tpl_fail(tpl_render *r, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
/* TSR_ERR_CAPACITY once more has been done than may be. */
tsr_status tsr_tpl_step(tpl_render *r, int64_t steps);
tsr_status tsr_tpl_take(tpl_render *r, int64_t bytes, void **out);
/* Into a level of depth; leave it with r->depth--. */
tsr_status tsr_tpl_enter(tpl_render *r);

/* Variables. *out is UNDEFINED if there is none. */
tsr_status tsr_tpl_lookup(tpl_render *r, const char *name, tpl_value *out);
tsr_status tsr_tpl_bind(tpl_render *r, const char *name, tpl_value value);
tsr_status tsr_tpl_push_scope(tpl_render *r, tpl_scope *around);

tsr_status tsr_tpl_undefined(tpl_render *r, tpl_value *out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The error of using an undefined value. */
tsr_status tsr_tpl_use_of_undefined(tpl_render *r, tpl_value v);

/* Evaluating, running. */
tsr_status tsr_tpl_evaluate(tpl_render *r, const tpl_node *node, tpl_value *out);
tsr_status tsr_tpl_run(tpl_render *r, const tpl_node *chain);
/* Runs and gives what was written. */
tsr_status tsr_tpl_capture(tpl_render *r, const tpl_node *chain, tpl_value *out);
tsr_status tsr_tpl_run_loop(tpl_render *r, const tpl_node *node, tpl_value items, int64_t depth);
tsr_status tsr_tpl_assign(tpl_render *r, const tpl_node *target, tpl_value value);
tsr_status tsr_tpl_call_macro(tpl_render *r, const tpl_callable *c, const tpl_arguments *given,
                              tpl_value caller, tpl_value *out);
tsr_status tsr_tpl_arguments(tpl_render *r, const tpl_node *chain, tpl_arguments *out);
tsr_status tsr_tpl_call_row(tpl_render *r, const tpl_row *row, tpl_value subject, const tpl_arguments *given,
                            tpl_value *out);
tsr_status tsr_tpl_call(tpl_render *r, tpl_value callee, const tpl_arguments *given, tpl_value *out);
/* Filters on a value: those of a block, the last of which has no subject of its own. */
tsr_status tsr_tpl_filter_value(tpl_render *r, const tpl_node *filters, tpl_value subject, tpl_value *out);

/* Access as a.b and a[b] have it. */
tsr_status tsr_tpl_attribute(tpl_render *r, tpl_value v, const char *name, tpl_value *out);
tsr_status tsr_tpl_item(tpl_render *r, tpl_value v, tpl_value key, tpl_value *out);
/* "a.0.b": what filters call an attribute. */
tsr_status tsr_tpl_path(tpl_render *r, tpl_value v, tpl_value path, tpl_value *out);

#endif
