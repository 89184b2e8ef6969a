/* string_escape.c: \n and its kin, \ooo, \xhh, \uhhhh, \Uhhhhhhhh; a backslash before anything else stays. */
#include "runtime/template/string_escape.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* Reads least..most digits of a base; returns how many there were, 0 if too few. */
static int read_digits(const char *at, const char *end, int base, int least, int most, uint32_t *out)
{
    int n = 0;
    *out = 0;
    while (n < most && at + n < end && digit_of(at[n]) < base)
        *out = *out * (uint32_t)base + (uint32_t)digit_of(at[n++]);
    return n >= least ? n : 0;
}

/* Undoes the escape at *at, which is a backslash with something behind it. */
static tsr_status undo(const char **at, const char *end, char **to)
{
    static const char letters[] = "abfnrtv\\'\"", bytes[] = "\a\b\f\n\r\t\v\\'\"";
    const char c = (*at)[1], *known = c ? strchr(letters, c) : NULL;
    uint32_t code;
    int digits = 0;
    if (c == '\n') {
        *at += 2;
        return TSR_OK;
    }
    if (known) {
        *(*to)++ = bytes[known - letters];
        *at += 2;
        return TSR_OK;
    }
    bool hex = c == 'x' || c == 'u' || c == 'U';
    int width = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    if (hex) digits = read_digits(*at + 2, end, 16, width, width, &code);
    if (!hex) digits = read_digits(*at + 1, end, 8, 1, 3, &code);
    if (c == 'N' || (hex && digits == 0))
        return tsr_fail(TSR_ERR_FORMAT, "a string has a \\%c that is not whole or not known", c);
    if (digits == 0) {
        *(*to)++ = '\\';
        *at += 1;
        return TSR_OK;
    }
    int n = tsr_utf8_encode(code, *to);
    if (n == 0) return tsr_fail(TSR_ERR_FORMAT, "a string has an escape that is no character");
    *to += n;
    *at += digits + (hex ? 2 : 1);
    return TSR_OK;
}

tsr_status tsr_tpl_unescape(const char *bytes, int64_t n, tsr_arena *arena, const char **out, int64_t *out_n)
{
    void *p;
    /* No escape is shorter than the bytes of what it stands for. */
    TSR_TRY(tsr_arena_alloc(arena, n + 1, &p));
    char *to = p;
    for (const char *at = bytes, *end = bytes + n; at < end;) {
        if (*at == '\\' && at + 1 < end)
            TSR_TRY(undo(&at, end, &to));
        else
            *to++ = *at++;
    }
    *to = '\0';
    *out = p;
    *out_n = to - (char *)p;
    return TSR_OK;
}
