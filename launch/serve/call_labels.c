/* call_labels.c: what is asked of models that classify: texts, and how their labels are chosen and written. */
#include "launch/serve/call_table.h"

#include "base/json.h"

#include <string.h>

/* "text", or {"text": "text"}. */
static tsr_status read_item(const tsr_call_row *row, const json_t *item, tsr_api_call *call, tsr_refusal *why)
{
    const char *key;
    json_t *member;
    if (json_is_string(item)) return tsr_call_add_text(row, item, call, why);
    json_object_foreach((json_t *)item, key, member)
    {
        if (strcmp(key, "text_pair") == 0 && !json_is_null(member))
            return tsr_refuse(why, 400, row->name, "text_pair is not supported: give one text");
        if (strcmp(key, "text") != 0 && strcmp(key, "text_pair") != 0)
            return tsr_refuse(why, 400, row->name, "an object of %s has text, found \"%.40s\"", row->name,
                              key);
    }
    const json_t *text = json_object_get(item, "text");
    if (json_is_string(text)) return tsr_call_add_text(row, text, call, why);
    return tsr_refuse(why, 400, row->name,
                      "%s must be a string, {\"text\": string}, or a list of these, found %s", row->name,
                      tsr_json_type_name(item));
}

tsr_status tsr_call_read_texts(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                               tsr_refusal *why)
{
    if (!json_is_array(value)) return read_item(row, value, call, why);
    if (json_array_size(value) == 0) return tsr_refuse(why, 400, row->name, "%s is an empty list", row->name);
    for (size_t i = 0; i < json_array_size(value); i++)
        TSR_TRY(read_item(row, json_array_get(value, i), call, why));
    return TSR_OK;
}

tsr_status tsr_call_read_top_labels(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                    tsr_refusal *why)
{
    int64_t found = json_is_null(value) ? 0 : json_integer_value(value);
    bool valid = json_is_null(value) ||
                 (json_is_integer(value) && found >= (int64_t)row->low && found <= (int64_t)row->high);
    call->top_labels = found;
    if (valid) return TSR_OK;
    return tsr_refuse(why, 400, row->name, "%s must be an integer in %lld..%lld, or null for all labels",
                      row->name, (long long)row->low, (long long)row->high);
}

/* Which of n words a value is; -1, with *why, if none. */
static int find_word(const tsr_call_row *row, const json_t *value, const char *const *words, int n,
                     tsr_refusal *why)
{
    tsr_text list;
    const char *found = json_string_value(value);
    for (int i = 0; found && i < n; i++)
        if (strcmp(found, words[i]) == 0) return i;
    if (tsr_text_init(&list, TSR_TEXT_NO_CAP) != TSR_OK) {
        tsr_refuse_for(why, TSR_ERR_MEMORY);
        return -1;
    }
    tsr_status s = TSR_OK;
    for (int i = 0; i < n && s == TSR_OK; i++)
        s = tsr_text_format(&list, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " or ", words[i]);
    tsr_refuse(why, 400, row->name, "%s must be %s, found %.40s", row->name, list.data,
               found ? found : tsr_json_type_name(value));
    tsr_text_free(&list);
    return -1;
}

tsr_status tsr_call_read_scores(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                tsr_refusal *why)
{
    static const char *const words[] = {"softmax", "sigmoid", "none"};
    int i = find_word(row, value, words, 3, why);
    call->scores = (tsr_score_choice)(TSR_SCORES_SOFTMAX + i);
    return i < 0 ? TSR_ERR_USAGE : TSR_OK;
}

tsr_status tsr_call_read_aggregation(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                     tsr_refusal *why)
{
    static const char *const words[] = {"none", "simple", "first", "average", "max"};
    int i = find_word(row, value, words, 5, why);
    call->aggregation = (tsr_aggregation)(TSR_AGGREGATE_NONE + i);
    return i < 0 ? TSR_ERR_USAGE : TSR_OK;
}

tsr_status tsr_call_read_ignored(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                 tsr_refusal *why)
{
    call->ignored_stated = true;
    if (!json_is_array(value) || json_array_size(value) > TSR_CALL_IGNORED)
        return tsr_refuse(why, 400, row->name, "%s must be a list of up to %d labels", row->name,
                          TSR_CALL_IGNORED);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *label = json_array_get(value, i);
        if (!json_is_string(label))
            return tsr_refuse(why, 400, row->name, "%s must list strings, found %s", row->name,
                              tsr_json_type_name(label));
        TSR_TRY(tsr_call_copy(json_string_value(label), json_string_length(label),
                              &call->ignored[call->n_ignored++], why));
    }
    return TSR_OK;
}

tsr_status tsr_call_read_json_alone(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                    tsr_refusal *why)
{
    static const char *const words[] = {"json"};
    (void)call;
    return find_word(row, value, words, 1, why) < 0 ? TSR_ERR_USAGE : TSR_OK;
}
