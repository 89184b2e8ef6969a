/* special_tokens.c: reading the token entries of tokenizer_config.json. */
#include "runtime/tokenizer/special_tokens.h"

#include <stdlib.h>

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
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                        "sep_token", "cls_token", "mask_token"};
    tsr_object decoder;
    const char *key;
    json_t *value;
    const json_t *more;
    if (!config.object) return TSR_OK;
    TSR_TRY(tsr_object_child(config, "added_tokens_decoder", &decoder));
    if (decoder.object)
        json_object_foreach((json_t *)decoder.object, key, value)
            TSR_TRY(add_decoder_entry(key, value, config.where, t));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        TSR_TRY(add_named(json_object_get(config.object, names[i]), config.where, t));
    if (!json_is_array(json_object_get(config.object, "additional_special_tokens"))) return TSR_OK;
    TSR_TRY(tsr_object_array(config, "additional_special_tokens", TSR_ADDED_TOKENS_CAP, &more));
    for (size_t i = 0; i < json_array_size(more); i++)
        TSR_TRY(add_named(json_array_get(more, i), config.where, t));
    return TSR_OK;
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
