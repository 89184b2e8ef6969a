/* post_processor.c: the table of post-processors. Each gives a template, or nothing. */
#include "runtime/tokenizer/post_processor.h"
#include "runtime/tokenizer/vocabulary.h"

#include <string.h>

static tsr_status add(tsr_object o, tsr_template *t, int64_t id)
{
    if (t->count == TSR_TEMPLATE_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: more than %d tokens in a template", o.where, TSR_TEMPLATE_CAP);
    t->item[t->count++] = (int32_t)id;
    return TSR_OK;
}

/* The ids of one entry of "special_tokens". */
static tsr_status add_special(tsr_object o, const char *name, tsr_template *t)
{
    tsr_object specials, token;
    const json_t *ids = NULL;
    TSR_TRY(tsr_object_child(o, "special_tokens", &specials));
    token = (tsr_object){specials.object ? json_object_get(specials.object, name) : NULL, o.where};
    if (json_is_object(token.object)) TSR_TRY(tsr_object_array(token, "ids", TSR_TEMPLATE_CAP, &ids));
    if (!ids) return tsr_fail(TSR_ERR_FORMAT, "%s: special token \"%.40s\" has no ids", o.where, name);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= TSR_TOKEN_ID_CAP)
            return tsr_fail(TSR_ERR_FORMAT, "%s: special token \"%.40s\" has an id that is none", o.where,
                            name);
        TSR_TRY(add(o, t, json_integer_value(id)));
    }
    return TSR_OK;
}

static tsr_status add_template_piece(tsr_object o, const json_t *piece, tsr_template *t)
{
    tsr_object p = {piece, o.where}, special, sequence;
    const char *id;
    if (!json_is_object(piece))
        return tsr_fail(TSR_ERR_FORMAT, "%s: a template must be made of objects", o.where);
    TSR_TRY(tsr_object_child(p, "SpecialToken", &special));
    TSR_TRY(tsr_object_child(p, "Sequence", &sequence));
    TSR_TRY(tsr_object_string(special.object ? special : sequence, "id", NULL, &id));
    if (!id)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a template piece must be a SpecialToken or a Sequence", o.where);
    if (special.object) return add_special(o, id, t);
    if (strcmp(id, "A") != 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"single\" names sequence \"%.8s\"", o.where, id);
    return add(o, t, TSR_TEMPLATE_TEXT);
}

static tsr_status load_template(tsr_object o, tsr_arena *arena, void **state)
{
    const json_t *single;
    TSR_TRY(tsr_arena_alloc(arena, sizeof(tsr_template), state));
    TSR_TRY(tsr_object_array(o, "single", TSR_TEMPLATE_CAP, &single));
    if (!single) return tsr_fail(TSR_ERR_FORMAT, "%s: \"single\" is missing", o.where);
    for (size_t i = 0; i < json_array_size(single); i++)
        TSR_TRY(add_template_piece(o, json_array_get(single, i), *state));
    return TSR_OK;
}

/* "cls": ["<s>", 0] */
static tsr_status add_pair(tsr_object o, const char *key, tsr_template *t)
{
    const json_t *pair;
    TSR_TRY(tsr_object_array(o, key, 2, &pair));
    const json_t *id = json_array_get(pair, 1);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= TSR_TOKEN_ID_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" must be [token, id]", o.where, key);
    return add(o, t, json_integer_value(id));
}

static tsr_status load_cls_sep(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(tsr_template), state));
    TSR_TRY(add_pair(o, "cls", *state));
    TSR_TRY(add(o, *state, TSR_TEMPLATE_TEXT));
    return add_pair(o, "sep", *state);
}

static const tsr_component_kind rows[] = {
    {"TemplateProcessing", load_template, NULL},
    {"RobertaProcessing", load_cls_sep, NULL},
    {"BertProcessing", load_cls_sep, NULL},
    {"ByteLevel", NULL, NULL}, /* moves positions in the text, which we do not report */
};

tsr_status tsr_post_processor_load(tsr_object o, tsr_arena *arena, tsr_template *out)
{
    static const tsr_component_family family = {"post-processor", "processors", rows,
                                                sizeof rows / sizeof rows[0], sizeof rows[0]};
    tsr_components list;
    *out = (tsr_template){.item = {TSR_TEMPLATE_TEXT}, .count = 1};
    TSR_TRY(tsr_components_load(o, &family, arena, &list));
    bool have = false;
    for (int i = 0; i < list.count; i++) {
        if (!list.item[i].state) continue;
        if (have) return tsr_fail(TSR_ERR_FORMAT, "%s: more than one post-processor adds tokens", o.where);
        *out = *(const tsr_template *)list.item[i].state;
        have = true;
    }
    return TSR_OK;
}
