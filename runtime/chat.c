/* chat.c: finding a model's chat template, and giving it what transformers would give it. */
#include "runtime/chat.h"

#include "base/json.h"
#include "base/memory.h"
#include "runtime/template/template.h"
#include "runtime/tokenizer/special_tokens.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct tsr_chat {
    tsr_template *usual, *tools; /* tools: for conversations with tools; NULL: the usual one */
    json_t *tokens;              /* {"bos_token": "<s>", ..} */
};

static const char *const token_names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token"};

/* --- Loading --- */

static tsr_status join_path(const char *dir, const char *file, char *path, size_t size)
{
    if (snprintf(path, size, "%s/%s", dir, file) < (int)size) return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE, "the name of the model folder is too long");
}

static tsr_status read_template(const char *path, tsr_template **out)
{
    void *bytes;
    FILE *f = fopen(path, "rb");
    if (!f) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    tsr_status s = tsr_alloc(TSR_TEMPLATE_SOURCE_CAP + 1, "a template", &bytes);
    if (s == TSR_OK) {
        size_t n = fread(bytes, 1, TSR_TEMPLATE_SOURCE_CAP + 1, f);
        s = ferror(f) ? tsr_fail(TSR_ERR_IO, "%s: cannot be read: %s", path, strerror(errno))
                      : tsr_template_create(bytes, (int64_t)n, path, out);
        tsr_free(bytes);
    }
    fclose(f);
    return s;
}

static tsr_status make_template(const json_t *source, tsr_template **out)
{
    if (!json_is_string(source))
        return tsr_fail(TSR_ERR_FORMAT, "tokenizer_config.json: a chat template must be a string");
    return tsr_template_create(json_string_value(source), (int64_t)json_string_length(source),
                               "chat_template", out);
}

/* A list of named templates: "default" and "tool_use" are those that are used. */
static tsr_status take_named(const json_t *list, tsr_chat *c)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        bool usual = name && strcmp(name, "default") == 0, tools = name && strcmp(name, "tool_use") == 0;
        if (usual && !c->usual) TSR_TRY(make_template(json_object_get(one, "template"), &c->usual));
        if (tools && !c->tools) TSR_TRY(make_template(json_object_get(one, "template"), &c->tools));
    }
    return TSR_OK;
}

static tsr_status find_template(const char *dir, const char *file, const json_t *config, tsr_chat *c)
{
    char path[4096];
    const json_t *stated = json_object_get(config, "chat_template");
    if (file) return read_template(file, &c->usual);
    TSR_TRY(join_path(dir, "chat_template.jinja", path, sizeof path));
    if (access(path, F_OK) == 0) return read_template(path, &c->usual);
    if (json_is_array(stated))
        TSR_TRY(take_named(stated, c));
    else if (stated && !json_is_null(stated))
        TSR_TRY(make_template(stated, &c->usual));
    if (c->usual) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: there is no chat template: neither chat_template.jinja nor \"chat_template\" in "
                    "tokenizer_config.json",
                    dir);
}

/* Reads a JSON object of the folder; *out is zeroed if there is no such file. */
static tsr_status read_if_there(const char *dir, const char *file, tsr_json *out)
{
    char path[4096];
    *out = (tsr_json){0};
    TSR_TRY(join_path(dir, file, path, sizeof path));
    return access(path, F_OK) == 0 ? tsr_json_read(path, TSR_JSON_CONFIG_CAP, out) : TSR_OK;
}

/* Tokens that are not known yet. */
static tsr_status take_tokens(const tsr_json *doc, json_t *tokens)
{
    for (size_t i = 0; doc->root && i < sizeof token_names / sizeof token_names[0]; i++) {
        const char *text;
        TSR_TRY(tsr_config_token(tsr_json_root(doc), token_names[i], &text));
        if (!text || json_object_get(tokens, token_names[i])) continue;
        if (json_object_set_new(tokens, token_names[i], json_string(text)) != 0)
            return tsr_fail(TSR_ERR_MEMORY, "no memory for the special tokens");
    }
    return TSR_OK;
}

