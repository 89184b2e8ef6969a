/* special_tokens.c: reading the token entries of tokenizer_config.json. */
#include "runtime/tokenizer/special_tokens.h"

#include <stdlib.h>
#include <string.h>

/* A token as a string or an object; out->content is NULL for anything else. */
static tsr_status read_token(const json_t *value, const char *where, tsr_added_token *out)
{
    *out = (tsr_added_token){.id = -1};
    if (json_is_object(value)) {
        TSR_TRY(tsr_added_token_read((tsr_object){value, where}, out));
    } else if (json_is_string(value)) {
        size_t n = json_string_length(value);
        out->content = json_string_value(value);
        out->length = n < INT32_MAX ? (int32_t)n : INT32_MAX;
    }
    out->normalized = false; /* here tokens are found in the text as it was given */
    return TSR_OK;
}

tsr_status tsr_config_token(tsr_object config, const char *key, const char **out)
{
    tsr_added_token token;
    *out = NULL;
    if (!config.object) return TSR_OK;
    TSR_TRY(read_token(json_object_get(config.object, key), config.where, &token));
    *out = token.content;
    return TSR_OK;
}

/* Names a token that exists: others would need an id, which the file does not give. */
static tsr_status add_named(const json_t *value, const char *where, tsr_tokenizer *t)
{
    tsr_added_token token;
    TSR_TRY(read_token(value, where, &token));
    if (!token.content || token.length == 0) return TSR_OK;
    token.special = true;
    bool known = tsr_added_token_id(t->added, token.content, token.length) >= 0 ||
                 tsr_vocabulary_id(t->model.vocabulary, token.content, token.length) >= 0;
    return known ? tsr_added_tokens_add(t->added, where, &token, true) : TSR_OK;
}

static const char *const token_names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token"};
enum { TOKEN_NAMES = sizeof token_names / sizeof token_names[0] };

static tsr_status add_decoder_entry(const char *key, const json_t *value, const char *where, tsr_tokenizer *t)
{
    tsr_added_token token;
    char *end;
    long long id = strtoll(key, &end, 10);
    if (*key < '0' || *key > '9' || *end || id < 0 || id >= TSR_TOKEN_ID_CAP || !json_is_object(value))
        return tsr_fail(TSR_ERR_FORMAT, "%s: added_tokens_decoder has an entry \"%.20s\" that is no token",
                        where, key);
    TSR_TRY(read_token(value, where, &token));
    token.id = (int32_t)id;
    return tsr_added_tokens_add(t->added, where, &token, true);
}

tsr_status tsr_config_add_tokens(tsr_object config, tsr_tokenizer *t)
{
    tsr_object decoder;
    const char *key;
    json_t *value;
    const json_t *more;
    if (!config.object) return TSR_OK;
    TSR_TRY(tsr_object_child(config, "added_tokens_decoder", &decoder));
    if (decoder.object)
        json_object_foreach((json_t *)decoder.object, key, value)
            TSR_TRY(add_decoder_entry(key, value, config.where, t));
    for (int i = 0; i < TOKEN_NAMES; i++)
        TSR_TRY(add_named(json_object_get(config.object, token_names[i]), config.where, t));
    if (!json_is_array(json_object_get(config.object, "additional_special_tokens"))) return TSR_OK;
    TSR_TRY(tsr_object_array(config, "additional_special_tokens", TSR_ADDED_TOKENS_CAP, &more));
    for (size_t i = 0; i < json_array_size(more); i++)
        TSR_TRY(add_named(json_array_get(more, i), config.where, t));
    return TSR_OK;
}

/* --- Beside a tokenizer.json --- */

/* A class that makes its own template, and the tokens it has unless the configuration names others. */
typedef struct template_class {
    const char *name; /* without "Fast" at the end */
    bool add_bos;
    const char *token[3]; /* bos, eos, unk */
} template_class;

static const template_class template_classes[] = {
    {"LlamaTokenizer", true, {"<s>", "</s>", "<unk>"}},
    {"CodeLlamaTokenizer", true, {"<s>", "</s>", "<unk>"}},
    {"GemmaTokenizer", true, {"<bos>", "<eos>", "<unk>"}},
    {"CohereTokenizer", true, {"<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>"}},
    {"GPTNeoXTokenizer", false, {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}},
};

/* *out = NULL: another class. */
static tsr_status find_class(tsr_object config, const template_class **out)
{
    const char *name;
    *out = NULL;
    TSR_TRY(tsr_object_string(config, "tokenizer_class", "", &name));
    for (size_t i = 0; i < sizeof template_classes / sizeof template_classes[0]; i++) {
        size_t n = strlen(template_classes[i].name);
        if (strncmp(name, template_classes[i].name, n) == 0 && (!name[n] || strcmp(name + n, "Fast") == 0))
            *out = &template_classes[i];
    }
    return TSR_OK;
}

