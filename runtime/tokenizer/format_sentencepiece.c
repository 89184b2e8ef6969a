/* format_sentencepiece.c: a SentencePiece file (tokenizer.model, ice_text.model, sentencepiece.bpe.model), with what
 * tokenizer_config.json and the family add to it. */
#include "runtime/tokenizer/chatglm_text.h"
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/sentencepiece.h"
#include "runtime/tokenizer/special_tokens.h"
#include "runtime/tokenizer/tiktoken.h"

#include <stdio.h>

enum { MADE_UP_WORDS = 7 };

typedef struct family {
    const char *tokenizer_class; /* without "Fast" at the end */
    const char *named[5];        /* special tokens found in a text even if the configuration names none */
    bool add_bos;
    tsr_status (*finish)(tsr_object config, tsr_tokenizer *t); /* NULL: bos and eos go around the text */
} family;

/* The id of a token that the configuration names, else the model's own. */
static tsr_status named_id(tsr_object config, const char *key, int32_t fallback, const tsr_tokenizer *t,
                           int32_t *out)
{
    const char *content;
    TSR_TRY(tsr_config_token(config, key, &content));
    *out = content && *content ? tsr_tokenizer_id(t, content) : fallback;
    return TSR_OK;
}

static tsr_status add_token(tsr_tokenizer *t, const char *content, int64_t id, bool hidden)
{
    tsr_added_token token = {.content = content,
                             .length = (int32_t)strlen(content),
                             .id = (int32_t)id,
                             .special = true,
                             .hidden = hidden};
    if (tsr_added_token_id(t->added, content, token.length) >= 0) return TSR_OK;
    return tsr_added_tokens_add(t->added, "the special tokens", &token, true);
}

/* A name that the tokenizer does not know is left out. */
static void put(tsr_tokenizer *t, const char *piece)
{
    int32_t id = piece ? tsr_tokenizer_id(t, piece) : -1;
    if (id >= 0) t->around.item[t->around.count++] = id;
}

static void put_around(tsr_tokenizer *t, const char *const front[2], const char *const back[2])
{
    t->around.count = 0;
    for (int i = 0; i < 2; i++) put(t, front[i]);
    t->around.item[t->around.count++] = TSR_TEMPLATE_TEXT;
    for (int i = 0; i < 2; i++) put(t, back[i]);
}

/* XGLM: ids as fairseq numbers them, made-up words behind the last piece, and </s> in front of a text. */
static tsr_status finish_xglm(tsr_object config, tsr_tokenizer *t)
{
    const tsr_sentencepiece *s = t->model.state;
    (void)config;
    TSR_TRY(add_token(t, "<pad>", 1, false));
    for (int i = 0; i < MADE_UP_WORDS; i++) {
        char content[24];
        snprintf(content, sizeof content, "<madeupword%d>", i);
        TSR_TRY(add_token(t, content, s->size + (int64_t)i, false));
    }
    return TSR_OK;
}

/* ChatGLM 2 and 3: tokens behind the pieces, which are written by programs and never found in a text. */
static tsr_status finish_chatglm(tsr_object config, tsr_tokenizer *t)
{
    static const char *const names[] = {"[MASK]",   "[gMASK]",       "[sMASK]",
                                        "sop",      "eop",           "<|system|>",
                                        "<|user|>", "<|assistant|>", "<|observation|>"};
    const tsr_sentencepiece *s = t->model.state;
    (void)config;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        TSR_TRY(add_token(t, names[i], s->size + (int64_t)i, true));
    return TSR_OK;
}

/* GLM of 2022: all its special tokens are named by the configuration. */
static tsr_status finish_glm(tsr_object config, tsr_tokenizer *t)
{
    (void)config, (void)t;
    return TSR_OK;
}

/* The first row is for classes that have none. */
static const family families[] = {
    {"LlamaTokenizer", {NULL}, true, NULL},
    {"InternLMTokenizer", {"<s>", "</s>", "<unk>"}, true, NULL},
    {"BaichuanTokenizer", {"<s>", "</s>", "<unk>"}, true, NULL},
    {"BaiChuanTokenizer", {"<s>", "</s>", "<unk>"}, true, NULL},
    {"XGLMTokenizer", {"<s>", "</s>", "<unk>"}, false, finish_xglm},
    {"ChatGLMTokenizer", {NULL}, false, finish_chatglm},
    {"GLMChineseTokenizer", {NULL}, false, finish_glm},
};
static const family chatglm_6b = {
    "ChatGLMTokenizer", {"<sop>", "<eop>", "[MASK]", "<pad>", "<unk>"}, false, NULL};

static tsr_status family_of(tsr_object config, const family **out)
{
    const char *name;
    TSR_TRY(tsr_object_string(config, "tokenizer_class", "", &name));
    *out = &families[0];
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        size_t n = strlen(families[i].tokenizer_class);
        if (strncmp(name, families[i].tokenizer_class, n) == 0 && (!name[n] || strcmp(name + n, "Fast") == 0))
            *out = &families[i];
    }
    return TSR_OK;
}

/* How the family numbers the pieces. The first ChatGLM reserved ids for images. */
static tsr_status piece_ids(const family *f, tsr_object config, const char *file, tsr_piece_ids *out)
{
    int64_t images = 0;
    bool first = strcmp(file, "ice_text.model") == 0;
    *out = (tsr_piece_ids){.fairseq = f->finish == finish_xglm};
    if (f->finish != finish_chatglm) return TSR_OK;
    TSR_TRY(tsr_object_int(config, "num_image_tokens", first ? 20000 : 0, 0, 1 << 20, &images));
    out->offset = (int32_t)images;
    return TSR_OK;
}

