/* format_vocab_merges.c: vocab.json and merges.txt: BPE, nearly always of bytes, whose other parts the family decides.
 *
 * A family is a row: its parts are written as they would stand in a tokenizer.json and read by the same code.
 */
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/formats.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/special_tokens.h"

#define BYTE_LEVEL_DECODER "\"decoder\":{\"type\":\"ByteLevel\"}"

static const char gpt2_parts[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}," BYTE_LEVEL_DECODER "}";

static const char qwen2_parts[] =
    "{\"normalizer\":{\"type\":\"NFC\"},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}," BYTE_LEVEL_DECODER "}";

static const char clip_parts[] =
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\s+\"},\"content\":\" \"},{\"type\":\"Lowercase\"}]},"
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"behavior\":\"Removed\",\"invert\":true,\"pattern\":{\"Regex\":"
    "\"'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"}},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},"
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"</w>\"},\"content\":\" \"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":0,\"stop\":1}]}}";

static const char openai_gpt_parts[] =
    "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
    "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"}}";

typedef struct family {
    const char *tokenizer_class; /* without "Fast" at the end */
    const char *parts;
    const char *bos, *eos, *unk, *mask; /* unless the configuration names others; NULL: none */
    bool add_bos, add_eos;
    const char *end_of_word_suffix;
    const char *front, *back[2]; /* around a text, whatever the configuration says */
} family;

/* The first row is for classes that have none. */
static const family families[] = {
    {.tokenizer_class = "GPT2Tokenizer",
     .parts = gpt2_parts,
     .bos = "<|endoftext|>",
     .eos = "<|endoftext|>",
     .unk = "<|endoftext|>"},
    {.tokenizer_class = "Qwen2Tokenizer",
     .parts = qwen2_parts,
     .eos = "<|endoftext|>",
     .unk = "<|endoftext|>"},
#define ROBERTA_TOKENS .bos = "<s>", .eos = "</s>", .unk = "<unk>", .mask = "<mask>"
    {.tokenizer_class = "RobertaTokenizer",
     .parts = gpt2_parts,
     ROBERTA_TOKENS,
     .add_bos = true,
     .add_eos = true},
    {.tokenizer_class = "BartTokenizer",
     .parts = gpt2_parts,
     ROBERTA_TOKENS,
     .add_bos = true,
     .add_eos = true},
    {.tokenizer_class = "LongformerTokenizer",
     .parts = gpt2_parts,
     ROBERTA_TOKENS,
     .add_bos = true,
     .add_eos = true},
    {.tokenizer_class = "CLIPTokenizer",
     .parts = clip_parts,
     .bos = "<|startoftext|>",
     .eos = "<|endoftext|>",
     .unk = "<|endoftext|>",
     .add_bos = true,
     .add_eos = true,
     .end_of_word_suffix = "</w>"},
    {.tokenizer_class = "OpenAIGPTTokenizer",
     .parts = openai_gpt_parts,
     .unk = "<unk>",
     .end_of_word_suffix = "</w>"},
    /* GLM of 2022: a prompt ends in the token that begins the filling. */
    {.tokenizer_class = "GLMGPT2Tokenizer",
     .parts = gpt2_parts,
     .bos = "<|endoftext|>",
     .eos = "<|endoftext|>",
     .unk = "<|endoftext|>",
     .front = "[CLS]",
     .back = {"<|endoftext|>", "<|startofpiece|>"}},
    {.tokenizer_class = "GLMRobertaTokenizer",
     .parts = gpt2_parts,
     ROBERTA_TOKENS,
     .front = "<s>",
     .back = {"</s>", "<|startofpiece|>"}},
#undef ROBERTA_TOKENS
};

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

/* The parts as JSON, with the configuration's add_prefix_space. */
static tsr_status load_parts(const family *f, tsr_object config, tsr_tokenizer *t)
{
    tsr_json doc;
    tsr_object o;
    TSR_TRY(tsr_json_parse(f->parts, (int64_t)strlen(f->parts), f->tokenizer_class, &doc));
    tsr_object root = tsr_json_root(&doc);
    tsr_status status;
    if (f->parts == gpt2_parts && tsr_object_has(config, "add_prefix_space")) {
        bool add;
        TSR_TRY_OUT(tsr_object_bool(config, "add_prefix_space", false, &add));
        json_object_set_new(json_object_get(root.object, "pre_tokenizer"), "add_prefix_space",
                            json_boolean(add));
    }
    TSR_TRY_OUT(tsr_component_child(root, "normalizer", t->arena, &o));
    TSR_TRY_OUT(tsr_normalizers_load(o, t->arena, &t->normalizers));
    TSR_TRY_OUT(tsr_component_child(root, "pre_tokenizer", t->arena, &o));
    TSR_TRY_OUT(tsr_pre_tokenizers_load(o, t->arena, &t->pre_tokenizers));
    TSR_TRY_OUT(tsr_component_child(root, "decoder", t->arena, &o));
    TSR_TRY_OUT(tsr_decoders_load(o, t->arena, &t->decoders));
out:
    tsr_json_free(&doc);
    return status;
}

