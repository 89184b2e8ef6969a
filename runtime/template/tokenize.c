/* tokenize.c: cutting a template into tokens. */
#include "base/utf8.h"
#include "runtime/template/string_escape.h"
#include "runtime/template/token.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    const char *at, *end, *name;
    int line;
    bool line_starts; /* the last tag took the newline behind it */
    char open[256];   /* brackets inside the tag */
    int n_open;
    tsr_arena *arena;
    tpl_tokens *out;
} lexer;

bool tsr_tpl_is_space(const char *at, const char *end, int *n)
{
    uint32_t c;
    *n = tsr_utf8_decode(at, end - at, &c);
    if (*n < 1) return *n = 1, false;
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

static tsr_status wrong(const lexer *x, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: line %d: %s", x->name, x->line, what);
}

static void count_lines(lexer *x, const char *to)
{
    for (; x->at < to; x->at++) x->line += *x->at == '\n';
}

static void skip_space(lexer *x)
{
    int n;
    while (x->at < x->end && tsr_tpl_is_space(x->at, x->end, &n)) count_lines(x, x->at + n);
}

static bool starts(const lexer *x, const char *at, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(x->end - at) >= n && memcmp(at, text, n) == 0;
}

static tsr_status push(lexer *x, tpl_token token)
{
    void *items = x->out->items;
    token.line = x->line;
    tsr_status s =
        tsr_grow(&items, &x->out->capacity, x->out->count + 1, sizeof token, "tokens of a template");
    x->out->items = items;
    if (s == TSR_OK) x->out->items[x->out->count++] = token;
    return s;
}

static tsr_status push_text(lexer *x, tpl_token_kind kind, const char *bytes, int64_t n)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(x->arena, n + 1, &p));
    memcpy(p, bytes, (size_t)n);
    return push(x, (tpl_token){.kind = kind, .text = p, .n = n});
}

/* --- Text between tags --- */

/* Where the text before a tag ends, after what the tag's sign and lstrip_blocks take from it. */
static const char *strip_before(const lexer *x, const char *tag, char sign, bool prints)
{
    const char *stop = tag;
    int n;
    if (sign == '-') {
        /* Whitespace has to be found from the front, since UTF-8 is. */
        for (const char *c = stop = x->at; c < tag; c += n)
            if (!tsr_tpl_is_space(c, tag, &n)) stop = c + n;
        return stop;
    }
    if (sign == '+' || prints) return stop;
    const char *line = tag;
    while (line > x->at && line[-1] != '\n') line--;
    if (line == x->at && !x->line_starts) return stop;
    for (const char *c = line; c < tag; c += n)
        if (!tsr_tpl_is_space(c, tag, &n)) return stop;
    return line;
}

static tsr_status take_data(lexer *x, const char *tag, char sign, bool prints)
{
    const char *stop = strip_before(x, tag, sign, prints);
    if (stop > x->at) TSR_TRY(push_text(x, TPL_TOKEN_DATA, x->at, stop - x->at));
    count_lines(x, tag);
    return TSR_OK;
}

/* The end of a tag is at hand: takes it and, by its sign, what is behind it. */
static void take_tag_end(lexer *x, bool prints)
{
    bool minus = *x->at == '-', plus = *x->at == '+';
    x->at += minus || plus ? 3 : 2;
    x->line_starts = false;
    if (minus) {
        const char *from = x->at;
        skip_space(x);
        x->line_starts = x->at > from && x->at[-1] == '\n';
    } else if (!plus && !prints && x->at < x->end && *x->at == '\n') {
        count_lines(x, x->at + 1);
        x->line_starts = true;
    }
}

/* "%}", "-%}" or "+%}". */
static bool at_tag_end(const lexer *x, const char *at, const char *close)
{
    bool sign = at < x->end && (*at == '-' || (*at == '+' && close[0] != '}'));
    return starts(x, at + sign, close);
}

static tsr_status take_comment(lexer *x)
{
    const char *from = x->at + 2;
    if (from < x->end && (*from == '-' || *from == '+')) from++;
    for (const char *c = from; c < x->end; c++) {
        if (!starts(x, c, "#}")) continue;
        count_lines(x, c > from && (c[-1] == '-' || c[-1] == '+') ? c - 1 : c);
        take_tag_end(x, false);
        return TSR_OK;
    }
    return wrong(x, "a comment has no end");
}

