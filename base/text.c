/* text.c: the growable byte string, and JSON string output. */
#include "base/text.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static tsr_status reserve(tsr_text *t, int64_t extra)
{
    if (extra < 0 || extra > t->cap - t->length)
        return tsr_fail(TSR_ERR_CAPACITY, "text would exceed its limit of %lld bytes", (long long)t->cap);
    void *p = t->data;
    tsr_status s = tsr_grow(&p, &t->capacity, t->length + extra + 1, 1, "text");
    t->data = p;
    return s;
}

tsr_status tsr_text_init(tsr_text *t, int64_t cap)
{
    *t = (tsr_text){.cap = cap};
    return reserve(t, 0);
}

void tsr_text_free(tsr_text *t)
{
    tsr_free(t->data);
    *t = (tsr_text){0};
}

void tsr_text_clear(tsr_text *t)
{
    t->length = 0;
    if (t->data) t->data[0] = '\0';
}

tsr_status tsr_text_append(tsr_text *t, const char *bytes, int64_t n)
{
    TSR_TRY(reserve(t, n));
    if (n > 0) memcpy(t->data + t->length, bytes, (size_t)n);
    t->length += n;
    t->data[t->length] = '\0';
    return TSR_OK;
}

tsr_status tsr_text_puts(tsr_text *t, const char *s)
{
    return tsr_text_append(t, s, (int64_t)strlen(s));
}

tsr_status tsr_text_format(tsr_text *t, const char *format, ...)
{
    va_list args, again;
    int64_t room = t->capacity - t->length; /* mostly enough; else it is done again where there is more */
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(room > 0 ? t->data + t->length : NULL, (size_t)room, format, args);
    va_end(args);
    tsr_status s = n < 0 ? tsr_fail(TSR_ERR_INTERNAL, "a format failed") : reserve(t, n);
    if (s == TSR_OK) {
        if (n >= room) vsnprintf(t->data + t->length, (size_t)n + 1, format, again);
        t->length += n;
    }
    va_end(again);
    if (t->data) t->data[t->length] = '\0';
    return s;
}

static tsr_status json_char(tsr_text *t, uint32_t c, const char *bytes, int n)
{
    switch (c) {
    case '"':
        return tsr_text_puts(t, "\\\"");
    case '\\':
        return tsr_text_puts(t, "\\\\");
    case '\n':
        return tsr_text_puts(t, "\\n");
    case '\r':
        return tsr_text_puts(t, "\\r");
    case '\t':
        return tsr_text_puts(t, "\\t");
    default:
        break;
    }
    if (c < 0x20 || c == 0x7f) return tsr_text_format(t, "\\u%04x", (unsigned)c);
    return tsr_text_append(t, bytes, n);
}

static bool is_plain(char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

tsr_status tsr_text_json(tsr_text *t, const char *bytes, int64_t n)
{
    TSR_TRY(tsr_text_puts(t, "\""));
    for (int64_t i = 0, from = 0; i < n; from = i) {
        uint32_t c;
        while (i < n && is_plain(bytes[i])) i++;
        TSR_TRY(tsr_text_append(t, bytes + from, i - from));
        if (i == n) break;
        int used = tsr_utf8_decode(bytes + i, n - i, &c);
        if (used > 0) {
            TSR_TRY(json_char(t, c, bytes + i, used));
            i += used;
        } else {
            TSR_TRY(tsr_text_puts(t, "\xEF\xBF\xBD"));
            i += -used;
        }
    }
    return tsr_text_puts(t, "\"");
}
