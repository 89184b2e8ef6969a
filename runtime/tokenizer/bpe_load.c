/* bpe_load.c: building a BPE model, and reading it from the "model" object of a tokenizer.json. */
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/pair_table.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdio.h>

tsr_status tsr_vocabulary_load(tsr_object o, const char *key, tsr_vocabulary *v)
{
    tsr_object vocab = o;
    const char *piece;
    json_t *id;
    if (key) TSR_TRY(tsr_object_child(o, key, &vocab));
    if (!vocab.object) return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" is missing", o.where, key);
    json_object_foreach((json_t *)vocab.object, piece, id)
    {
        if (!json_is_integer(id))
            return tsr_fail(TSR_ERR_FORMAT, "%s: piece \"%.40s\" has %s for its id", o.where, piece,
                            tsr_json_type_name(id));
        TSR_TRY(tsr_vocabulary_add(v, o.where, json_integer_value(id), piece, (int64_t)strlen(piece)));
    }
    return TSR_OK;
}

static tsr_status set_affix(const char *where, const char *text, char *affix, int *length)
{
    size_t n = text ? strlen(text) : 0;
    if (n > TSR_AFFIX_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a prefix or suffix of %zu bytes, at most %d are accepted", where,
                        n, TSR_AFFIX_CAP);
    if (n > 0) memcpy(affix, text, n);
    *length = (int)n;
    return TSR_OK;
}

static void look_up_characters(tsr_bpe *b, const tsr_vocabulary *v)
{
    char text[8];
    for (int i = 0; i < 256; i++) {
        snprintf(text, sizeof text, "<0x%02X>", i);
        b->byte_id[i] = tsr_vocabulary_id(v, text, 6);
    }
    for (uint32_t c = 0; c < sizeof b->char_id / sizeof b->char_id[0]; c++)
        b->char_id[c] = tsr_vocabulary_id(v, text, tsr_utf8_encode(c, text));
}

tsr_status tsr_bpe_create(tsr_model *model, const char *where, const tsr_bpe_options *options, int64_t pairs)
{
    void *p;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_bpe), "a BPE model", &p));
    model->kind = &tsr_model_bpe;
    model->state = p;
    tsr_bpe *b = p;
    TSR_TRY(tsr_calloc(1, sizeof *b->merges, "a BPE model", &p));
    b->merges = p;
    TSR_TRY(tsr_pair_table_init(b->merges, pairs));
    TSR_TRY(set_affix(where, options->continuing_subword_prefix, b->prefix, &b->prefix_length));
    TSR_TRY(set_affix(where, options->end_of_word_suffix, b->suffix, &b->suffix_length));
    b->fuse_unk = options->fuse_unk;
    b->byte_fallback = options->byte_fallback;
    b->ignore_merges = options->ignore_merges;
    b->unk_id = -1;
    if (options->unk_token) {
        b->unk_id =
            tsr_vocabulary_id(model->vocabulary, options->unk_token, (int64_t)strlen(options->unk_token));
        if (b->unk_id < 0) b->unk_id = -2;
    }
    look_up_characters(b, model->vocabulary);
    return TSR_OK;
}

void tsr_bpe_release(tsr_model *model)
{
    tsr_bpe *b = model->state;
    if (!b) return;
    if (b->merges) tsr_pair_table_free(b->merges);
    tsr_free(b->merges);
    tsr_free(b);
    model->state = NULL;
}

static tsr_status no_piece(const char *where, const tsr_bpe *b, const char *text, int64_t n)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: merge %u needs \"%.*s\", which is no piece of the vocabulary", where,
                    b->next_rank + 1, n < 40 ? (int)n : 40, text);
}

