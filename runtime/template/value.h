/* value.h: values of a rendering: those of Python that templates meet. All memory is the rendering's and goes with it.
 *
 * A value is small and copied; lists, dicts and what can be called are shared. Nothing changes after it was made but
 * namespaces, generators (used up) and cyclers.
 */
#ifndef TSR_TEMPLATE_VALUE_H
#define TSR_TEMPLATE_VALUE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tpl_render tpl_render; /* render.h */

typedef enum tpl_kind {
    TPL_ABSENT, /* no argument was given; never a value of a template */
    TPL_UNDEFINED,
    TPL_NONE,
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STRING,
    TPL_LIST,
    TPL_DICT,
    TPL_NAMESPACE,
    TPL_CALLABLE,
    TPL_LOOP
} tpl_kind;

typedef enum tpl_form {
    TPL_IS_LIST,
    TPL_IS_TUPLE,
    TPL_IS_RANGE,
    TPL_IS_VIEW,     /* of a dict: keys(), values(), items() */
    TPL_IS_GENERATOR /* used up by reading: `at` is the next element */
} tpl_form;

typedef struct tpl_list tpl_list;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_callable tpl_callable;
typedef struct tpl_loop tpl_loop;

typedef struct tpl_value {
    tpl_kind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        int64_t n;        /* bytes of a string */
        const char *what; /* of an undefined value: "'x' is undefined" */
    };
    union {
        const char *bytes; /* UTF-8; NUL at [n] is not promised */
        tpl_list *list;
        tpl_dict *dict; /* of dicts and namespaces */
        tpl_callable *callable;
        tpl_loop *loop;
    };
} tpl_value;

struct tpl_list {
    tpl_value *items; /* [count] */
    int64_t count, capacity, at;
    tpl_form form;
    const char *name; /* of a view: "dict_keys" */
};

struct tpl_dict {
    tpl_value *keys, *values; /* [count] in order of insertion */
    int64_t count, capacity;
};

static inline tpl_value tpl_none(void)
{
    return (tpl_value){.kind = TPL_NONE};
}

static inline tpl_value tpl_bool(bool b)
{
    return (tpl_value){.kind = TPL_BOOL, .truth = b};
}

static inline tpl_value tpl_int(int64_t i)
{
    return (tpl_value){.kind = TPL_INT, .integer = i};
}

static inline tpl_value tpl_float(double d)
{
    return (tpl_value){.kind = TPL_FLOAT, .real = d};
}

static inline tpl_value tpl_string(const char *bytes, int64_t n)
{
    return (tpl_value){.kind = TPL_STRING, .n = n, .bytes = bytes};
}

/* Whether it is a string with just this text. */
bool tsr_tpl_is_text(tpl_value v, const char *text);

/* Making. */
tsr_status tsr_tpl_new_list(tpl_render *r, tpl_form form, int64_t capacity, tpl_value *out);
tsr_status tsr_tpl_append(tpl_render *r, tpl_list *list, tpl_value item);
tsr_status tsr_tpl_new_pair(tpl_render *r, tpl_value a, tpl_value b, tpl_value *out); /* a tuple */
tsr_status tsr_tpl_new_dict(tpl_render *r, tpl_kind kind, tpl_value *out);
/* Whether it can be a key: lists and dicts cannot, nor tuples with them. TSR_ERR_USAGE. */
tsr_status tsr_tpl_check_key(tpl_render *r, tpl_value key);
/* A key that is there keeps its place. TSR_ERR_USAGE for keys that cannot be (lists, dicts). */
tsr_status tsr_tpl_put(tpl_render *r, tpl_dict *dict, tpl_value key, tpl_value value);
/* *out is ABSENT if the key is not there. */
tsr_status tsr_tpl_get(tpl_render *r, const tpl_dict *dict, tpl_value key, tpl_value *out);
tsr_status tsr_tpl_get_text(tpl_render *r, const tpl_dict *dict, const char *key, tpl_value *out);
/* A copy of the bytes, with a NUL behind. */
tsr_status tsr_tpl_new_string(tpl_render *r, const char *bytes, int64_t n, tpl_value *out);

/* Asking. */
bool tsr_tpl_truth(tpl_value v);
const char *tsr_tpl_type_name(tpl_value v); /* "str", "dict", ..: Python's */
bool tsr_tpl_is_number(tpl_value v);        /* bool, int or float */
double tsr_tpl_number(tpl_value v);
tsr_status tsr_tpl_equal(tpl_render *r, tpl_value a, tpl_value b, bool *out);
/* *out < 0, 0, > 0. TSR_ERR_USAGE where Python knows no order. */
tsr_status tsr_tpl_compare(tpl_render *r, tpl_value a, tpl_value b, const char *op, int *out);
tsr_status tsr_tpl_contains(tpl_render *r, tpl_value inside, tpl_value wanted, bool *out);
tsr_status tsr_tpl_length(tpl_render *r, tpl_value v, int64_t *out);
/* All elements that are left: *out is a list of its own or the value's, not to be changed; a generator is used up. */
tsr_status tsr_tpl_elements(tpl_render *r, tpl_value v, const tpl_list **out);

/* Strings by characters. */
int64_t tsr_tpl_characters(tpl_value s);
/* The bytes of characters [from, to). */
tpl_value tsr_tpl_cut(tpl_value s, int64_t from, int64_t to);
/* Where `part` first stands in s at or behind byte `from`, -1 if nowhere. */
int64_t tsr_tpl_find(tpl_value s, tpl_value part, int64_t from);

#endif
