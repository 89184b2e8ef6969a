/* call_prompt.c: prompts: a text, a list of texts, ids, a list of lists of ids. */
#include "launch/serve/call_table.h"

#include "base/json.h"
#include "base/memory.h"

#include <string.h>

void tsr_prompt_free(tsr_prompt *prompt)
{
    tsr_free(prompt->text);
    tsr_free(prompt->ids);
    *prompt = (tsr_prompt){0};
}

tsr_status tsr_call_copy(const char *bytes, size_t n, char **out, tsr_refusal *why)
{
    void *p;
    if (tsr_alloc((int64_t)n + 1, "a text of a request", &p) != TSR_OK)
        return tsr_refuse_for(why, TSR_ERR_MEMORY);
    tsr_free(*out);
    *out = p;
    memcpy(p, bytes, n);
    (*out)[n] = '\0';
    return TSR_OK;
}

static tsr_status new_prompt(const tsr_call_row *row, tsr_api_call *call, tsr_refusal *why, tsr_prompt **out)
{
    if (call->n_prompts == TSR_CALL_PROMPTS)
        return tsr_refuse(why, 400, row->name, "%s has more than %d prompts", row->name, TSR_CALL_PROMPTS);
    *out = &call->prompts[call->n_prompts++];
    return TSR_OK;
}

tsr_status tsr_call_add_text(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                             tsr_refusal *why)
{
    tsr_prompt *prompt = NULL;
    TSR_TRY(new_prompt(row, call, why, &prompt));
    prompt->length = (int64_t)json_string_length(value);
    return tsr_call_copy(json_string_value(value), json_string_length(value), &prompt->text, why);
}

static tsr_status read_ids(const tsr_call_row *row, const json_t *list, tsr_api_call *call, tsr_refusal *why)
{
    tsr_prompt *prompt = NULL;
    void *p;
    int64_t n = (int64_t)json_array_size(list);
    TSR_TRY(new_prompt(row, call, why, &prompt));
    if (tsr_alloc(n * (int64_t)sizeof(int32_t), "the ids of a request", &p) != TSR_OK)
        return tsr_refuse_for(why, TSR_ERR_MEMORY);
    prompt->ids = p;
    for (; prompt->n_ids < n; prompt->n_ids++) {
        const json_t *id = json_array_get(list, (size_t)prompt->n_ids);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return tsr_refuse(why, 400, row->name, "%s has something that is no token id at index %lld",
                              row->name, (long long)prompt->n_ids);
        prompt->ids[prompt->n_ids] = (int32_t)json_integer_value(id);
    }
    return TSR_OK;
}

tsr_status tsr_call_read_prompt(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                tsr_refusal *why)
{
    if (json_is_string(value)) return tsr_call_add_text(row, value, call, why);
    if (!json_is_array(value))
        return tsr_refuse(why, 400, row->name,
                          "%s must be a string, a list of strings or token ids, found %s", row->name,
                          tsr_json_type_name(value));
    if (json_array_size(value) == 0) return tsr_refuse(why, 400, row->name, "%s is an empty list", row->name);
    if (json_is_integer(json_array_get(value, 0))) return read_ids(row, value, call, why);
    call->listed = true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_string(item) && !json_is_array(item))
            return tsr_refuse(why, 400, row->name, "%s must list strings or lists of token ids, found %s",
                              row->name, tsr_json_type_name(item));
        TSR_TRY(json_is_string(item) ? tsr_call_add_text(row, item, call, why)
                                     : read_ids(row, item, call, why));
    }
    return TSR_OK;
}
