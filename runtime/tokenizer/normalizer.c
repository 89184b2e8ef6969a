/* normalizer.c: the table of normalizers, and all but BERT's. */
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/byte_alphabet.h"
#include "runtime/tokenizer/pattern.h"
#include "runtime/tokenizer/unicode.h"

tsr_status tsr_text_filter(const char *text, int64_t n, tsr_char_keep keep, tsr_text *out, bool *at_start)
{
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        int used = tsr_char_decode(text + i, &c);
        if (keep(c))
            TSR_TRY(tsr_text_append(out, text + i, used));
        else if (i == 0)
            *at_start = false;
        i += used;
    }
    return TSR_OK;
}

tsr_status tsr_text_lowercase(const char *text, int64_t n, tsr_text *out)
{
    for (int64_t i = 0; i < n;) {
        uint32_t c, lower[2];
        i += tsr_char_decode(text + i, &c);
        int count = tsr_char_to_lower(c, lower);
        for (int k = 0; k < count; k++) TSR_TRY(tsr_text_append_char(out, lower[k]));
    }
    return TSR_OK;
}

#define NORMAL_FORM(name, form)                                                                              \
    static tsr_status run_##name(const void *state, tsr_work *work, const char *text, int64_t n,             \
                                 tsr_text *out, bool *at_start)                                              \
    {                                                                                                        \
        (void)state, (void)work, (void)at_start;                                                             \
        return tsr_unicode_normalize(form, text, n, out);                                                    \
    }
NORMAL_FORM(nfc, TSR_NFC)
NORMAL_FORM(nfd, TSR_NFD)
NORMAL_FORM(nfkc, TSR_NFKC)
NORMAL_FORM(nfkd, TSR_NFKD)
NORMAL_FORM(nfc_now, TSR_NFC_NOW)
#undef NORMAL_FORM

const tsr_normalizer_kind tsr_normalizer_nfc_now = {{"NFC of today", NULL, NULL}, run_nfc_now};

static tsr_status run_lowercase(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                                bool *at_start)
{
    (void)state, (void)work, (void)at_start;
    return tsr_text_lowercase(text, n, out);
}

static bool no_mark(uint32_t c)
{
    return !tsr_char_is_mark(c);
}

static tsr_status run_strip_accents(const void *state, tsr_work *work, const char *text, int64_t n,
                                    tsr_text *out, bool *at_start)
{
    (void)state, (void)work;
    return tsr_text_filter(text, n, no_mark, out, at_start);
}

static tsr_status run_byte_level(const void *state, tsr_work *work, const char *text, int64_t n,
                                 tsr_text *out, bool *at_start)
{
    (void)state, (void)work, (void)at_start;
    return tsr_bytes_to_alphabet(text, n, out);
}

typedef struct strip {
    bool left, right;
} strip;

static tsr_status load_strip(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(strip), state));
    strip *s = *state;
    TSR_TRY(tsr_object_bool(o, "strip_left", true, &s->left));
    return tsr_object_bool(o, "strip_right", true, &s->right);
}

static tsr_status run_strip(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                            bool *at_start)
{
    const strip *s = state;
    int64_t begin = 0, end = n;
    uint32_t c;
    (void)work;
    while (s->left && begin < end) {
        int used = tsr_char_decode(text + begin, &c);
        if (!tsr_char_is_space(c)) break;
        begin += used;
    }
    while (s->right && end > begin) {
        int64_t last = end - 1;
        while (((unsigned char)text[last] & 0xC0) == 0x80) last--;
        tsr_char_decode(text + last, &c);
        if (!tsr_char_is_space(c)) break;
        end = last;
    }
    *at_start &= begin == 0;
    return tsr_text_append(out, text + begin, end - begin);
}

typedef struct replace {
    tsr_pattern pattern;
    const char *content;
    int64_t content_length;
} replace;

