/* decoder_bytes.c: decoders whose tokens are bytes: ByteLevel and ByteFallback. */
#include "runtime/tokenizer/byte_alphabet.h"
#include "runtime/tokenizer/decoder.h"
#include "base/utf8.h"

#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static void drop_front(tsr_text *t, int64_t n)
{
    memmove(t->data, t->data + n, (size_t)(t->length - n));
    t->length -= n;
    t->data[t->length] = '\0';
}

/* Passes on text[0..n); an invalid sequence as one U+FFFD for each maximal part of a character. */
static tsr_status pass_lossy(tsr_decode_stage *s, const char *text, int64_t n)
{
    int64_t good = 0;
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        int used = tsr_utf8_decode(text + i, n - i, &c);
        if (used > 0) {
            i += used;
            continue;
        }
        TSR_TRY(tsr_pass_text(s, text + good, i - good));
        TSR_TRY(tsr_pass_text(s, replacement, 3));
        good = i += -used;
    }
    return tsr_pass_text(s, text + good, n - good);
}

/* Passes on the bytes up to the last character that is complete. */
static tsr_status pass_complete(tsr_decode_stage *s)
{
    int64_t complete = tsr_utf8_complete_prefix(s->bytes.data, s->bytes.length);
    TSR_TRY(pass_lossy(s, s->bytes.data, complete));
    drop_front(&s->bytes, complete);
    return TSR_OK;
}

/* ByteLevel: the bytes of all tokens are one text; a token with a character outside the alphabet gives its
 * own. */
static tsr_status byte_level_end(tsr_decode_stage *s)
{
    TSR_TRY(tsr_alphabet_to_bytes(s->held.data, s->held.length, &s->bytes));
    tsr_text_clear(&s->held);
    return pass_complete(s);
}

static tsr_status byte_level_finish(tsr_decode_stage *s)
{
    TSR_TRY(pass_lossy(s, s->bytes.data, s->bytes.length));
    return tsr_pass_end(s);
}

const tsr_decoder_kind tsr_decoder_byte_level = {
    {"ByteLevel", NULL, NULL}, tsr_hold_text, byte_level_end, byte_level_finish};

/* The same for pieces that are the bytes themselves. */
static tsr_status bytes_end(tsr_decode_stage *s)
{
    TSR_TRY(tsr_text_append(&s->bytes, s->held.data, s->held.length));
    tsr_text_clear(&s->held);
    return pass_complete(s);
}

const tsr_decoder_kind tsr_decoder_bytes = {
    {"Bytes", NULL, NULL}, tsr_hold_text, bytes_end, byte_level_finish};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "<0xHH>" stands for, or -1. */
static int byte_token(const tsr_text *t)
{
    if (t->length != 6 || memcmp(t->data, "<0x", 3) != 0 || t->data[5] != '>') return -1;
    int high = hex_value(t->data[3]), low = hex_value(t->data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens is valid as a whole, or each of its bytes is U+FFFD; so nothing of it is certain
 * before the run has ended. */
static tsr_status pass_run(tsr_decode_stage *s)
{
    if (s->bytes.length == 0) return TSR_OK;
    if (tsr_utf8_valid(s->bytes.data, s->bytes.length))
        TSR_TRY(tsr_pass_token(s, s->bytes.data, s->bytes.length));
    else
        for (int64_t i = 0; i < s->bytes.length; i++) TSR_TRY(tsr_pass_token(s, replacement, 3));
    tsr_text_clear(&s->bytes);
    return TSR_OK;
}

static tsr_status byte_fallback_end(tsr_decode_stage *s)
{
    int byte = byte_token(&s->held);
    if (byte >= 0) {
        char b = (char)byte;
        tsr_text_clear(&s->held);
        return tsr_text_append(&s->bytes, &b, 1);
    }
    TSR_TRY(pass_run(s));
    TSR_TRY(tsr_pass_token(s, s->held.data, s->held.length));
    tsr_text_clear(&s->held);
    return TSR_OK;
}

const tsr_decoder_kind tsr_decoder_byte_fallback = {
    {"ByteFallback", NULL, NULL}, tsr_hold_text, byte_fallback_end, pass_run};
