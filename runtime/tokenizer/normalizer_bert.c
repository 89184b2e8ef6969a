/* normalizer_bert.c: BERT's clean-up: control characters, blanks, spaces around Chinese characters, accents,
 * case. */
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/unicode.h"

typedef struct bert {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
} bert;

tsr_status tsr_bert_normalizer_load(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(bert), state));
    bert *b = *state;
    TSR_TRY(tsr_object_bool(o, "clean_text", true, &b->clean_text));
    TSR_TRY(tsr_object_bool(o, "handle_chinese_chars", true, &b->handle_chinese_chars));
    TSR_TRY(tsr_object_bool(o, "lowercase", true, &b->lowercase));
    return tsr_object_bool(o, "strip_accents", b->lowercase, &b->strip_accents); /* null: as lowercase */
}

/* The blocks of CJK ideographs that BERT was trained with; not kana, not hangul. */
static bool is_chinese(uint32_t c)
{
    static const uint32_t blocks[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                                         {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                                         {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; c >= 0x3400 && i < sizeof blocks / sizeof blocks[0]; i++)
        if (c >= blocks[i][0] && c <= blocks[i][1]) return true;
    return false;
}

static bool is_dropped(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r') return false;
    return c == 0 || c == 0xFFFD || tsr_char_is_control(c);
}

static tsr_status clean(const bert *b, const char *text, int64_t n, tsr_text *out, bool *at_start)
{
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        int used = tsr_char_decode(text + i, &c);
        bool chinese = b->handle_chinese_chars && is_chinese(c);
        if (b->clean_text && is_dropped(c)) {
            *at_start &= i > 0;
        } else if (b->clean_text && tsr_char_is_space(c)) {
            TSR_TRY(tsr_text_puts(out, " "));
        } else {
            if (chinese) TSR_TRY(tsr_text_puts(out, " "));
            TSR_TRY(tsr_text_append(out, text + i, used));
            if (chinese) TSR_TRY(tsr_text_puts(out, " "));
        }
        i += used;
    }
    return TSR_OK;
}

static bool kept(uint32_t c)
{
    return !tsr_char_is_nonspacing_mark(c);
}

static tsr_status strip_accents(const tsr_text *in, tsr_text *out, bool *at_start)
{
    tsr_text decomposed;
    TSR_TRY(tsr_text_init(&decomposed, out->cap));
    tsr_status status = tsr_unicode_normalize(TSR_NFD, in->data, in->length, &decomposed);
    if (status == TSR_OK) status = tsr_text_filter(decomposed.data, decomposed.length, kept, out, at_start);
    tsr_text_free(&decomposed);
    return status;
}

tsr_status tsr_bert_normalizer_run(const void *state, tsr_work *work, const char *text, int64_t n,
                                   tsr_text *out, bool *at_start)
{
    const bert *b = state;
    tsr_text first, second;
    (void)work;
    TSR_TRY(tsr_text_init(&first, out->cap));
    tsr_status status = tsr_text_init(&second, out->cap);
    if (status == TSR_OK) status = clean(b, text, n, &first, at_start);
    tsr_text *now = &first;
    if (status == TSR_OK && b->strip_accents) {
        status = strip_accents(&first, &second, at_start);
        now = &second;
    }
    if (status == TSR_OK)
        status = b->lowercase ? tsr_text_lowercase(now->data, now->length, out)
                              : tsr_text_append(out, now->data, now->length);
    tsr_text_free(&first);
    tsr_text_free(&second);
    return status;
}
