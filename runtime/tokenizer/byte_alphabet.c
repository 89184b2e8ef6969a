/* byte_alphabet.c: bytes to characters and back. */
#include "runtime/tokenizer/byte_alphabet.h"
#include "runtime/tokenizer/unicode.h"

static bool stands_for_itself(int byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

/* The others are 0x00..0x20, 0x7F..0xA0 and 0xAD: U+0100 and up, in this order. */
static uint32_t char_of(unsigned char byte)
{
    if (stands_for_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    return byte == 0xAD ? 0x143u : 0x121u + (byte - 0x7Fu);
}

static int byte_of(uint32_t c)
{
    if (c <= 0xFF) return stands_for_itself((int)c) ? (int)c : -1;
    if (c <= 0x120) return (int)(c - 0x100);
    if (c <= 0x142) return (int)(c - 0x121 + 0x7F);
    return c == 0x143 ? 0xAD : -1;
}

tsr_status tsr_bytes_to_alphabet(const char *bytes, int64_t n, tsr_text *out)
{
    enum { BATCH = 256 };
    char batch[2 * BATCH];
    for (int64_t i = 0; i < n;) {
        int used = 0;
        for (; i < n && used <= 2 * BATCH - 2; i++) {
            uint32_t c = char_of((unsigned char)bytes[i]);
            if (c < 0x80) {
                batch[used++] = (char)c;
            } else {
                batch[used++] = (char)(0xC0 | c >> 6);
                batch[used++] = (char)(0x80 | (c & 0x3F));
            }
        }
        TSR_TRY(tsr_text_append(out, batch, used));
    }
    return TSR_OK;
}

tsr_status tsr_alphabet_to_bytes(const char *text, int64_t n, tsr_text *out)
{
    int64_t before = out->length;
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        i += tsr_char_decode(text + i, &c);
        int byte = byte_of(c);
        if (byte < 0) {
            out->length = before;
            return tsr_text_append(out, text, n);
        }
        char b = (char)byte;
        TSR_TRY(tsr_text_append(out, &b, 1));
    }
    return TSR_OK;
}
