/* charsmap.c: walking the double array. */
#include "runtime/tokenizer/charsmap.h"
#include "base/utf8.h"

#include <string.h>

struct tsr_charsmap {
    const unsigned char *unit; /* [units] of 4 bytes */
    const char *replacements;  /* [replacement_bytes], ends with NUL */
    uint32_t units, replacement_bytes;
};

static uint32_t read_u32(const unsigned char *b)
{
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

tsr_status tsr_charsmap_load(const char *bytes, int64_t n, const char *where, tsr_arena *arena,
                             tsr_charsmap **out)
{
    void *p;
    *out = NULL;
    uint32_t trie = n > 4 ? read_u32((const unsigned char *)bytes) : 0;
    if (n <= 4 || trie == 0 || trie % 4 != 0 || (int64_t)trie >= n - 4 || n > INT32_MAX ||
        bytes[n - 1] != '\0' || !tsr_utf8_valid(bytes + 4 + trie, n - 4 - trie))
        return tsr_fail(TSR_ERR_FORMAT, "%s: precompiled_charsmap is malformed", where);
    TSR_TRY(tsr_arena_alloc(arena, n, &p));
    const char *copy = memcpy(p, bytes, (size_t)n);
    TSR_TRY(tsr_arena_alloc(arena, sizeof(tsr_charsmap), &p));
    *out = p;
    **out =
        (tsr_charsmap){(const unsigned char *)copy + 4, copy + 4 + trie, trie / 4, (uint32_t)(n - 4 - trie)};
    return TSR_OK;
}

/* Bits of a unit: 0..7 label (with bit 31), 8 has a value, 9 the offset is in 256s, 10..30 offset. */
static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

int64_t tsr_charsmap_match(const tsr_charsmap *m, const char *text, int64_t n, bool longest,
                           const char **replacement)
{
    int64_t length = 0;
    uint32_t node = offset_of(read_u32(m->unit));
    for (int64_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        node ^= c;
        if (node >= m->units) break;
        uint32_t unit = read_u32(m->unit + 4 * (size_t)node);
        if ((unit & (1u << 31 | 0xFF)) != c) break;
        node ^= offset_of(unit);
        if (node >= m->units) break;
        if (!(unit >> 8 & 1)) continue;
        uint32_t value = read_u32(m->unit + 4 * (size_t)node) & 0x7FFFFFFF;
        if (value >= m->replacement_bytes) break;
        *replacement = m->replacements + value;
        length = i + 1;
        if (!longest) break;
    }
    return length;
}
