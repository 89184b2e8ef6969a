/* sentencepiece_text.c: SentencePiece's normalizer and its inverse. */
#include "runtime/tokenizer/sentencepiece.h"
#include "runtime/tokenizer/unicode.h"
#include "base/utf8.h"

static const char space_mark[] = "\xE2\x96\x81"; /* U+2581 */
enum { MARK_BYTES = 3 };

/* What the beginning of text[0..n) becomes: bytes of it used, and the result. */
static int64_t normalize_prefix(const tsr_sentencepiece *s, const char *text, int64_t n, const char **out,
                                int64_t *out_n)
{
    int32_t value;
    int64_t used = s->user_defined ? tsr_trie_longest(s->user_defined, text, n, &value) : 0;
    *out = text;
    if (used == 0 && s->charsmap) {
        const char *replacement;
        int64_t matched = tsr_charsmap_match(s->charsmap, text, n, true, &replacement);
        if (matched > 0) {
            *out = replacement;
            *out_n = (int64_t)strlen(replacement);
            return matched;
        }
    }
    if (used == 0) used = tsr_char_length(text[0]);
    *out_n = used;
    return used;
}

static tsr_status append_blank(const tsr_sentencepiece *s, tsr_text *out)
{
    return tsr_text_puts(out, s->escape_whitespaces ? space_mark : " ");
}

/* Appends a normalized part; blanks in front go if `after_space`, and blanks are marked. */
static tsr_status append_part(const tsr_sentencepiece *s, const char *part, int64_t n, bool *after_space,
                              tsr_text *out)
{
    while (*after_space && n > 0 && *part == ' ') part++, n--;
    for (int64_t i = 0; i < n; i++)
        TSR_TRY(part[i] == ' ' ? append_blank(s, out) : tsr_text_append(out, part + i, 1));
    if (n > 0) *after_space = part[n - 1] == ' ';
    if (!s->remove_extra_whitespaces) *after_space = false;
    return TSR_OK;
}

static void drop_trailing_blanks(const tsr_sentencepiece *s, int64_t begin, tsr_text *out)
{
    const char *blank = s->escape_whitespaces ? space_mark : " ";
    int64_t n = s->escape_whitespaces ? MARK_BYTES : 1;
    while (out->length - begin >= n && memcmp(out->data + out->length - n, blank, (size_t)n) == 0)
        out->length -= n;
    out->data[out->length] = '\0';
}

static tsr_status normalize(const void *state, tsr_work *work, const char *text, int64_t n, tsr_text *out,
                            bool *at_start)
{
    const tsr_sentencepiece *s = state;
    const char *part;
    int64_t part_n, begin = out->length;
    (void)work;
    while (s->remove_extra_whitespaces && n > 0) {
        int64_t used = normalize_prefix(s, text, n, &part, &part_n);
        if (part_n != 1 || *part != ' ') break;
        text += used, n -= used;
    }
    if (n == 0) return TSR_OK;
    bool prefix = s->add_dummy_prefix && (!s->prefix_once || *at_start);
    if (prefix && !s->whitespace_as_suffix) TSR_TRY(append_blank(s, out));
    bool after_space = s->remove_extra_whitespaces;
    while (n > 0) {
        int64_t used = normalize_prefix(s, text, n, &part, &part_n);
        TSR_TRY(append_part(s, part, part_n, &after_space, out));
        text += used, n -= used;
    }
    if (s->remove_extra_whitespaces) drop_trailing_blanks(s, begin, out);
    return prefix && s->whitespace_as_suffix ? append_blank(s, out) : TSR_OK;
}

const tsr_normalizer_kind tsr_normalizer_sentencepiece = {{"SentencePiece", NULL, NULL}, normalize};

/* Decoding. stage->bytes: byte tokens that are no character yet. stage->open: some text was passed on.
 * stage->seen: what became of the blank in front. */
enum { BLANK_EXPECTED, BLANK_PAST };

