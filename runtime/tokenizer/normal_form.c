/* normal_form.c: NFC, NFD, NFKC, NFKD of version 9, NFC of today (UAX #15): decompose, order the marks, compose.
 *
 * utf8proc decomposes and composes one character after the other; ordering is ours, because its insertion
 * sort takes quadratic time on long runs of marks. Characters younger than version 9 are copied as they are,
 * and nothing composes or moves across them: in that version they were unassigned.
 */
#include "runtime/tokenizer/unicode.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct segment {
    int32_t *c;
    int64_t count, capacity;
    utf8proc_option_t options;
} segment;

static int combining_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

static tsr_status decompose(segment *s, uint32_t c)
{
    enum { MOST = 32 }; /* no character decomposes to more than 18 */
    int boundary = 0;
    TSR_TRY(tsr_grow((void **)&s->c, &s->capacity, s->count + MOST, sizeof *s->c, "a normal form"));
    utf8proc_ssize_t n = utf8proc_decompose_char((int32_t)c, s->c + s->count, MOST, s->options, &boundary);
    if (n < 0 || n > MOST) return tsr_fail(TSR_ERR_INTERNAL, "U+%04X has no decomposition", c);
    s->count += n;
    return TSR_OK;
}

/* Stable counting sort by combining class of the run c[0..n), whose classes are all above 0. */
static tsr_status order_run(int32_t *c, int64_t n)
{
    if (n < 2) return TSR_OK;
    int64_t start[257] = {0};
    void *p;
    for (int64_t i = 0; i < n; i++) start[combining_class(c[i]) + 1]++;
    for (int k = 0; k < 256; k++) start[k + 1] += start[k];
    int32_t small[64], *sorted = small;
    if (n > 64) {
        TSR_TRY(tsr_alloc(n * (int64_t)sizeof *c, "a run of marks", &p));
        sorted = p;
    }
    for (int64_t i = 0; i < n; i++) sorted[start[combining_class(c[i])]++] = c[i];
    memcpy(c, sorted, (size_t)n * sizeof *c);
    if (sorted != small) tsr_free(sorted);
    return TSR_OK;
}

static tsr_status order_marks(segment *s)
{
    for (int64_t i = 0; i < s->count;) {
        int64_t j = i;
        while (j < s->count && combining_class(s->c[j]) > 0) j++;
        TSR_TRY(order_run(s->c + i, j - i));
        i = j > i ? j : i + 1;
    }
    return TSR_OK;
}

static tsr_status finish(segment *s, tsr_text *out)
{
    TSR_TRY(order_marks(s));
    if (s->options & UTF8PROC_COMPOSE) {
        utf8proc_ssize_t n = utf8proc_normalize_utf32(s->c, s->count, s->options);
        if (n < 0) return tsr_fail(TSR_ERR_INTERNAL, "composition failed");
        s->count = n;
    }
    for (int64_t i = 0; i < s->count; i++) TSR_TRY(tsr_text_append_char(out, (uint32_t)s->c[i]));
    s->count = 0;
    return TSR_OK;
}

static bool unassigned_in_version_9(uint32_t c)
{
    const tsr_unicode_change *change = tsr_unicode_change_of(c);
    return change && change->since > 9;
}

/* Characters below the first combining mark (compatibility forms: below the first of them) are already
 * normal. */
static int64_t plain_prefix(tsr_normal_form form, const char *bytes, int64_t n)
{
    int64_t i = 0;
    bool composed = form == TSR_NFC || form == TSR_NFC_NOW;
    unsigned char limit = composed ? 0xCC : 0x80; /* U+0300 begins with 0xCC */
    while (i < n && (unsigned char)bytes[i] < limit) i++;
    if (i == 0 || i == n) return i;
    /* The last plain character may compose with what follows. */
    do i--;
    while (i > 0 && ((unsigned char)bytes[i] & 0xC0) == 0x80);
    return i;
}

tsr_status tsr_unicode_normalize(tsr_normal_form form, const char *bytes, int64_t n, tsr_text *out)
{
    static const int options[] = {UTF8PROC_COMPOSE, UTF8PROC_DECOMPOSE, UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
                                  UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, UTF8PROC_COMPOSE};
    segment s = {.options = (utf8proc_option_t)(options[form] | UTF8PROC_STABLE)};
    int64_t i = plain_prefix(form, bytes, n);
    tsr_status status = tsr_text_append(out, bytes, i);
    while (status == TSR_OK && i < n) {
        uint32_t c;
        int used = tsr_char_decode(bytes + i, &c);
        if (form != TSR_NFC_NOW && unassigned_in_version_9(c)) {
            status = finish(&s, out);
            if (status == TSR_OK) status = tsr_text_append(out, bytes + i, used);
        } else {
            status = decompose(&s, c);
        }
        i += used;
    }
    if (status == TSR_OK) status = finish(&s, out);
    tsr_free(s.c);
    return status;
}
