/* pre_tokenizer.c: the table of pre-tokenizers, and those that are a pattern and a way to split at it. */
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/metaspace.h"
#include "runtime/tokenizer/byte_alphabet.h"
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/unicode.h"

#include <string.h>

tsr_status tsr_pieces_rewrite(const void *state, tsr_work *work, tsr_rewrite_piece rewrite)
{
    tsr_pieces *now = &work->now, *next = &work->next;
    tsr_pieces_clear(next);
    for (int64_t i = 0; i < now->count; i++) {
        tsr_piece piece = now->piece[i];
        const char *text = now->text.data + piece.begin;
        if (piece.id >= 0)
            TSR_TRY(tsr_pieces_append(next, text, piece.end - piece.begin, piece.id, piece.at_start));
        else
            TSR_TRY(rewrite(state, work, text, piece.end - piece.begin, piece.at_start));
    }
    tsr_pieces swap = *now;
    *now = *next;
    *next = swap;
    return TSR_OK;
}

/* Split: {"pattern": .., "behavior": .., "invert": ..} */
typedef struct split {
    tsr_pattern pattern;
    tsr_split_behavior behavior;
    bool invert;
} split;

static tsr_status load_behavior(tsr_object o, const char *fallback, tsr_split_behavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    const char *text;
    TSR_TRY(tsr_object_string(o, "behavior", fallback, &text));
    for (int i = 0; text && i < 5; i++)
        if (strcmp(text, names[i]) == 0) return *out = (tsr_split_behavior)i, TSR_OK;
    return tsr_fail(
        TSR_ERR_FORMAT,
        "%s: \"behavior\" must be Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous, "
        "found \"%.40s\"",
        o.where, text ? text : "nothing");
}

static tsr_status load_split(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(split), state));
    split *s = *state;
    TSR_TRY(load_behavior(o, NULL, &s->behavior));
    TSR_TRY(tsr_object_bool(o, "invert", false, &s->invert));
    return tsr_pattern_load(o, arena, &s->pattern);
}

static void release_split(void *state)
{
    tsr_pattern_release(&((split *)state)->pattern);
}

static tsr_status run_split(const void *state, tsr_work *work)
{
    const split *s = state;
    return tsr_pattern_cut(&s->pattern, s->behavior, s->invert, work);
}

/* Kinds of characters: state is a split whose pattern is a test. */
static tsr_status load_test(tsr_arena *arena, tsr_char_test test, tsr_split_behavior behavior, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(split), state));
    *(split *)*state = (split){{.test = test}, behavior, false};
    return TSR_OK;
}

static tsr_status load_digits(tsr_object o, tsr_arena *arena, void **state)
{
    bool individual;
    TSR_TRY(tsr_object_bool(o, "individual_digits", false, &individual));
    return load_test(arena, tsr_char_is_number, individual ? TSR_SPLIT_ISOLATED : TSR_SPLIT_CONTIGUOUS,
                     state);
}

static tsr_status load_punctuation(tsr_object o, tsr_arena *arena, void **state)
{
    tsr_split_behavior behavior = TSR_SPLIT_ISOLATED;
    TSR_TRY(load_behavior(o, "Isolated", &behavior));
    return load_test(arena, tsr_char_is_punctuation, behavior, state);
}

static tsr_status load_whitespace_split(tsr_object o, tsr_arena *arena, void **state)
{
    (void)o;
    return load_test(arena, tsr_char_is_space, TSR_SPLIT_REMOVED, state);
}

static tsr_status load_delimiter(tsr_object o, tsr_arena *arena, void **state)
{
    split *s;
    TSR_TRY(load_test(arena, NULL, TSR_SPLIT_REMOVED, state));
    s = *state;
    TSR_TRY(tsr_component_string(o, "delimiter", arena, &s->pattern.literal, &s->pattern.literal_length));
    if (s->pattern.literal_length == 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"delimiter\" is empty", o.where);
    return TSR_OK;
}

/* Blanks go, punctuation stands alone. */
static tsr_status run_bert(const void *state, tsr_work *work)
{
    static const tsr_pattern spaces = {.test = tsr_char_is_space},
                             punctuation = {.test = tsr_char_is_punctuation};
    (void)state;
    TSR_TRY(tsr_pattern_cut(&spaces, TSR_SPLIT_REMOVED, false, work));
    return tsr_pattern_cut(&punctuation, TSR_SPLIT_ISOLATED, false, work);
}

/* Whitespace: runs of word characters, and runs of what is neither word nor space; spaces go. */
static tsr_status split_words(const void *state, tsr_work *work, const char *text, int64_t n, bool at_start)
{
    (void)state;
    enum { SPACE, WORD, OTHER } kind, last = SPACE;
    int64_t begin = 0;
    for (int64_t i = 0; i <= n;) {
        uint32_t c = ' ';
        int used = i < n ? tsr_char_decode(text + i, &c) : 1;
        kind = i < n && tsr_char_is_word(c) ? WORD : tsr_char_is_space(c) ? SPACE : OTHER;
        if (kind != last) {
            if (last != SPACE)
                TSR_TRY(tsr_pieces_append(&work->next, text + begin, i - begin, -1, at_start && begin == 0));
            begin = i;
        }
        last = kind;
        i += used;
    }
    return TSR_OK;
}