tsr_status tsr_bpe_add_merge(tsr_model *model, const char *where, const char *left, int64_t left_length,
                             const char *right, int64_t right_length)
{
    tsr_bpe *b = model->state;
    const tsr_vocabulary *v = model->vocabulary;
    int32_t l = tsr_vocabulary_id(v, left, left_length), r = tsr_vocabulary_id(v, right, right_length);
    if (l < 0) return no_piece(where, b, left, left_length);
    if (r < 0) return no_piece(where, b, right, right_length);
    if (right_length < b->prefix_length)
        return tsr_fail(TSR_ERR_FORMAT, "%s: merge %u has a right part shorter than the prefix of subwords",
                        where, b->next_rank + 1);
    void *p;
    int64_t n = left_length + right_length - b->prefix_length;
    char small[256], *merged = small;
    if (n > (int64_t)sizeof small) {
        TSR_TRY(tsr_alloc(n, "a merge", &p));
        merged = p;
    }
    memcpy(merged, left, (size_t)left_length);
    memcpy(merged + left_length, right + b->prefix_length, (size_t)(right_length - b->prefix_length));
    int32_t id = tsr_vocabulary_id(v, merged, n);
    tsr_status status = id < 0 ? no_piece(where, b, merged, n) : TSR_OK;
    if (status == TSR_OK) tsr_pair_table_put(b->merges, l, r, b->next_rank++, id);
    if (merged != small) tsr_free(merged);
    return status;
}

tsr_status tsr_bpe_add_merge_line(tsr_model *model, const char *where, const char *line, int64_t n)
{
    const tsr_bpe *b = model->state;
    const char *blank = memchr(line, ' ', (size_t)n);
    if (!blank || memchr(blank + 1, ' ', (size_t)(line + n - blank - 1)))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: merge %u must be two pieces with a blank between them, found \"%.*s\"", where,
                        b->next_rank + 1, n < 60 ? (int)n : 60, line);
    return tsr_bpe_add_merge(model, where, line, blank - line, blank + 1, line + n - blank - 1);
}

static tsr_status load_merge(const json_t *merge, const char *where, tsr_model *model)
{
    if (json_is_string(merge)) {
        const char *line = json_string_value(merge);
        if (strncmp(line, "#version", 8) == 0) return TSR_OK;
        return tsr_bpe_add_merge_line(model, where, line, (int64_t)json_string_length(merge));
    }
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(left) || !json_is_string(right))
        return tsr_fail(TSR_ERR_FORMAT, "%s: merge %u must be \"left right\" or [left, right], found %s",
                        where, ((const tsr_bpe *)model->state)->next_rank + 1, tsr_json_type_name(merge));
    return tsr_bpe_add_merge(model, where, json_string_value(left), (int64_t)json_string_length(left),
                             json_string_value(right), (int64_t)json_string_length(right));
}

static tsr_status load_options(tsr_object o, tsr_bpe_options *options)
{
    double dropout;
    TSR_TRY(tsr_object_number(o, "dropout", 0, 0, 1, &dropout));
    if (dropout > 0) /* chance has no place in inference, and no result could be repeated */
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"dropout\" is %g, must be null", o.where, dropout);
    TSR_TRY(tsr_object_string(o, "unk_token", NULL, &options->unk_token));
    TSR_TRY(tsr_object_string(o, "continuing_subword_prefix", NULL, &options->continuing_subword_prefix));
    TSR_TRY(tsr_object_string(o, "end_of_word_suffix", NULL, &options->end_of_word_suffix));
    TSR_TRY(tsr_object_bool(o, "fuse_unk", false, &options->fuse_unk));
    TSR_TRY(tsr_object_bool(o, "byte_fallback", false, &options->byte_fallback));
    return tsr_object_bool(o, "ignore_merges", false, &options->ignore_merges);
}

tsr_status tsr_bpe_load(tsr_object o, tsr_model *model)
{
    tsr_bpe_options options = {0};
    const json_t *merges;
    TSR_TRY(load_options(o, &options));
    TSR_TRY(tsr_vocabulary_load(o, "vocab", model->vocabulary));
    TSR_TRY(tsr_object_array(o, "merges", TSR_MERGES_CAP, &merges));
    if (!merges) return tsr_fail(TSR_ERR_FORMAT, "%s: \"merges\" is missing", o.where);
    TSR_TRY(tsr_bpe_create(model, o.where, &options, (int64_t)json_array_size(merges)));
    for (size_t i = 0; i < json_array_size(merges); i++)
        TSR_TRY(load_merge(json_array_get(merges, i), o.where, model));
    return TSR_OK;
}