static tsr_status add_tokens(const family *f, tsr_object config, tsr_tokenizer *t)
{
    TSR_TRY(tsr_added_tokens_create(t->model.vocabulary, &t->added));
    TSR_TRY(tsr_config_add_tokens(config, t));
    for (int i = 0; i < 5 && f->named[i]; i++)
        if (tsr_vocabulary_id(t->model.vocabulary, f->named[i], (int64_t)strlen(f->named[i])) >= 0)
            TSR_TRY(add_token(t, f->named[i], -1, false));
    if (f != &families[0]) tsr_added_tokens_stand_alone(t->added);
    if (f->finish) TSR_TRY(f->finish(config, t));
    return tsr_added_tokens_finish(t->added, &(tsr_components){0});
}

/* The tokens around a text. */
static tsr_status around(const family *f, tsr_object config, tsr_tokenizer *t)
{
    static const char *const none[2] = {NULL, NULL}, *const end[2] = {"</s>", NULL};
    static const char *const glm[2] = {"[gMASK]", "sop"}, *const glm_6b[2] = {"[gMASK]", "<sop>"};
    static const char *const cls[2] = {"[CLS]", NULL}, *const ends[2] = {"<|endoftext|>", "<|startofpiece|>"};
    const tsr_sentencepiece *s = t->model.state;
    int32_t bos, eos;
    if (f->finish == finish_glm) return put_around(t, cls, ends), TSR_OK;
    if (f == &chatglm_6b) return put_around(t, none, glm_6b), TSR_OK;
    if (f->finish == finish_chatglm) return put_around(t, glm, none), TSR_OK;
    if (f->finish == finish_xglm) return put_around(t, end, none), TSR_OK;
    TSR_TRY(named_id(config, "bos_token", s->bos_id, t, &bos));
    TSR_TRY(named_id(config, "eos_token", s->eos_id, t, &eos));
    return tsr_config_put_around(config, f->add_bos, false, bos, eos, t);
}

/* Normalizer and decoder; those of the first ChatGLM write white space as pieces. */
static void set_parts(const family *f, tsr_tokenizer *t)
{
    tsr_sentencepiece *s = t->model.state;
    tsr_component own = {&tsr_normalizer_sentencepiece.base, s}, back = {&tsr_decoder_sentencepiece.base, s};
    t->normalizers = (tsr_components){.item = {own}, .count = 1};
    t->decoders = (tsr_components){.item = {back}, .count = 1};
    if (f != &chatglm_6b) return;
    t->normalizers = (tsr_components){.item = {{&tsr_normalizer_chatglm.base, NULL}, own}, .count = 2};
    t->decoders = (tsr_components){.item = {back, {&tsr_decoder_chatglm.base, NULL}}, .count = 2};
}

tsr_status tsr_tokenizer_from_sentencepiece(const char *bytes, int64_t n, const char *name,
                                            const tsr_json *config, tsr_tokenizer *t)
{
    tsr_object c = tsr_json_root(config);
    const family *f;
    tsr_piece_ids ids;
    TSR_TRY(family_of(c, &f));
    TSR_TRY(piece_ids(f, c, name, &ids));
    TSR_TRY(tsr_sentencepiece_load(bytes, n, name, &ids, t->arena, &t->model));
    tsr_sentencepiece *s = t->model.state;
    if (f->finish == finish_chatglm && tsr_vocabulary_id(t->model.vocabulary, "<sop>", 5) >= 0)
        f = &chatglm_6b;
    set_parts(f, t);
    /* "legacy": every stretch of text between added tokens gets a blank in front; since 2023 only the first
     * one. */
    TSR_TRY(tsr_object_bool(c, "legacy", true, &s->prefix_once));
    s->prefix_once = !s->prefix_once;
    TSR_TRY(add_tokens(f, c, t));
    return around(f, c, t);
}

static tsr_status load_file(const char *dir, const char *file, tsr_tokenizer *t)
{
    char *bytes;
    int64_t n;
    tsr_json config;
    TSR_TRY(tsr_tokenizer_read_bytes(dir, file, &bytes, &n));
    tsr_status status = tsr_tokenizer_read_config_and_added(dir, &config);
    if (status == TSR_OK)
        status = tsr_tiktoken_is(bytes, n) ? tsr_tokenizer_from_tiktoken(bytes, n, file, &config, t)
                                           : tsr_tokenizer_from_sentencepiece(bytes, n, file, &config, t);
    tsr_json_free(&config);
    tsr_free(bytes);
    return status;
}

static tsr_status load(const char *dir, tsr_tokenizer *t)
{
    return load_file(dir, "tokenizer.model", t);
}

static tsr_status load_ice_text(const char *dir, tsr_tokenizer *t)
{
    return load_file(dir, "ice_text.model", t);
}

static tsr_status load_bpe_model(const char *dir, tsr_tokenizer *t)
{
    return load_file(dir, "sentencepiece.bpe.model", t);
}

static tsr_status load_cog_pretrain(const char *dir, tsr_tokenizer *t)
{
    return load_file(dir, "cog-pretrain.model", t);
}

const tsr_tokenizer_format tsr_format_cog_pretrain = {{"cog-pretrain.model", NULL}, load_cog_pretrain};
const tsr_tokenizer_format tsr_format_sentencepiece = {{"tokenizer.model", NULL}, load};
const tsr_tokenizer_format tsr_format_ice_text = {{"ice_text.model", NULL}, load_ice_text};
const tsr_tokenizer_format tsr_format_sentencepiece_bpe = {{"sentencepiece.bpe.model", NULL}, load_bpe_model};