static tsr_status load(const char *dir, const char *file, tsr_chat *c)
{
    tsr_json config, map;
    c->tokens = json_object();
    if (!c->tokens) return tsr_fail(TSR_ERR_MEMORY, "no memory for the special tokens");
    tsr_status s = read_if_there(dir, "tokenizer_config.json", &config);
    if (s != TSR_OK) return s;
    s = take_tokens(&config, c->tokens);
    if (s == TSR_OK) s = find_template(dir, file, config.root, c);
    tsr_json_free(&config);
    if (s != TSR_OK) return s;
    s = read_if_there(dir, "special_tokens_map.json", &map);
    if (s == TSR_OK) s = take_tokens(&map, c->tokens);
    tsr_json_free(&map);
    return s;
}

tsr_status tsr_chat_load(const char *model_dir, const char *template_file, tsr_chat **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_chat), "a chat template", &p));
    tsr_chat *c = p;
    tsr_status s = load(model_dir, template_file, c);
    if (s != TSR_OK) tsr_chat_destroy(&c);
    *out = c;
    return s;
}

void tsr_chat_destroy(tsr_chat **chat)
{
    tsr_chat *c = *chat;
    if (!c) return;
    tsr_template_destroy(&c->usual);
    tsr_template_destroy(&c->tools);
    json_decref(c->tokens);
    tsr_free(c);
    *chat = NULL;
}

/* --- Prompts --- */

static tsr_status check_messages(const json_t *messages, const char *name)
{
    size_t i, n = json_array_size(messages);
    if (!json_is_array(messages) || n == 0)
        return tsr_fail(TSR_ERR_USAGE, "%s: expected a list of messages, or an object with \"messages\"",
                        name);
    for (i = 0; i < n; i++)
        if (!json_is_string(json_object_get(json_array_get(messages, i), "role")))
            return tsr_fail(TSR_ERR_USAGE, "%s: message %zu must be an object with a \"role\"", name, i + 1);
    return TSR_OK;
}

/* What the template finds: what the conversation says, and over it what is not for it to say. */
static bool add_variables(const tsr_chat *c, bool add_generation_prompt, json_t *v)
{
    bool good = json_object_update(v, c->tokens) == 0;
    if (!json_object_get(v, "tools")) good &= json_object_set_new(v, "tools", json_null()) == 0;
    if (!json_object_get(v, "documents")) good &= json_object_set_new(v, "documents", json_null()) == 0;
    return good && json_object_set_new(v, "add_generation_prompt", json_boolean(add_generation_prompt)) == 0;
}

/* A copy to put variables into; what it holds is shared. NULL without memory. */
static json_t *variables_of(const json_t *conversation)
{
    json_t *v = json_is_object(conversation) ? json_copy((json_t *)(uintptr_t)conversation) : json_object();
    if (!json_is_array(conversation) || !v) return v;
    if (json_object_set(v, "messages", (json_t *)(uintptr_t)conversation) == 0) return v;
    json_decref(v);
    return NULL;
}

tsr_status tsr_chat_prompt_of(const tsr_chat *chat, const json_t *conversation, const char *name,
                              bool add_generation_prompt, tsr_text *out)
{
    json_t *v = variables_of(conversation);
    if (!v) return tsr_fail(TSR_ERR_MEMORY, "%s: no memory for the conversation", name);
    tsr_status s = check_messages(json_object_get(v, "messages"), name);
    if (s == TSR_OK && !add_variables(chat, add_generation_prompt, v))
        s = tsr_fail(TSR_ERR_MEMORY, "%s: no memory for the conversation", name);
    bool tools = json_is_array(json_object_get(v, "tools")) && chat->tools;
    if (s == TSR_OK) s = tsr_template_render(tools ? chat->tools : chat->usual, v, NULL, out);
    json_decref(v);
    return s;
}

tsr_status tsr_chat_prompt(const tsr_chat *chat, const char *json, int64_t n, const char *name,
                           bool add_generation_prompt, tsr_text *out)
{
    json_error_t error;
    json_t *conversation = json_loadb(json, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    if (!conversation)
        return tsr_fail(TSR_ERR_USAGE, "%s: line %d: is no JSON: %s", name, error.line, error.text);
    tsr_status s = tsr_chat_prompt_of(chat, conversation, name, add_generation_prompt, out);
    json_decref(conversation);
    return s;
}