static tsr_status load_replace(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(replace), state));
    replace *r = *state;
    TSR_TRY(tsr_component_string(o, "content", arena, &r->content, &r->content_length));
    return tsr_pattern_load(o, arena, &r->pattern);
}

static void release_replace(void *state)
{
    tsr_pattern_release(&((replace *)state)->pattern);
}

static tsr_status run_replace(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                              bool *at_start)
{
    const replace *r = state;
    TSR_TRY(tsr_pattern_replace(&r->pattern, work->regex, text, n, r->content, r->content_length,
                                &work->spans, out));
    /* What replaces a match stands where the match's last character stood. */
    const tsr_span *first = work->spans.span;
    if (first->match && first->end > (r->content_length > 0 ? tsr_char_length(text[0]) : 0))
        *at_start = false;
    return TSR_OK;
}

typedef struct prepend {
    const char *text;
    int64_t n;
} prepend;

static tsr_status load_prepend(tsr_object o, tsr_arena *arena, void **state)
{
    TSR_TRY(tsr_arena_alloc(arena, sizeof(prepend), state));
    prepend *p = *state;
    return tsr_component_string(o, "prepend", arena, &p->text, &p->n);
}

static tsr_status run_prepend(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                              bool *at_start)
{
    const prepend *p = state;
    (void)work, (void)at_start;
    TSR_TRY(tsr_text_append(out, p->text, p->n));
    return tsr_text_append(out, text, n);
}

/* The clean-up of Google's NMT systems: control characters go, other blanks become ' '. */
static bool kept_by_nmt(uint32_t c)
{
    return !((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
             c == 0x9F);
}

static bool blank_to_nmt(uint32_t c)
{
    return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
           c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

static tsr_status run_nmt(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                          bool *at_start)
{
    (void)state, (void)work;
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        int used = tsr_char_decode(text + i, &c);
        if (kept_by_nmt(c))
            TSR_TRY(blank_to_nmt(c) ? tsr_text_puts(out, " ") : tsr_text_append(out, text + i, used));
        else if (i == 0)
            *at_start = false;
        i += used;
    }
    return TSR_OK;
}

static const tsr_normalizer_kind rows[] = {
    {{"NFC", NULL, NULL}, run_nfc},
    {{"NFD", NULL, NULL}, run_nfd},
    {{"NFKC", NULL, NULL}, run_nfkc},
    {{"NFKD", NULL, NULL}, run_nfkd},
    {{"Lowercase", NULL, NULL}, run_lowercase},
    {{"StripAccents", NULL, NULL}, run_strip_accents},
    {{"Strip", load_strip, NULL}, run_strip},
    {{"Replace", load_replace, release_replace}, run_replace},
    {{"Prepend", load_prepend, NULL}, run_prepend},
    {{"ByteLevel", NULL, NULL}, run_byte_level},
    {{"BertNormalizer", tsr_bert_normalizer_load, NULL}, tsr_bert_normalizer_run},
    {{"Nmt", NULL, NULL}, run_nmt},
    {{"Precompiled", tsr_precompiled_load, NULL}, tsr_precompiled_run},
};

tsr_status tsr_normalizers_load(tsr_object o, tsr_arena *arena, tsr_components *out)
{
    static const tsr_component_family family = {"normalizer", "normalizers", rows,
                                                sizeof rows / sizeof rows[0], sizeof rows[0]};
    return tsr_components_load(o, &family, arena, out);
}

tsr_status tsr_normalizers_run(const tsr_components *c, tsr_work *work, const char *text, int64_t n,
                               bool *at_start, const char **out, int64_t *out_n)
{
    for (int i = 0; i < c->count && n > 0; i++) {
        const tsr_normalizer_kind *kind = (const tsr_normalizer_kind *)c->item[i].kind;
        tsr_text *to = &work->text[i % 2];
        tsr_text_clear(to);
        TSR_TRY(kind->run(c->item[i].state, work, text, n, to, at_start));
        text = to->data;
        n = to->length;
    }
    *out = text;
    *out_n = n;
    return TSR_OK;
}
