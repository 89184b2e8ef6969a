/* normalizer_precompiled.c: SentencePiece's compiled rules as the reference applies them in a tokenizer.json:
 * to each grapheme cluster of less than six bytes as a whole, else to its characters; and by the shortest
 * rule, not the longest. That is not what SentencePiece does (sentencepiece_text.c), but models were trained
 * with it. */
#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/unicode.h"

enum { WHOLE_CLUSTER_BYTES = 6 };

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes base64 in place; the number of bytes, or -1. */
static int64_t decode_base64(char *text, int64_t n)
{
    uint32_t bits = 0;
    int64_t digits = 0, bytes = 0;
    while (n > 0 && text[n - 1] == '=') n--;
    for (; digits < n; digits++) {
        int d = digit_of(text[digits]);
        if (d < 0) return -1;
        bits = bits << 6 | (uint32_t)d;
        if (digits % 4 != 0) text[bytes++] = (char)(bits >> (6 - 2 * (digits % 4)));
    }
    return n % 4 == 1 ? -1 : bytes;
}

tsr_status tsr_precompiled_load(tsr_object o, tsr_arena *arena, void **state)
{
    const char *text;
    int64_t n;
    TSR_TRY(tsr_component_string(o, "precompiled_charsmap", arena, &text, &n));
    int64_t bytes = decode_base64((char *)text, n); /* the copy is ours */
    return tsr_charsmap_load(text, bytes < 0 ? 0 : bytes, o.where, arena, (tsr_charsmap **)state);
}

/* Appends what a rule makes of text[0..n); *done = false if there is none. */
static tsr_status apply(const tsr_charsmap *m, const char *text, int64_t n, tsr_text *out, bool *done)
{
    const char *replacement;
    *done = tsr_charsmap_match(m, text, n, false, &replacement) > 0;
    return *done ? tsr_text_puts(out, replacement) : TSR_OK;
}

static tsr_status apply_to_cluster(const tsr_charsmap *m, const char *text, int64_t n, tsr_text *out)
{
    bool done = false;
    if (n < WHOLE_CLUSTER_BYTES) TSR_TRY(apply(m, text, n, out, &done));
    for (int64_t i = 0, used; !done && i < n; i += used) {
        bool replaced;
        used = tsr_char_length(text[i]);
        TSR_TRY(apply(m, text + i, used, out, &replaced));
        if (!replaced) TSR_TRY(tsr_text_append(out, text + i, used));
    }
    return TSR_OK;
}

tsr_status tsr_precompiled_run(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                               bool *at_start)
{
    (void)work, (void)at_start;
    utf8proc_int32_t break_state = 0;
    uint32_t last, c;
    for (int64_t begin = 0; begin < n;) {
        int64_t end = begin + tsr_char_decode(text + begin, &last);
        for (int used; end < n; end += used, last = c) {
            used = tsr_char_decode(text + end, &c);
            if (utf8proc_grapheme_break_stateful((int32_t)last, (int32_t)c, &break_state)) break;
        }
        TSR_TRY(apply_to_cluster(state, text + begin, end - begin, out));
        begin = end;
    }
    return TSR_OK;
}
