/* utf8.c: strict decoding by the table of well-formed sequences (Unicode, table 3-7). */
#include "base/utf8.h"

/* Length of the sequence that `lead` begins (0: none), and the range its second byte must lie in. */
static int sequence_of(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    if (lead < 0xE0) return 2;
    if (lead < 0xF0) {
        if (lead == 0xE0) *low = 0xA0;
        if (lead == 0xED) *high = 0x9F;
        return 3;
    }
    if (lead == 0xF0) *low = 0x90;
    if (lead == 0xF4) *high = 0x8F;
    return 4;
}

/* Number of leading bytes (at least 1) that fit the sequence begun by bytes[0]; *length = the whole sequence's. */
static int64_t well_formed_bytes(const unsigned char *bytes, int64_t n, int *length)
{
    unsigned char low, high;
    *length = sequence_of(bytes[0], &low, &high);
    int64_t i = 1;
    for (; i < *length && i < n; i++) {
        if (bytes[i] < low || bytes[i] > high) break;
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

int tsr_utf8_decode(const char *text, int64_t n, uint32_t *c)
{
    const unsigned char *bytes = (const unsigned char *)text;
    int length;
    int64_t good = well_formed_bytes(bytes, n, &length);
    if (length == 0 || good < length) return (int)-good;
    static const unsigned char lead_mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t value = bytes[0] & lead_mask[length];
    for (int i = 1; i < length; i++) value = value << 6 | (bytes[i] & 0x3F);
    *c = value;
    return length;
}

int tsr_utf8_encode(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(lead[n] | c);
    return n;
}

bool tsr_utf8_valid(const char *bytes, int64_t n)
{
    uint32_t c;
    for (int64_t i = 0; i < n;) {
        int used = tsr_utf8_decode(bytes + i, n - i, &c);
        if (used <= 0) return false;
        i += used;
    }
    return true;
}

int64_t tsr_utf8_complete_prefix(const char *bytes, int64_t n)
{
    for (int64_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char *p = (const unsigned char *)bytes + n - back;
        if ((*p & 0xC0) == 0x80) continue;
        int length;
        int64_t good = well_formed_bytes(p, back, &length);
        return good == back && length > back ? n - back : n;
    }
    return n;
}