typedef struct decoder_entry {
    long long id;
    const json_t *value;
} decoder_entry;

static int by_id(const void *left, const void *right)
{
    const decoder_entry *l = left, *r = right;
    return (l->id > r->id) - (l->id < r->id);
}

static tsr_status update_entries(const decoder_entry *entry, size_t n, const char *where, tsr_tokenizer *t)
{
    for (size_t i = 0; i < n; i++) {
        tsr_added_token token;
        if (!json_is_object(entry[i].value))
            return tsr_fail(TSR_ERR_FORMAT, "%s: added_tokens_decoder has an entry %lld that is no token",
                            where, entry[i].id);
        TSR_TRY(tsr_added_token_read((tsr_object){entry[i].value, where}, &token));
        TSR_TRY(tsr_added_tokens_add(t->added, where, &token, false));
    }
    return TSR_OK;
}

static tsr_status update_decoder(tsr_object decoder, tsr_tokenizer *t)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    void *p;
    if (json_object_size(decoder.object) > TSR_ADDED_TOKENS_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: added_tokens_decoder has too many entries", decoder.where);
    TSR_TRY(
        tsr_calloc((int64_t)json_object_size(decoder.object), sizeof(decoder_entry), "the added tokens", &p));
    decoder_entry *entry = p;
    json_object_foreach((json_t *)decoder.object, key, value) entry[n++] =
        (decoder_entry){strtoll(key, NULL, 10), value};
    qsort(entry, n, sizeof *entry, by_id);
    tsr_status status = update_entries(entry, n, decoder.where, t);
    tsr_free(entry);
    return status;
}

static tsr_status update_default(const char *content, const char *where, tsr_tokenizer *t)
{
    tsr_added_token token = {.content = content, .length = (int32_t)strlen(content), .special = true};
    if (tsr_added_token_id(t->added, content, token.length) >= 0) return TSR_OK;
    return tsr_added_tokens_add(t->added, where, &token, false);
}

static tsr_status update_named(const json_t *value, const char *where, tsr_tokenizer *t)
{
    tsr_added_token token;
    TSR_TRY(read_token(value, where, &token));
    if (!token.content || tsr_added_token_id(t->added, token.content, token.length) >= 0) return TSR_OK;
    token.special = true;
    return tsr_added_tokens_add(t->added, where, &token, false);
}

tsr_status tsr_config_update_tokens(tsr_object config, tsr_tokenizer *t)
{
    const template_class *c;
    tsr_object decoder;
    if (!config.object) return TSR_OK;
    TSR_TRY(find_class(config, &c));
    TSR_TRY(tsr_object_child(config, "added_tokens_decoder", &decoder));
    if (decoder.object) TSR_TRY(update_decoder(decoder, t));
    for (int i = 0; i < TOKEN_NAMES; i++) {
        const json_t *value = json_object_get(config.object, token_names[i]);
        TSR_TRY(value || !c || i >= 3 ? update_named(value, config.where, t)
                                      : update_default(c->token[i], config.where, t));
    }
    const json_t *more = json_object_get(config.object, "additional_special_tokens");
    for (size_t i = 0; i < json_array_size(more); i++)
        TSR_TRY(update_named(json_array_get(more, i), config.where, t));
    return TSR_OK;
}

tsr_status tsr_config_replace_template(tsr_object config, tsr_tokenizer *t)
{
    const template_class *c;
    const char *bos, *eos;
    if (!config.object) return TSR_OK;
    TSR_TRY(find_class(config, &c));
    if (!c) return TSR_OK;
    TSR_TRY(tsr_config_token(config, "bos_token", &bos));
    TSR_TRY(tsr_config_token(config, "eos_token", &eos));
    return tsr_config_put_around(config, c->add_bos, false, tsr_tokenizer_id(t, bos ? bos : c->token[0]),
                                 tsr_tokenizer_id(t, eos ? eos : c->token[1]), t);
}

tsr_status tsr_config_put_around(tsr_object config, bool add_bos, bool add_eos, int32_t bos, int32_t eos,
                                 tsr_tokenizer *t)
{
    TSR_TRY(tsr_object_bool(config, "add_bos_token", add_bos, &add_bos));
    TSR_TRY(tsr_object_bool(config, "add_eos_token", add_eos, &add_eos));
    t->around.count = 0;
    if (add_bos && bos >= 0) t->around.item[t->around.count++] = bos;
    t->around.item[t->around.count++] = TSR_TEMPLATE_TEXT;
    if (add_eos && eos >= 0) t->around.item[t->around.count++] = eos;
    return TSR_OK;
}
