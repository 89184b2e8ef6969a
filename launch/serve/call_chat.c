/* call_chat.c: conversations: messages and what else a chat template may be told, as the JSON that runtime/chat.h takes. */
#include "launch/serve/call_table.h"

#include "base/json.h"

#include <string.h>

static tsr_status out_of_memory(tsr_refusal *why)
{
    return tsr_refuse_for(why, TSR_ERR_MEMORY);
}

static json_t *conversation(tsr_api_call *call)
{
    if (!call->conversation) call->conversation = json_object();
    return call->conversation;
}

/* A content in parts is the text of its parts, one behind the other. */
static tsr_status join_parts(const json_t *parts, json_t *message, tsr_refusal *why)
{
    tsr_text text;
    if (tsr_text_init(&text, TSR_TEXT_NO_CAP) != TSR_OK) return out_of_memory(why);
    tsr_status s = TSR_OK;
    for (size_t i = 0; i < json_array_size(parts) && s == TSR_OK; i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *words = json_object_get(part, "text");
        if (!type || strcmp(type, "text") != 0 || !json_is_string(words))
            s = tsr_refuse(why, 400, "messages", "parts of a message must be of type text, found \"%.40s\"",
                           type ? type : "none");
        else if (tsr_text_append(&text, json_string_value(words), (int64_t)json_string_length(words)) !=
                 TSR_OK)
            s = out_of_memory(why);
    }
    if (s == TSR_OK &&
        json_object_set_new(message, "content", json_stringn(text.data, (size_t)text.length)) != 0)
        s = out_of_memory(why);
    tsr_text_free(&text);
    return s;
}

static tsr_status check_message(json_t *message, size_t index, tsr_refusal *why)
{
    const json_t *content = json_object_get(message, "content");
    if (!json_is_object(message) || !json_is_string(json_object_get(message, "role")))
        return tsr_refuse(why, 400, "messages", "message %zu must be an object with a role", index);
    if (json_is_array(content)) return join_parts(content, message, why);
    if (json_is_string(content) ||
        (json_is_null(content) &&
         strcmp(json_string_value(json_object_get(message, "role")), "assistant") == 0))
        return TSR_OK;
    return tsr_refuse(why, 400, "messages",
                      "the content of message %zu must be a string or a list of parts, found %s", index,
                      tsr_json_type_name(content));
}

tsr_status tsr_call_read_messages(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                  tsr_refusal *why)
{
    if (!json_is_array(value) || json_array_size(value) == 0)
        return tsr_refuse(why, 400, row->name, "%s must be a list of messages, found %s", row->name,
                          json_is_array(value) ? "an empty one" : tsr_json_type_name(value));
    json_t *messages = json_deep_copy(value);
    if (!messages || json_object_set_new(conversation(call), "messages", messages) != 0)
        return out_of_memory(why);
    for (size_t i = 0; i < json_array_size(messages); i++)
        TSR_TRY(check_message(json_array_get(messages, i), i, why));
    return TSR_OK;
}

/* Variables of the template, beside the messages. */
tsr_status tsr_call_read_template_variables(const tsr_call_row *row, const json_t *value, tsr_api_call *call,
                                            tsr_refusal *why)
{
    json_t *copy = json_deep_copy(value);
    if (!json_is_object(value) || json_object_get(value, "messages")) {
        json_decref(copy);
        return tsr_refuse(why, 400, row->name, "%s must be an object without messages", row->name);
    }
    int failed = copy ? json_object_update(conversation(call), copy) : -1;
    json_decref(copy);
    return failed ? out_of_memory(why) : TSR_OK;
}

tsr_status tsr_call_print_conversation(tsr_api_call *call, tsr_refusal *why)
{
    if (!json_object_get(call->conversation, "messages"))
        return tsr_refuse(why, 400, "messages", "messages is missing");
    call->conversation_text = json_dumps(call->conversation, JSON_COMPACT);
    json_decref(call->conversation);
    call->conversation = NULL;
    return call->conversation_text ? TSR_OK : out_of_memory(why);
}