/* Of "{% WORD %}" at `tag`: where it ends, sign and all, NULL if it is another tag; *sign is that of its begin. */
static const char *match_tag(const lexer *x, const char *tag, const char *word, char *sign)
{
    int n;
    const char *c = tag + 2;
    *sign = c < x->end && (*c == '-' || *c == '+') ? *c++ : '\0';
    while (c < x->end && tsr_tpl_is_space(c, x->end, &n)) c += n;
    if (!starts(x, c, word)) return NULL;
    for (c += strlen(word); c < x->end && tsr_tpl_is_space(c, x->end, &n);) c += n;
    return at_tag_end(x, c, "%}") ? c : NULL;
}

/* {% raw %} .. {% endraw %}: `end` is where the end of the first tag begins. */
static tsr_status take_raw(lexer *x, const char *end)
{
    char sign;
    count_lines(x, end);
    bool minus = *end == '-';
    if (*end == '+') return wrong(x, "raw cannot end in '+'");
    take_tag_end(x, !minus); /* the newline behind it stays */
    for (const char *c = x->at; c < x->end; c++) {
        const char *close = starts(x, c, "{%") ? match_tag(x, c, "endraw", &sign) : NULL;
        if (!close) continue;
        TSR_TRY(take_data(x, c, sign, false));
        count_lines(x, close);
        take_tag_end(x, false);
        return TSR_OK;
    }
    return wrong(x, "raw has no endraw");
}

/* --- Inside a tag --- */