static tsr_status pass(tsr_decode_stage *s, const char *text, int64_t n)
{
    if (n > 0) s->open = true;
    return tsr_pass_text(s, text, n);
}

/* Passes on the characters that are complete; each byte that can be part of none becomes U+FFFD. */
static tsr_status pass_bytes(tsr_decode_stage *s, bool ended)
{
    tsr_text *b = &s->bytes;
    int64_t i = 0;
    while (i < b->length) {
        uint32_t c;
        int used = tsr_utf8_decode(b->data + i, b->length - i, &c);
        if (used < 0 && !ended && tsr_utf8_complete_prefix(b->data + i, b->length - i) == 0) break;
        TSR_TRY(used > 0 ? pass(s, b->data + i, used) : pass(s, "\xEF\xBF\xBD", 3));
        i += used > 0 ? used : 1;
    }
    memmove(b->data, b->data + i, (size_t)(b->length - i));
    b->length -= i;
    return TSR_OK;
}

/* A piece with its marks as blanks; the one in front that encoding put there goes. */
static tsr_status pass_piece(tsr_decode_stage *s, const char *piece, int64_t n)
{
    const tsr_sentencepiece *m = s->options;
    bool marked = n >= MARK_BYTES && memcmp(piece, space_mark, MARK_BYTES) == 0;
    if (s->open) s->seen = BLANK_PAST;
    if (s->seen == BLANK_EXPECTED && marked && (m->add_dummy_prefix || m->remove_extra_whitespaces)) {
        piece += MARK_BYTES, n -= MARK_BYTES;
        if (!m->remove_extra_whitespaces)
            s->seen = BLANK_PAST; /* else further ones go too, as long as there is no text */
    }
    const char *found;
    while (n > 0 && (found = memmem(piece, (size_t)n, space_mark, MARK_BYTES)) != NULL) {
        TSR_TRY(pass(s, piece, found - piece));
        TSR_TRY(pass(s, " ", 1));
        n -= found - piece + MARK_BYTES;
        piece = found + MARK_BYTES;
    }
    return pass(s, piece, n);
}

static int byte_of(const tsr_sentencepiece *m, int32_t id)
{
    int b = 0;
    while (b < 255 && m->byte_id[b] != id) b++;
    return b;
}

/* A token that is not a byte. */
static tsr_status pass_token(tsr_decode_stage *s, const char *piece, int64_t n)
{
    const tsr_sentencepiece *m = s->options;
    int32_t id = s->chain->id;
    TSR_TRY(pass_bytes(s, true));
    if (id >= m->size || m->type[id] == 0)
        return pass(s, piece, n); /* a token that the configuration added */
    switch (m->type[id]) {
    case TSR_PIECE_CONTROL:
        return s->chain->skip_special_tokens ? TSR_OK : pass(s, piece, n);
    case TSR_PIECE_UNKNOWN:
        return pass(s, m->unk_surface, (int64_t)strlen(m->unk_surface));
    default:
        return pass_piece(s, piece, n);
    }
}

static tsr_status decode_end(tsr_decode_stage *s)
{
    const tsr_sentencepiece *m = s->options;
    int32_t id = s->chain->id;
    if (id < m->size && m->type[id] == TSR_PIECE_BYTE) {
        char byte = (char)byte_of(m, id);
        TSR_TRY(tsr_text_append(&s->bytes, &byte, 1));
        TSR_TRY(pass_bytes(s, false));
    } else {
        TSR_TRY(pass_token(s, s->held.data, s->held.length));
    }
    tsr_text_clear(&s->held);
    return TSR_OK;
}

static tsr_status decode_finish(tsr_decode_stage *s)
{
    return pass_bytes(s, true);
}

const tsr_decoder_kind tsr_decoder_sentencepiece = {
    {"SentencePiece", NULL, NULL}, tsr_hold_text, decode_end, decode_finish};
