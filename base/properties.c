/* properties.c: one pass over the bytes: a key, what separates, a value; escapes are undone on the way. */
#include "base/properties.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    const char *at, *end, *name;
    char *out; /* where the next undone byte goes */
    int line;
} reader;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

static void skip_line_end(reader *r)
{
    bool two = r->end - r->at > 1 && r->at[0] == '\r' && r->at[1] == '\n';
    r->at += two ? 2 : 1;
    r->line++;
}

/* Takes a backslash that ends its line, and the indent of the next one. */
static bool join_lines(reader *r)
{
    if (*r->at != '\\') return false;
    if (r->at + 1 == r->end) {
        r->at++;
        return true;
    }
    if (!is_line_end(r->at[1])) return false;
    r->at++;
    skip_line_end(r);
    while (r->at < r->end && is_blank(*r->at)) r->at++;
    return true;
}

static void skip_blanks(reader *r)
{
    while (r->at < r->end && (is_blank(*r->at) || join_lines(r)))
        if (r->at < r->end && is_blank(*r->at)) r->at++;
}

static bool hex4(const reader *r, const char *at, uint32_t *out)
{
    *out = 0;
    if (r->end - at < 6 || at[0] != '\\' || at[1] != 'u') return false;
    for (int i = 2; i < 6; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

/* \uXXXX, or two that are the halves of one character beyond U+FFFF. */
static tsr_status take_unicode(reader *r)
{
    uint32_t c, low;
    if (!hex4(r, r->at, &c))
        return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: \\u must have four hexadecimal digits", r->name,
                        r->line);
    r->at += 6;
    if (c >= 0xD800 && c < 0xDC00 && hex4(r, r->at, &low) && low >= 0xDC00 && low < 0xE000) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        r->at += 6;
    }
    int n = c ? tsr_utf8_encode(c, r->out) : 0;
    if (n == 0) return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: \\u%04x is no character", r->name, r->line, c);
    r->out += n;
    return TSR_OK;
}

static tsr_status take_escape(reader *r)
{
    static const char letters[] = "tnrf", bytes[] = "\t\n\r\f";
    if (r->at[1] == 'u') return take_unicode(r);
    const char *known = strchr(letters, r->at[1]);
    *r->out++ = known ? bytes[known - letters] : r->at[1];
    r->at += 2;
    return TSR_OK;
}

/* The bytes up to the end of the line or, of a key, up to what ends a key. */
static tsr_status take(reader *r, bool key, const char **out)
{
    *out = r->out;
    while (r->at < r->end && !is_line_end(*r->at)) {
        char c = *r->at;
        if (key && (c == '=' || c == ':' || is_blank(c))) break;
        if (join_lines(r)) continue;
        if (c == '\\')
            TSR_TRY(take_escape(r));
        else
            *r->out++ = c, r->at++;
    }
    *r->out++ = '\0';
    return TSR_OK;
}

static tsr_status keep(tsr_properties *p, const reader *r, tsr_property new)
{
    void *items = p->items;
    if (!new.key[0])
        return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: there is no key before the value", r->name, new.line);
    for (int64_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].key, new.key) == 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: key \"%s\" stands in line %d already", r->name,
                            new.line, new.key, p->items[i].line);
    if (p->count == TSR_PROPERTIES_MOST)
        return tsr_fail(TSR_ERR_FORMAT, "%s: more than %d keys", r->name, TSR_PROPERTIES_MOST);
    tsr_status s = tsr_grow(&items, &p->capacity, p->count + 1, sizeof new, "properties");
    p->items = items;
    if (s == TSR_OK) p->items[p->count++] = new;
    return s;
}

static tsr_status take_line(reader *r, tsr_properties *p)
{
    while (r->at < r->end && is_blank(*r->at)) r->at++;
    if (r->at < r->end && (*r->at == '#' || *r->at == '!'))
        while (r->at < r->end && !is_line_end(*r->at)) r->at++;
    tsr_property new = {.line = r->line};
    skip_blanks(r);
    if (r->at < r->end && !is_line_end(*r->at)) {
        TSR_TRY(take(r, true, &new.key));
        skip_blanks(r);
        if (r->at < r->end && (*r->at == '=' || *r->at == ':')) r->at++;
        skip_blanks(r);
        TSR_TRY(take(r, false, &new.value));
        TSR_TRY(keep(p, r, new));
    }
    if (r->at < r->end) skip_line_end(r);
    return TSR_OK;
}

static tsr_status take_lines(const char *bytes, int64_t n, const char *name, tsr_properties *out)
{
    void *p;
    if (n > TSR_PROPERTIES_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: larger than %d bytes", name, TSR_PROPERTIES_CAP);
    if (memchr(bytes, 0, (size_t)n) || !tsr_utf8_valid(bytes, n))
        return tsr_fail(TSR_ERR_FORMAT, "%s: is no UTF-8 text", name);
    /* A line "k" needs its key and two NULs; all else shrinks. */
    TSR_TRY(tsr_alloc(2 * n + 2, "properties", &p));
    out->bytes = p;
    reader r = {.at = bytes, .end = bytes + n, .name = name, .out = p, .line = 1};
    while (r.at < r.end) TSR_TRY(take_line(&r, out));
    return TSR_OK;
}

tsr_status tsr_properties_parse(const char *bytes, int64_t n, const char *name, tsr_properties *out)
{
    *out = (tsr_properties){0};
    tsr_status s = take_lines(bytes, n, name, out);
    if (s != TSR_OK) tsr_properties_free(out);
    return s;
}

tsr_status tsr_properties_read(const char *path, tsr_properties *out)
{
    void *p;
    *out = (tsr_properties){0};
    FILE *f = fopen(path, "rb");
    if (!f) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    tsr_status s = tsr_alloc(TSR_PROPERTIES_CAP + 1, "properties", &p);
    if (s == TSR_OK) {
        size_t n = fread(p, 1, TSR_PROPERTIES_CAP + 1, f);
        s = ferror(f) ? tsr_fail(TSR_ERR_IO, "%s: cannot be read: %s", path, strerror(errno))
                      : tsr_properties_parse(p, (int64_t)n, path, out);
        tsr_free(p);
    }
    fclose(f);
    return s;
}

void tsr_properties_free(tsr_properties *p)
{
    tsr_free(p->items);
    tsr_free(p->bytes);
    *p = (tsr_properties){0};
}
