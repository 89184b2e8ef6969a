/* render.c: what a rendering may use, its variables, and the values of its caller. */
#include "runtime/template/render.h"

#include "base/utf8.h"
#include "runtime/template/functions.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

tsr_status tsr_tpl_fail(tpl_render *r, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tsr_fail(TSR_ERR_USAGE, "%s: line %d: %s", r->name, r->line, text);
}

static tsr_status too_much(tpl_render *r, const char *what)
{
    return tsr_fail(TSR_ERR_CAPACITY, "%s: line %d: the template takes more %s than it may", r->name, r->line,
                    what);
}

tsr_status tsr_tpl_step(tpl_render *r, int64_t steps)
{
    r->left.steps -= steps;
    return r->left.steps < 0 ? too_much(r, "steps") : TSR_OK;
}

tsr_status tsr_tpl_take(tpl_render *r, int64_t bytes, void **out)
{
    *out = NULL;
    if (bytes < 0 || bytes > r->left.memory) return too_much(r, "memory");
    r->left.memory -= bytes + 16;
    return tsr_arena_alloc(r->arena, bytes, out);
}

tsr_status tsr_tpl_enter(tpl_render *r)
{
    return ++r->depth > r->left.depth ? too_much(r, "depth") : TSR_OK;
}

/* --- Variables --- */

tsr_status tsr_tpl_push_scope(tpl_render *r, tpl_scope *around)
{
    void *p;
    TSR_TRY(tsr_tpl_take(r, sizeof(tpl_scope), &p));
    r->scope = p;
    r->scope->around = around;
    return TSR_OK;
}

static tpl_binding *find_binding(const tpl_scope *scope, const char *name)
{
    for (tpl_binding *b = scope->first; b; b = b->next)
        if (strcmp(b->name, name) == 0) return b;
    return NULL;
}

tsr_status tsr_tpl_lookup(tpl_render *r, const char *name, tpl_value *out)
{
    for (const tpl_scope *s = r->scope; s; s = s->around) {
        const tpl_binding *b = find_binding(s, name);
        TSR_TRY(tsr_tpl_step(r, 1));
        if (!b) continue;
        *out = b->value;
        return TSR_OK;
    }
    TSR_TRY(tsr_tpl_function(r, name, out));
    if (out->kind != TPL_ABSENT) return TSR_OK;
    return tsr_tpl_undefined(r, out, "'%.80s' is undefined", name);
}

tsr_status tsr_tpl_bind(tpl_render *r, const char *name, tpl_value value)
{
    void *p;
    tpl_binding *b = find_binding(r->scope, name);
    if (!b) {
        TSR_TRY(tsr_tpl_take(r, sizeof *b, &p));
        b = p;
        b->name = name;
        b->next = r->scope->first;
        r->scope->first = b;
    }
    b->value = value;
    return TSR_OK;
}

tsr_status tsr_tpl_undefined(tpl_render *r, tpl_value *out, const char *format, ...)
{
    char text[200];
    void *p;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    TSR_TRY(tsr_tpl_take(r, (int64_t)sizeof text, &p));
    memcpy(p, text, sizeof text);
    *out = (tpl_value){.kind = TPL_UNDEFINED, .what = p};
    return TSR_OK;
}

tsr_status tsr_tpl_use_of_undefined(tpl_render *r, tpl_value v)
{
    return tsr_tpl_fail(r, "%s", v.what);
}

/* --- The caller's values --- */

static tsr_status from_json(tpl_render *r, const json_t *j, tpl_value *out);

static tsr_status list_from_json(tpl_render *r, const json_t *j, tpl_value *out)
{
    size_t n = json_array_size(j);
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, (int64_t)n, out));
    for (size_t i = 0; i < n; i++) {
        tpl_value item;
        TSR_TRY(from_json(r, json_array_get(j, i), &item));
        TSR_TRY(tsr_tpl_append(r, out->list, item));
    }
    return TSR_OK;
}