static bool is_name_byte(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
    return letter || (!first && c >= '0' && c <= '9');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static tsr_status take_string(lexer *x)
{
    const char quote = *x->at, *c = x->at + 1;
    const char *text;
    int64_t n;
    while (c < x->end && *c != quote) c += *c == '\\' && c + 1 < x->end ? 2 : 1;
    if (c >= x->end) return wrong(x, "a string has no end");
    if (tsr_tpl_unescape(x->at + 1, c - x->at - 1, x->arena, &text, &n) != TSR_OK)
        return tsr_fail_in(TSR_ERR_FORMAT, "%s: line %d", x->name, x->line);
    TSR_TRY(push(x, (tpl_token){.kind = TPL_TOKEN_STRING, .text = text, .n = n}));
    count_lines(x, c + 1);
    return TSR_OK;
}

/* Copies digits without '_' from *at; false if there is no room. */
static bool copy_digits(const char **at, const char *end, char **to, const char *room)
{
    while (*at < end && (is_digit(**at) || (**at == '_' && *at + 1 < end && is_digit((*at)[1])))) {
        if (*to == room) return false;
        if (**at != '_') *(*to)++ = **at;
        (*at)++;
    }
    return true;
}

/* An exponent, if digits follow. */
static const char *exponent_digits(const lexer *x, const char *c)
{
    if (c >= x->end || (*c != 'e' && *c != 'E')) return NULL;
    c += c + 1 < x->end && (c[1] == '+' || c[1] == '-') ? 2 : 1;
    return c < x->end && is_digit(*c) ? c : NULL;
}

static tsr_status take_number(lexer *x)
{
    char text[400], *to = text, *const room = text + sizeof text - 8, *stop;
    const char *c = x->at;
    bool after_dot = c[-1] == '.', real = false;
    bool fits = copy_digits(&c, x->end, &to, room);
    if (!after_dot && fits && c + 1 < x->end && *c == '.' && is_digit(c[1])) {
        *to++ = *c++;
        fits = copy_digits(&c, x->end, &to, room);
        real = true;
    }
    const char *exponent = after_dot ? NULL : exponent_digits(x, c);
    if (fits && exponent) {
        while (c < exponent) *to++ = *c++;
        fits = copy_digits(&c, x->end, &to, room);
        real = true;
    }
    *to = '\0';
    errno = 0;
    tpl_token token = {.kind = real ? TPL_TOKEN_REAL : TPL_TOKEN_INTEGER};
    if (real)
        token.real = strtod(text, &stop);
    else
        token.integer = strtoll(text, &stop, 10);
    if (!fits || (!real && errno == ERANGE)) return wrong(x, "a number is too large");
    x->at = c;
    return push(x, token);
}

static tsr_status take_operator(lexer *x)
{
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    static const char single[] = "+-*/%~[](){}<>=.:|,;";
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (starts(x, x->at, pairs[i])) {
            x->at += 2;
            return push(x, (tpl_token){.kind = TPL_TOKEN_OPERATOR, .op = TPL_OP2(pairs[i][0], pairs[i][1])});
        }
    char c = *x->at;
    if (!c || !strchr(single, c)) return wrong(x, "a character stands in a tag that means nothing there");
    if (strchr("([{", c)) {
        if (x->n_open == (int)sizeof x->open) return wrong(x, "too many brackets inside one another");
        x->open[x->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    }
    if (strchr(")]}", c) && (x->n_open == 0 || x->open[--x->n_open] != c))
        return wrong(x, "a bracket closes none");
    x->at++;
    return push(x, (tpl_token){.kind = TPL_TOKEN_OPERATOR, .op = c});
}

static tsr_status take_name(lexer *x)
{
    const char *c = x->at;
    while (c < x->end && is_name_byte(*c, false)) c++;
    TSR_TRY(push_text(x, TPL_TOKEN_NAME, x->at, c - x->at));
    x->at = c;
    return TSR_OK;
}

static tsr_status take_tag(lexer *x, bool prints)
{
    const char *close = prints ? "}}" : "%}";
    x->at += 2;
    if (x->at < x->end && (*x->at == '-' || *x->at == '+')) x->at++;
    TSR_TRY(push(x, (tpl_token){.kind = prints ? TPL_TOKEN_PRINT_BEGIN : TPL_TOKEN_BLOCK_BEGIN}));
    for (x->n_open = 0;;) {
        skip_space(x);
        if (x->at >= x->end) return wrong(x, "a tag has no end");
        if (x->n_open == 0 && at_tag_end(x, x->at, close)) break;
        if (*x->at == '"' || *x->at == '\'')
            TSR_TRY(take_string(x));
        else if (is_digit(*x->at))
            TSR_TRY(take_number(x));
        else if (is_name_byte(*x->at, true))
            TSR_TRY(take_name(x));
        else
            TSR_TRY(take_operator(x));
    }
    TSR_TRY(push(x, (tpl_token){.kind = prints ? TPL_TOKEN_PRINT_END : TPL_TOKEN_BLOCK_END}));
    take_tag_end(x, prints);
    return TSR_OK;
}

/* Text up to the next tag, and the tag. */
static tsr_status take_next(lexer *x)
{
    const char *tag = x->at;
    char sign;
    while (tag < x->end && !starts(x, tag, "{%") && !starts(x, tag, "{{") && !starts(x, tag, "{#")) tag++;
    if (tag == x->end) {
        TSR_TRY(push_text(x, TPL_TOKEN_DATA, x->at, tag - x->at));
        x->at = tag;
        return TSR_OK;
    }
    bool prints = tag[1] == '{';
    const char *raw = tag[1] == '%' ? match_tag(x, tag, "raw", &sign) : NULL;
    sign = tag + 2 < x->end && (tag[2] == '-' || tag[2] == '+') ? tag[2] : '\0';
    TSR_TRY(take_data(x, tag, sign, prints));
    if (raw) return take_raw(x, raw);
    return tag[1] == '#' ? take_comment(x) : take_tag(x, prints);
}

/* Every kind of line end becomes '\n', and one at the very end goes. */
static int64_t normalize(const char *source, int64_t n, char *out)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n') continue;
        out[m++] = source[i] == '\r' ? '\n' : source[i];
    }
    return m > 0 && out[m - 1] == '\n' ? m - 1 : m;
}

tsr_status tsr_tpl_tokenize(const char *source, int64_t n, const char *name, tsr_arena *arena,
                            tpl_tokens *out)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, n + 1, &p));
    n = normalize(source, n, p);
    lexer x = {.at = p,
               .end = (char *)p + n,
               .name = name,
               .line = 1,
               .line_starts = true,
               .arena = arena,
               .out = out};
    while (x.at < x.end) TSR_TRY(take_next(&x));
    return push(&x, (tpl_token){.kind = TPL_TOKEN_END});
}
