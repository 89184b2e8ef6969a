/* digest.c: XXH3 with 128 bits, by libxxhash. */
#include "base/digest.h"

#include <string.h>
#include <xxhash.h>

static tsr_digest from_xxh(XXH128_hash_t h)
{
    return (tsr_digest){h.high64, h.low64};
}

tsr_digest tsr_digest_of(const void *bytes, int64_t n)
{
    return from_xxh(XXH3_128bits(bytes, (size_t)n));
}

bool tsr_digest_equal(tsr_digest a, tsr_digest b)
{
    return a.high == b.high && a.low == b.low;
}

const char *tsr_digest_text(tsr_digest d, char out[TSR_DIGEST_TEXT])
{
    for (int i = 0; i < 32; i++) {
        uint64_t half = i < 16 ? d.high : d.low;
        out[i] = "0123456789abcdef"[half >> (60 - 4 * (i % 16)) & 15];
    }
    out[32] = '\0';
    return out;
}

bool tsr_digest_parse(const char *text, tsr_digest *out)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t half[2] = {0, 0};
    if (strlen(text) != 32) return false;
    for (int i = 0; i < 32; i++) {
        const char *digit = strchr(digits, text[i]);
        if (!digit) return false;
        half[i / 16] = half[i / 16] << 4 | (uint64_t)(digit - digits);
    }
    *out = (tsr_digest){half[0], half[1]};
    return true;
}

static XXH3_state_t *state_of(tsr_digest_stream *s)
{
    return (XXH3_state_t *)s;
}

tsr_status tsr_digest_begin(tsr_digest_stream **out)
{
    XXH3_state_t *state = XXH3_createState();
    *out = (tsr_digest_stream *)state;
    if (!state) return tsr_fail(TSR_ERR_MEMORY, "out of memory: a checksum");
    XXH3_128bits_reset(state);
    return TSR_OK;
}

void tsr_digest_add(tsr_digest_stream *s, const void *bytes, int64_t n)
{
    XXH3_128bits_update(state_of(s), bytes, (size_t)n);
}

tsr_digest tsr_digest_take(tsr_digest_stream *s)
{
    tsr_digest d = from_xxh(XXH3_128bits_digest(state_of(s)));
    XXH3_128bits_reset(state_of(s));
    return d;
}

void tsr_digest_end(tsr_digest_stream **s)
{
    if (*s) XXH3_freeState(state_of(*s));
    *s = NULL;
}
