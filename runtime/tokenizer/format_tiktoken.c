/* format_tiktoken.c: a file of ranks (qwen.tiktoken, tokenizer.model), whose other parts the family decides. */
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/special_tokens.h"
#include "runtime/tokenizer/tiktoken.h"

#include <stdio.h>

#define WORDS(digits)                                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits                           \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT(pattern)                                                                                       \
    "\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"" pattern "\"" \
    "}}"

enum { EXTRA_TOKENS = 205, AROUND_CAP = 2 };

typedef struct family {
    const char *tokenizer_class;
    const char *parts;                /* as in a tokenizer.json */
    const char *special[8];           /* tokens behind the last rank, in order */
    int extra;                        /* further ones behind those: <|extra_0|> and so on */
    bool nfc;                         /* of the whole text: special tokens are looked for afterwards */
    const char *in_front[AROUND_CAP]; /* of a text */
} family;

static const family families[] = {
    {"QWenTokenizer",
     "{" SPLIT(WORDS("\\\\p{N}")) "}",
     {"<|endoftext|>", "<|im_start|>", "<|im_end|>"},
     EXTRA_TOKENS,
     true,
     {NULL}},
    {"ChatGLM4Tokenizer",
     "{" SPLIT(WORDS("\\\\p{N}{1,3}")) "}",
     {"<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"},
     0,
     false,
     {"[gMASK]", "<sop>"}},
};

static tsr_status family_of(tsr_object config, const char *where, const char *fallback, const family **out)
{
    const char *name;
    TSR_TRY(tsr_object_string(config, "tokenizer_class", fallback, &name));
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        *out = &families[i];
        if (strcmp(families[i].tokenizer_class, name) == 0) return TSR_OK;
    }
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: a file of ranks for tokenizer_class \"%.40s\"; we have QWenTokenizer and "
                    "ChatGLM4Tokenizer",
                    where, name);
}

static tsr_status load_parts(const family *f, tsr_tokenizer *t)
{
    tsr_json doc;
    tsr_object o;
    tsr_status status;
    TSR_TRY(tsr_json_parse(f->parts, (int64_t)strlen(f->parts), f->tokenizer_class, &doc));
    if (f->nfc) t->normalizers = (tsr_components){.item = {{&tsr_normalizer_nfc_now.base, NULL}}, .count = 1};
    TSR_TRY_OUT(tsr_component_child(tsr_json_root(&doc), "pre_tokenizer", t->arena, &o));
    TSR_TRY_OUT(tsr_pre_tokenizers_load(o, t->arena, &t->pre_tokenizers));
    t->decoders = (tsr_components){.item = {{&tsr_decoder_bytes.base, NULL}}, .count = 1};
out:
    tsr_json_free(&doc);
    return status;
}

static tsr_status add_special(const family *f, const char *where, const char *content, int32_t id,
                              tsr_tokenizer *t)
{
    tsr_added_token token = {.content = content,
                             .length = (int32_t)strlen(content),
                             .id = id,
                             .special = true,
                             .normalized = f->nfc};
    if (tsr_added_token_id(t->added, content, token.length) >= 0) return TSR_OK;
    return tsr_added_tokens_add(t->added, where, &token, true);
}

/* What the configuration names goes first: a family's own tokens stand behind the ranks unless it says otherwise. */
static tsr_status add_specials(const family *f, tsr_object config, const char *where, tsr_tokenizer *t)
{
    int32_t next = tsr_vocabulary_size(t->model.vocabulary);
    TSR_TRY(tsr_added_tokens_create(t->model.vocabulary, &t->added));
    if (!f->nfc) TSR_TRY(tsr_config_add_tokens(config, t));
    for (int i = 0; i < 8 && f->special[i]; i++) TSR_TRY(add_special(f, where, f->special[i], next++, t));
    for (int i = 0; i < f->extra; i++) {
        char content[24];
        snprintf(content, sizeof content, "<|extra_%d|>", i);
        TSR_TRY(add_special(f, where, content, next++, t));
    }
    return tsr_added_tokens_finish(t->added, &t->normalizers);
}

tsr_status tsr_tokenizer_from_tiktoken(const char *bytes, int64_t n, const char *name, const tsr_json *config,
                                       tsr_tokenizer *t)
{
    const family *f;
    tsr_object c = tsr_json_root(config);
    TSR_TRY(family_of(c, name, strcmp(name, "qwen.tiktoken") == 0 ? "QWenTokenizer" : "none", &f));
    TSR_TRY(tsr_tiktoken_load(bytes, n, name, &t->model));
    TSR_TRY(load_parts(f, t));
    TSR_TRY(add_specials(f, c, name, t));
    t->around.count = 0;
    for (int i = 0; i < AROUND_CAP && f->in_front[i]; i++)
        t->around.item[t->around.count++] = tsr_tokenizer_id(t, f->in_front[i]);
    t->around.item[t->around.count++] = TSR_TEMPLATE_TEXT;
    return TSR_OK;
}

static tsr_status load(const char *dir, tsr_tokenizer *t)
{
    static const char file[] = "qwen.tiktoken";
    char *bytes;
    int64_t n;
    tsr_json config;
    TSR_TRY(tsr_tokenizer_read_bytes(dir, file, &bytes, &n));
    tsr_status status = tsr_tokenizer_read_config(dir, &config);
    if (status == TSR_OK) status = tsr_tokenizer_from_tiktoken(bytes, n, file, &config, t);
    tsr_json_free(&config);
    tsr_free(bytes);
    return status;
}

const tsr_tokenizer_format tsr_format_tiktoken = {{"qwen.tiktoken", NULL}, load};
