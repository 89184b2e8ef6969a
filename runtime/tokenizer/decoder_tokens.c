/* decoder_tokens.c: decoders that treat the first or the last token differently: Metaspace, BPEDecoder,
 * WordPiece, and none at all. */
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/metaspace.h"
#include "runtime/tokenizer/unicode.h"

#include <string.h>

/* Metaspace: marks become blanks; those of the first token go, if encoding put one there. */
static tsr_status metaspace_text(tsr_decode_stage *s, const char *text, int64_t n)
{
    const tsr_metaspace *m = s->options;
    bool drop = s->tokens == 0 && m->prepend != TSR_PREPEND_NEVER;
    int64_t from = 0;
    for (int64_t i = 0; i < n;) {
        int used = tsr_char_length(text[i]);
        if (used == m->replacement_length && memcmp(text + i, m->replacement, (size_t)used) == 0) {
            TSR_TRY(tsr_pass_text(s, text + from, i - from));
            if (!drop) TSR_TRY(tsr_pass_text(s, " ", 1));
            from = i + used;
        }
        i += used;
    }
    return tsr_pass_text(s, text + from, n - from);
}

static tsr_status count_end(tsr_decode_stage *s)
{
    s->tokens++;
    return tsr_pass_end(s);
}

const tsr_decoder_kind tsr_decoder_metaspace = {
    {"Metaspace", tsr_metaspace_load, NULL}, metaspace_text, count_end, NULL};

typedef struct affix {
    const char *text;
    int64_t n;
    bool cleanup;
} affix;

/* Passes on text[0..n) with each `from` replaced. */
static tsr_status pass_replaced(tsr_decode_stage *s, const char *text, int64_t n, const affix *from,
                                const char *to)
{
    const char *found;
    while (n > 0 && (found = memmem(text, (size_t)n, from->text, (size_t)from->n)) != NULL) {
        TSR_TRY(tsr_pass_text(s, text, found - text));
        TSR_TRY(tsr_pass_text(s, to, (int64_t)strlen(to)));
        n -= found - text + from->n;
        text = found + from->n;
    }
    return tsr_pass_text(s, text, n);
}

/* BPEDecoder: the suffix that ends a word becomes a blank, except in the last token: which one that is shows
 * only when the next one comes, so one token is held. `open`: a whole token is held. */
static tsr_status load_bpe(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(affix), state));
    affix *a = *state;
    TSR_TRY(tsr_component_string(o, "suffix", arena, &a->text, &a->n));
    return a->n > 0 ? TSR_OK : tsr_fail(TSR_ERR_FORMAT, "%s: \"suffix\" is empty", o.where);
}

static tsr_status pass_held_word(tsr_decode_stage *s, const char *suffix_becomes)
{
    if (!s->open) return TSR_OK;
    s->open = false;
    TSR_TRY(pass_replaced(s, s->held.data, s->held.length, s->options, suffix_becomes));
    tsr_text_clear(&s->held);
    return tsr_pass_end(s);
}

static tsr_status bpe_text(tsr_decode_stage *s, const char *text, int64_t n)
{
    TSR_TRY(pass_held_word(s, " "));
    return tsr_hold_text(s, text, n);
}

static tsr_status bpe_end(tsr_decode_stage *s)
{
    TSR_TRY(pass_held_word(s, " ")); /* only if this token is empty */
    s->open = true;
    return TSR_OK;
}

static tsr_status bpe_finish(tsr_decode_stage *s)
{
    return pass_held_word(s, "");
}

const tsr_decoder_kind tsr_decoder_bpe = {{"BPEDecoder", load_bpe, NULL}, bpe_text, bpe_end, bpe_finish};

static tsr_status load_word_piece(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(affix), state));
    affix *a = *state;
    TSR_TRY(tsr_object_bool(o, "cleanup", true, &a->cleanup));
    return tsr_component_string(o, "prefix", arena, &a->text, &a->n);
}

/* In place: every `from` in the text becomes `to`, which is not longer. */
static void replace_all(tsr_text *t, const char *from, const char *to)
{
    size_t m = strlen(from), k = strlen(to);
    char *at = t->data, *write = t->data, *end = t->data + t->length;
    while (at < end) {
        if ((size_t)(end - at) >= m && memcmp(at, from, m) == 0) {
            write = (char *)memcpy(write, to, k) + k;
            at += m;
        } else {
            *write++ = *at++;
        }
    }
    t->length = write - t->data;
    *write = '\0';
}

/* English text as it is printed; the order of the rules matters. */
static void clean_up(tsr_text *t)
{
    static const char *const rules[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) replace_all(t, rules[i][0], rules[i][1]);
}

static tsr_status word_piece_end(tsr_decode_stage *s)
{
    const affix *prefix = s->options;
    tsr_text *word = &s->bytes;
    bool continued =
        s->held.length >= prefix->n && memcmp(s->held.data, prefix->text, (size_t)prefix->n) == 0;
    int64_t skip = s->tokens > 0 && continued ? prefix->n : 0;
    tsr_text_clear(word);
    if (s->tokens > 0 && !continued) TSR_TRY(tsr_text_puts(word, " "));
    TSR_TRY(tsr_text_append(word, s->held.data + skip, s->held.length - skip));
    tsr_text_clear(&s->held);
    if (prefix->cleanup) clean_up(word);
    s->tokens++;
    return tsr_pass_token(s, word->data, word->length);
}

const tsr_decoder_kind tsr_decoder_word_piece = {
    {"WordPiece", load_word_piece, NULL}, tsr_hold_text, word_piece_end, NULL};

/* No decoder: blanks between tokens. */
static tsr_status joined_text(tsr_decode_stage *s, const char *text, int64_t n)
{
    if (!s->open && s->tokens > 0) TSR_TRY(tsr_pass_text(s, " ", 1));
    s->open = true;
    return tsr_pass_text(s, text, n);
}

static tsr_status joined_end(tsr_decode_stage *s)
{
    if (!s->open && s->tokens > 0) TSR_TRY(tsr_pass_text(s, " ", 1));
    s->open = false;
    return count_end(s);
}

const tsr_decoder_kind tsr_decoder_joined = {{"", NULL, NULL}, joined_text, joined_end, NULL};