static int64_t count_lines(const char *text, int64_t n)
{
    int64_t lines = 1;
    for (int64_t i = 0; i < n; i++) lines += text[i] == '\n';
    return lines;
}

/* Lines "left right"; "#version" and empty ones are passed over. */
static tsr_status load_merges(const char *text, int64_t n, tsr_model *model)
{
    static const char version[] = "#version";
    for (int64_t i = 0; i < n;) {
        const char *line = text + i, *newline = memchr(line, '\n', (size_t)(n - i));
        int64_t length = newline ? newline - line : n - i;
        i += length + 1;
        if (length > 0 && line[length - 1] == '\r') length--;
        bool skip = length == 0 || (length >= 8 && memcmp(line, version, 8) == 0);
        if (!skip) TSR_TRY(tsr_bpe_add_merge_line(model, "merges.txt", line, length));
    }
    return TSR_OK;
}

/* A special token of the family that the configuration does not name. */
static tsr_status add_default(tsr_object config, const char *key, const char *content, tsr_tokenizer *t)
{
    const char *named;
    TSR_TRY(tsr_config_token(config, key, &named));
    if (named || !content || tsr_tokenizer_id(t, content) < 0) return TSR_OK;
    tsr_added_token token = {.content = content, .length = (int32_t)strlen(content), .special = true};
    token.lstrip = strcmp(key, "mask_token") == 0; /* "<mask>" takes the blank before it */
    return tsr_added_tokens_add(t->added, "the special tokens", &token, true);
}

static tsr_status add_specials(const family *f, tsr_object config, tsr_tokenizer *t)
{
    TSR_TRY(tsr_config_add_tokens(config, t));
    TSR_TRY(add_default(config, "bos_token", f->bos, t));
    TSR_TRY(add_default(config, "eos_token", f->eos, t));
    TSR_TRY(add_default(config, "unk_token", f->unk, t));
    TSR_TRY(add_default(config, "mask_token", f->mask, t));
    if (f->mask) TSR_TRY(add_default(config, "pad_token", "<pad>", t));
    return tsr_added_tokens_finish(t->added, &t->normalizers);
}

static void put(tsr_tokenizer *t, const char *piece)
{
    int32_t id = piece ? tsr_tokenizer_id(t, piece) : -1;
    if (id >= 0) t->around.item[t->around.count++] = id;
}

static tsr_status around(const family *f, tsr_object config, tsr_tokenizer *t)
{
    if (f->front) {
        t->around.count = 0;
        put(t, f->front);
        t->around.item[t->around.count++] = TSR_TEMPLATE_TEXT;
        for (int i = 0; i < 2; i++) put(t, f->back[i]);
        return TSR_OK;
    }
    const char *bos, *eos;
    TSR_TRY(tsr_config_token(config, "bos_token", &bos));
    TSR_TRY(tsr_config_token(config, "eos_token", &eos));
    if (!bos) bos = f->bos;
    if (!eos) eos = f->eos;
    return tsr_config_put_around(config, f->add_bos, f->add_eos, bos ? tsr_tokenizer_id(t, bos) : -1,
                                 eos ? tsr_tokenizer_id(t, eos) : -1, t);
}

tsr_status tsr_tokenizer_from_vocab_merges(const tsr_json *vocab, const char *merges, int64_t n,
                                           const tsr_json *config, tsr_tokenizer *t)
{
    const family *f;
    tsr_object c = tsr_json_root(config);
    TSR_TRY(family_of(c, &f));
    t->model = (tsr_model){.kind = &tsr_model_bpe};
    TSR_TRY(tsr_vocabulary_create(&t->model.vocabulary));
    TSR_TRY(tsr_vocabulary_load(tsr_json_root(vocab), NULL, t->model.vocabulary));
    tsr_bpe_options options = {.end_of_word_suffix = f->end_of_word_suffix,
                               .unk_token = f->end_of_word_suffix ? f->unk : NULL};
    TSR_TRY(tsr_bpe_create(&t->model, "merges.txt", &options, count_lines(merges, n)));
    TSR_TRY(load_merges(merges, n, &t->model));
    TSR_TRY(load_parts(f, c, t));
    TSR_TRY(tsr_added_tokens_create(t->model.vocabulary, &t->added));
    TSR_TRY(add_specials(f, c, t));
    return around(f, c, t);
}

static tsr_status load(const char *dir, tsr_tokenizer *t)
{
    tsr_json vocab, config = {0};
    char *merges = NULL;
    int64_t n;
    TSR_TRY(tsr_tokenizer_read_json(dir, "vocab.json", &vocab));
    tsr_status status = tsr_tokenizer_read_config_and_added(dir, &config);
    if (status == TSR_OK) status = tsr_tokenizer_read_bytes(dir, "merges.txt", &merges, &n);
    if (status == TSR_OK) status = tsr_tokenizer_from_vocab_merges(&vocab, merges, n, &config, t);
    tsr_free(merges);
    tsr_json_free(&config);
    tsr_json_free(&vocab);
    return status;
}

const tsr_tokenizer_format tsr_format_vocab_merges = {{"vocab.json", "merges.txt"}, load};