/* JSON's own keys differ, so they need not be compared. */
static tsr_status dict_from_json(tpl_render *r, const json_t *j, tpl_value *out)
{
    const char *key;
    json_t *value;
    void *keys, *values;
    int64_t n = (int64_t)json_object_size(j);
    TSR_TRY(tsr_tpl_new_dict(r, TPL_DICT, out));
    TSR_TRY(tsr_tpl_take(r, n * (int64_t)sizeof(tpl_value), &keys));
    TSR_TRY(tsr_tpl_take(r, n * (int64_t)sizeof(tpl_value), &values));
    *out->dict = (tpl_dict){.keys = keys, .values = values, .capacity = n};
    json_object_foreach((json_t *)(uintptr_t)j, key, value)
    {
        int64_t at = out->dict->count++;
        TSR_TRY(tsr_tpl_new_string(r, key, (int64_t)strlen(key), &out->dict->keys[at]));
        TSR_TRY(from_json(r, value, &out->dict->values[at]));
    }
    return tsr_tpl_step(r, n);
}

static tsr_status from_json(tpl_render *r, const json_t *j, tpl_value *out)
{
    tsr_status s = TSR_OK;
    TSR_TRY(tsr_tpl_enter(r));
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        s = dict_from_json(r, j, out);
        break;
    case JSON_ARRAY:
        s = list_from_json(r, j, out);
        break;
    case JSON_STRING:
        s = tsr_tpl_new_string(r, json_string_value(j), (int64_t)json_string_length(j), out);
        break;
    case JSON_INTEGER:
        *out = tpl_int(json_integer_value(j));
        break;
    case JSON_REAL:
        *out = tpl_float(json_real_value(j));
        break;
    case JSON_NULL:
        *out = tpl_none();
        break;
    default:
        *out = tpl_bool(json_is_true(j));
    }
    r->depth--;
    return s;
}

/* --- The whole --- */

struct tsr_template {
    tsr_arena *arena;
    const char *name;
    tpl_node *root;
};

static tsr_status make(tsr_template *t, const char *source, int64_t n, const char *name)
{
    tpl_tokens tokens = {0};
    if (n < 0 || n > TSR_TEMPLATE_SOURCE_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: larger than %d bytes", name, TSR_TEMPLATE_SOURCE_CAP);
    if (memchr(source, 0, (size_t)n) || !tsr_utf8_valid(source, n))
        return tsr_fail(TSR_ERR_FORMAT, "%s: is no UTF-8 text", name);
    TSR_TRY(tsr_arena_strdup(t->arena, name, &t->name));
    tsr_status s = tsr_tpl_tokenize(source, n, t->name, t->arena, &tokens);
    if (s == TSR_OK) {
        tpl_parser p = {.at = tokens.items, .name = t->name, .arena = t->arena};
        s = tsr_tpl_parse(&p, &t->root);
    }
    tsr_free(tokens.items);
    return s;
}

tsr_status tsr_template_create(const char *source, int64_t n, const char *name, tsr_template **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_template), "a template", &p));
    tsr_template *t = p;
    tsr_status s = tsr_arena_create("a template", &t->arena);
    if (s == TSR_OK) s = make(t, source, n, name);
    if (s != TSR_OK) tsr_template_destroy(&t);
    *out = t;
    return s;
}

void tsr_template_destroy(tsr_template **t)
{
    if (*t) tsr_arena_destroy(&(*t)->arena);
    tsr_free(*t);
    *t = NULL;
}

static tsr_status render(tpl_render *r, const tsr_template *t, const json_t *variables)
{
    const char *key;
    json_t *value;
    TSR_TRY(tsr_tpl_push_scope(r, NULL));
    json_object_foreach((json_t *)(uintptr_t)variables, key, value)
    {
        tpl_value v;
        TSR_TRY(from_json(r, value, &v));
        TSR_TRY(tsr_tpl_bind(r, key, v));
    }
    TSR_TRY(tsr_tpl_push_scope(r, r->scope));
    return tsr_tpl_run(r, t->root);
}

tsr_status tsr_template_render(const tsr_template *t, const json_t *variables,
                               const tsr_template_limits *limits, tsr_text *out)
{
    static const tsr_template_limits usual = TSR_TEMPLATE_LIMITS_INIT;
    tpl_render r = {.name = t->name, .left = limits ? *limits : usual, .out = out, .line = 1};
    TSR_TRY(tsr_arena_create("a rendering", &r.arena));
    tsr_status s = render(&r, t, variables);
    tsr_arena_destroy(&r.arena);
    return s;
}