static tsr_status run_whitespace(const void *state, tsr_work *work)
{
    return tsr_pieces_rewrite(state, work, split_words);
}

typedef struct byte_level {
    bool add_prefix_space, use_regex;
    tsr_pattern pattern; /* if use_regex */
} byte_level;

/* GPT-2's words. trim_offsets concerns positions in the text, which we do not report. */
static tsr_status load_byte_level(tsr_object o, tsr_arena *arena, void **state)
{
    static const char words[] =
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    TSR_TRY(tsr_arena_alloc(arena, sizeof(byte_level), state));
    byte_level *b = *state;
    TSR_TRY(tsr_object_bool(o, "add_prefix_space", true, &b->add_prefix_space));
    TSR_TRY(tsr_object_bool(o, "use_regex", true, &b->use_regex));
    return b->use_regex ? tsr_pattern_from_regex(words, o.where, &b->pattern) : TSR_OK;
}

static void release_byte_level(void *state)
{
    tsr_pattern_release(&((byte_level *)state)->pattern);
}

static tsr_status append_bytes(tsr_pieces *to, const char *text, int64_t n, bool at_start)
{
    int64_t begin = to->text.length;
    TSR_TRY(tsr_bytes_to_alphabet(text, n, &to->text));
    return tsr_pieces_add(to, begin, to->text.length, -1, at_start);
}

static tsr_status split_bytes(const void *state, tsr_work *work, const char *text, int64_t n, bool at_start)
{
    const byte_level *b = state;
    if (b->add_prefix_space && text[0] != ' ') {
        tsr_text *prefixed = &work->text[0];
        tsr_text_clear(prefixed);
        TSR_TRY(tsr_text_puts(prefixed, " "));
        TSR_TRY(tsr_text_append(prefixed, text, n));
        text = prefixed->data;
        n++;
    }
    if (!b->use_regex) return append_bytes(&work->next, text, n, at_start);
    TSR_TRY(tsr_pattern_spans(&b->pattern, work->regex, text, n, &work->spans));
    for (int64_t i = 0; i < work->spans.count; i++) {
        tsr_span s = work->spans.span[i];
        TSR_TRY(append_bytes(&work->next, text + s.begin, s.end - s.begin, at_start && s.begin == 0));
    }
    return TSR_OK;
}

static tsr_status run_byte_level(const void *state, tsr_work *work)
{
    return tsr_pieces_rewrite(state, work, split_bytes);
}

static tsr_status load_fixed_length(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(int64_t), state));
    return tsr_object_int(o, "length", 5, 1, 1 << 20, *state);
}

static tsr_status split_lengths(const void *state, tsr_work *work, const char *text, int64_t n, bool at_start)
{
    int64_t length = *(const int64_t *)state;
    for (int64_t begin = 0, end = 0; begin < n; begin = end) {
        for (int64_t k = 0; k < length && end < n; k++) end += tsr_char_length(text[end]);
        TSR_TRY(tsr_pieces_append(&work->next, text + begin, end - begin, -1, at_start && begin == 0));
    }
    return TSR_OK;
}

static tsr_status run_fixed_length(const void *state, tsr_work *work)
{
    return tsr_pieces_rewrite(state, work, split_lengths);
}

static const tsr_pre_tokenizer_kind rows[] = {
    {{"ByteLevel", load_byte_level, release_byte_level}, run_byte_level},
    {{"Split", load_split, release_split}, run_split},
    {{"Metaspace", tsr_metaspace_load, NULL}, tsr_metaspace_pre_tokenize},
    {{"Whitespace", NULL, NULL}, run_whitespace},
    {{"WhitespaceSplit", load_whitespace_split, NULL}, run_split},
    {{"Punctuation", load_punctuation, NULL}, run_split},
    {{"Digits", load_digits, NULL}, run_split},
    {{"BertPreTokenizer", NULL, NULL}, run_bert},
    {{"CharDelimiterSplit", load_delimiter, NULL}, run_split},
    {{"FixedLength", load_fixed_length, NULL}, run_fixed_length},
};

tsr_status tsr_pre_tokenizers_load(tsr_object o, tsr_arena *arena, tsr_components *out)
{
    static const tsr_component_family family = {"pre-tokenizer", "pretokenizers", rows,
                                                sizeof rows / sizeof rows[0], sizeof rows[0]};
    return tsr_components_load(o, &family, arena, out);
}

tsr_status tsr_pre_tokenizers_run(const tsr_components *c, tsr_work *work)
{
    for (int i = 0; i < c->count; i++)
        TSR_TRY(((const tsr_pre_tokenizer_kind *)c->item[i].kind)->run(c->item[i].state, work));
    return TSR_OK;
}
