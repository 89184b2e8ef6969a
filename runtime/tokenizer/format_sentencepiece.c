/* format_sentencepiece.c: tokenizer.model, with what tokenizer_config.json adds to it. */
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/sentencepiece.h"
#include "runtime/tokenizer/special_tokens.h"

/* The id of a token that the configuration names, else the model's own. */
static tsr_status named_id(tsr_object config, const char *key, int32_t fallback, const tsr_tokenizer *t,
                           int32_t *out)
{
    const char *content;
    TSR_TRY(tsr_config_token(config, key, &content));
    *out = content && *content ? tsr_tokenizer_id(t, content) : fallback;
    return TSR_OK;
}

tsr_status tsr_tokenizer_from_sentencepiece(const char *bytes, int64_t n, const char *name,
                                            const tsr_json *config, tsr_tokenizer *t)
{
    tsr_object c = tsr_json_root(config);
    int32_t bos, eos;
    TSR_TRY(tsr_sentencepiece_load(bytes, n, name, t->arena, &t->model));
    tsr_sentencepiece *s = t->model.state;
    t->normalizers = (tsr_components){.item = {{&tsr_normalizer_sentencepiece.base, s}}, .count = 1};
    t->decoders = (tsr_components){.item = {{&tsr_decoder_sentencepiece.base, s}}, .count = 1};
    /* "legacy": every stretch of text between added tokens gets a blank in front; since 2023 only the first
     * one. */
    TSR_TRY(tsr_object_bool(c, "legacy", true, &s->prefix_once));
    s->prefix_once = !s->prefix_once;
    TSR_TRY(tsr_added_tokens_create(t->model.vocabulary, &t->added));
    TSR_TRY(tsr_config_add_tokens(c, t));
    TSR_TRY(tsr_added_tokens_finish(t->added, &(tsr_components){0}));
    TSR_TRY(named_id(c, "bos_token", s->bos_id, t, &bos));
    TSR_TRY(named_id(c, "eos_token", s->eos_id, t, &eos));
    return tsr_config_put_around(c, true, false, bos, eos, t);
}

static tsr_status load(const char *dir, tsr_tokenizer *t)
{
    char *bytes;
    int64_t n;
    tsr_json config;
    TSR_TRY(tsr_tokenizer_read_bytes(dir, "tokenizer.model", &bytes, &n));
    tsr_status status = tsr_tokenizer_read_config(dir, &config);
    if (status == TSR_OK) status = tsr_tokenizer_from_sentencepiece(bytes, n, "tokenizer.model", &config, t);
    tsr_json_free(&config);
    tsr_free(bytes);
    return status;
}

const tsr_tokenizer_format tsr_format_sentencepiece = {{"tokenizer.model", NULL}, load};
