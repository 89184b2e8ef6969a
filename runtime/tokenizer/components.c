/* components.c: finding the row of a component, and flattening sequences. */
#include "runtime/tokenizer/components.h"
#include "runtime/tokenizer/unicode.h"

#include <string.h>

enum { NESTING_CAP = 8 };

static const tsr_component_kind *row_of(const tsr_component_family *family, int i)
{
    if (family->row_bytes == 0) return ((const tsr_component_kind *const *)family->rows)[i];
    return (const tsr_component_kind *)((const char *)family->rows + (size_t)i * (size_t)family->row_bytes);
}

static tsr_status unknown_type(tsr_object o, const tsr_component_family *family, const char *type)
{
    tsr_text list;
    TSR_TRY(tsr_text_init(&list, 4096));
    tsr_status status = tsr_text_puts(&list, "Sequence");
    for (int i = 0; i < family->count && status == TSR_OK; i++)
        status = tsr_text_format(&list, ", %s", row_of(family, i)->type);
    if (status == TSR_OK)
        status = tsr_fail(TSR_ERR_FORMAT, "%s: unknown %s \"%.40s\"; we have %s", o.where, family->name, type,
                          list.data);
    tsr_text_free(&list);
    return status;
}

static tsr_status load_one(tsr_object o, const tsr_component_family *family, tsr_arena *arena,
                           tsr_components *out, int depth);

static tsr_status load_sequence(tsr_object o, const tsr_component_family *family, tsr_arena *arena,
                                tsr_components *out, int depth)
{
    const json_t *list;
    if (depth == NESTING_CAP) return tsr_fail(TSR_ERR_FORMAT, "%s: sequences are nested too deeply", o.where);
    TSR_TRY(tsr_object_array(o, family->list_key, TSR_COMPONENTS_CAP, &list));
    if (!list) return tsr_fail(TSR_ERR_FORMAT, "%s: a Sequence without \"%s\"", o.where, family->list_key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        tsr_object element = {json_array_get(list, i), NULL};
        TSR_TRY(tsr_arena_format(arena, &element.where, "%s.%s[%zu]", o.where, family->list_key, i));
        if (!json_is_object(element.object))
            return tsr_fail(TSR_ERR_FORMAT, "%s: must be an object, found %s", element.where,
                            tsr_json_type_name(element.object));
        TSR_TRY(load_one(element, family, arena, out, depth + 1));
    }
    return TSR_OK;
}

static tsr_status load_one(tsr_object o, const tsr_component_family *family, tsr_arena *arena,
                           tsr_components *out, int depth)
{
    const char *type;
    TSR_TRY(tsr_object_string(o, "type", NULL, &type));
    if (!type) return tsr_fail(TSR_ERR_FORMAT, "%s: \"type\" is missing", o.where);
    if (strcmp(type, "Sequence") == 0) return load_sequence(o, family, arena, out, depth);
    for (int i = 0; i < family->count; i++) {
        const tsr_component_kind *kind = row_of(family, i);
        if (strcmp(type, kind->type) != 0) continue;
        if (out->count == TSR_COMPONENTS_CAP)
            return tsr_fail(TSR_ERR_FORMAT, "%s: more than %d components", o.where, TSR_COMPONENTS_CAP);
        tsr_component *c = &out->item[out->count];
        *c = (tsr_component){kind, NULL};
        if (kind->load) TSR_TRY(kind->load(o, arena, &c->state));
        out->count++;
        return TSR_OK;
    }
    return unknown_type(o, family, type);
}

tsr_status tsr_components_load(tsr_object o, const tsr_component_family *family, tsr_arena *arena,
                               tsr_components *out)
{
    out->count = 0;
    return o.object ? load_one(o, family, arena, out, 0) : TSR_OK;
}

void tsr_components_release(tsr_components *c)
{
    for (int i = 0; i < c->count; i++)
        if (c->item[i].kind->release) c->item[i].kind->release(c->item[i].state);
    c->count = 0;
}

tsr_status tsr_component_child(tsr_object o, const char *key, tsr_arena *arena, tsr_object *out)
{
    TSR_TRY(tsr_object_child(o, key, out));
    const char *separator = strchr(o.where, ':') ? "." : ": ";
    return tsr_arena_format(arena, &out->where, "%s%s%s", o.where, separator, key);
}

tsr_status tsr_component_string(tsr_object o, const char *key, tsr_arena *arena, const char **out, int64_t *n)
{
    const char *text;
    void *p;
    TSR_TRY(tsr_object_string(o, key, NULL, &text));
    if (!text) return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" is missing", o.where, key);
    *n = (int64_t)json_string_length(json_object_get(o.object, key));
    TSR_TRY(tsr_arena_alloc(arena, *n + 1, &p));
    *out = memcpy(p, text, (size_t)*n);
    return TSR_OK;
}

tsr_status tsr_component_char(tsr_object o, const char *key, uint32_t fallback, uint32_t *out)
{
    const char *text;
    TSR_TRY(tsr_object_string(o, key, NULL, &text));
    *out = fallback;
    if (!text) return TSR_OK;
    size_t n = json_string_length(json_object_get(o.object, key));
    if (n == 0 || (size_t)tsr_char_decode(text, out) != n)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" must be one character", o.where, key);
    return TSR_OK;
}
