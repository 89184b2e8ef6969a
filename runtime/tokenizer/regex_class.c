/* regex_class.c: reading character sets of Oniguruma patterns and writing them for PCRE2. */
#include "runtime/tokenizer/regex_class.h"
#include "runtime/tokenizer/regex_property.h"
#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/unicode.h"

#include <string.h>

enum { NESTING_CAP = 16, SET_CAP = 16 * TSR_REGEX_PATTERN_CAP };

tsr_status tsr_regex_set_init(tsr_regex_set *set)
{
    *set = (tsr_regex_set){0};
    TSR_TRY(tsr_text_init(&set->items, SET_CAP));
    tsr_status status = tsr_text_init(&set->alternatives, SET_CAP);
    if (status != TSR_OK) tsr_regex_set_free(set);
    return status;
}

void tsr_regex_set_free(tsr_regex_set *set)
{
    tsr_text_free(&set->items);
    tsr_text_free(&set->alternatives);
}

static tsr_status append(tsr_text *to, const tsr_text *from)
{
    return tsr_text_append(to, from->data, from->length);
}

static tsr_status render_positive(const tsr_regex_set *set, tsr_text *out)
{
    bool items = set->items.length > 0, alternatives = set->alternatives.length > 0;
    if (!items && !alternatives) return tsr_text_puts(out, "(?!)");
    if (alternatives) TSR_TRY(tsr_text_puts(out, "(?:"));
    if (items) {
        TSR_TRY(tsr_text_puts(out, "["));
        TSR_TRY(append(out, &set->items));
        TSR_TRY(tsr_text_puts(out, alternatives ? "]|" : "]"));
    }
    TSR_TRY(append(out, &set->alternatives));
    return alternatives ? tsr_text_puts(out, ")") : TSR_OK;
}

tsr_status tsr_regex_set_render(const tsr_regex_set *set, tsr_text *out)
{
    if (!set->negated) return render_positive(set, out);
    if (set->alternatives.length > 0) {
        TSR_TRY(tsr_text_puts(out, "(?:(?!"));
        TSR_TRY(render_positive(set, out));
        return tsr_text_puts(out, ")\\p{Any})");
    }
    if (set->items.length == 0) return tsr_text_puts(out, "\\p{Any}");
    TSR_TRY(tsr_text_puts(out, "[^"));
    TSR_TRY(append(out, &set->items));
    return tsr_text_puts(out, "]");
}

static tsr_status add_alternative(tsr_regex_set *set, const tsr_regex_set *part)
{
    if (set->alternatives.length > 0) TSR_TRY(tsr_text_puts(&set->alternatives, "|"));
    return tsr_regex_set_render(part, &set->alternatives);
}

static tsr_status unite(tsr_regex_set *set, const tsr_regex_set *part)
{
    if (part->negated) return add_alternative(set, part);
    TSR_TRY(append(&set->items, &part->items));
    if (part->alternatives.length == 0) return TSR_OK;
    if (set->alternatives.length > 0) TSR_TRY(tsr_text_puts(&set->alternatives, "|"));
    return append(&set->alternatives, &part->alternatives);
}

/* set := characters of both. */
static tsr_status intersect(tsr_regex_set *set, const tsr_regex_set *other)
{
    tsr_text both;
    TSR_TRY(tsr_text_init(&both, SET_CAP));
    tsr_status status = tsr_text_puts(&both, "(?:(?=");
    if (status == TSR_OK) status = tsr_regex_set_render(set, &both);
    if (status == TSR_OK) status = tsr_text_puts(&both, ")");
    if (status == TSR_OK) status = tsr_regex_set_render(other, &both);
    if (status == TSR_OK) status = tsr_text_puts(&both, ")");
    tsr_text_clear(&set->items);
    tsr_text_clear(&set->alternatives);
    set->negated = false;
    if (status == TSR_OK) status = append(&set->alternatives, &both);
    tsr_text_free(&both);
    return status;
}

/* All but white space; a class can hold it, where [^...] would need a look-ahead. */
static const char not_space[] =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-"
    "\\x{2027}"
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";

static tsr_status property(const char **at, const char *end, tsr_regex_set *set)
{
    set->negated = **at == 'P';
    const char *name = *at + 2,
               *close = *at + 1 < end && (*at)[1] == '{' ? memchr(name, '}', (size_t)(end - name)) : NULL;
    if (!close) return tsr_fail(TSR_ERR_FORMAT, "\\p without {name}");
    *at = close + 1;
    if (name < close && *name == '^') {
        set->negated = !set->negated;
        name++;
    }
    return tsr_regex_property(name, close - name, false, &set->items);
}

tsr_status tsr_regex_escaped_set(const char **at, const char *end, tsr_regex_set *set, bool *is_set)
{
    static const struct {
        char letter;
        const char *name;
    } names[] = {{'s', "space"}, {'w', "word"}, {'d', "digit"}, {'h', "xdigit"}};
    *is_set = true;
    if (*at < end && (**at | 0x20) == 'p') return property(at, end, set);
    for (int i = 0; *at < end && i < 4; i++) {
        if ((**at | 0x20) != names[i].letter) continue;
        char letter = *(*at)++;
        if (letter == 'S') return tsr_text_puts(&set->items, not_space);
        set->negated = letter != names[i].letter;
        return tsr_regex_property(names[i].name, (int64_t)strlen(names[i].name), false, &set->items);
    }
    *is_set = false;
    return TSR_OK;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Up to `most` hexadecimal digits. */
static int read_hex(const char **at, const char *end, int most, uint32_t *c)
{
    int digits = 0;
    for (*c = 0; digits < most && *at < end && hex_value(**at) >= 0; digits++)
        *c = *c << 4 | (uint32_t)hex_value(*(*at)++);
    return digits;
}

static tsr_status hex_escape(const char **at, const char *end, uint32_t *c)
{
    bool braces = **at == 'x' && *at + 1 < end && (*at)[1] == '{', four = **at == 'u';
    *at += braces ? 2 : 1;
    int digits = read_hex(at, end, braces ? 6 : four ? 4 : 2, c);
    bool good = digits > 0 && (!four || digits == 4) && (!braces || (*at < end && **at == '}'));
    if (!good || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000) || (!braces && !four && *c > 0x7F))
        return tsr_fail(TSR_ERR_FORMAT, "malformed hexadecimal escape");
    if (braces) ++*at;
    return TSR_OK;
}

tsr_status tsr_regex_escaped_char(const char **at, const char *end, uint32_t *c)
{
    static const char letters[] = "tnrfvae", values[] = "\t\n\r\f\v\a\033";
    if (*at >= end) return tsr_fail(TSR_ERR_FORMAT, "a backslash at the end");
    if (**at == 'x' || **at == 'u') return hex_escape(at, end, c);
    if (**at == '0') {
        uint32_t value = 0;
        for (int i = 0; i < 3 && *at < end && **at >= '0' && **at <= '7'; i++)
            value = value * 8 + (uint32_t)(*(*at)++ - '0');
        return *c = value, value < 0x80 ? TSR_OK : tsr_fail(TSR_ERR_FORMAT, "malformed octal escape");
    }
    const char *known = memchr(letters, **at, sizeof letters - 1);
    if (**at == 'c' || **at == 'C' || **at == 'M')
        return tsr_fail(TSR_ERR_FORMAT, "the escape \\%c is not supported", **at);
    *at += tsr_char_decode(*at, c);
    if (known) *c = (unsigned char)values[known - letters];
    return TSR_OK;
}

static tsr_status add_range(tsr_regex_set *set, uint32_t first, uint32_t last)
{
    if (last < first) return tsr_fail(TSR_ERR_FORMAT, "an empty range in a character class");
    return first == last ? tsr_text_format(&set->items, "\\x{%x}", first)
                         : tsr_text_format(&set->items, "\\x{%x}-\\x{%x}", first, last);
}

/* [:name:] or [:^name:]; *at points behind "[:". */
static tsr_status posix_class(const char **at, const char *close, tsr_regex_set *set)
{
    const char *name = *at;
    *at = close + 2;
    set->negated = name < close && *name == '^';
    return tsr_regex_property(name + set->negated, close - name - set->negated, true, &set->items);
}

/* A set inside a class: *at points behind '[' (then `bracket`) or behind a backslash. *is_set as above. */
static tsr_status nested_set(const char **at, const char *end, bool bracket, int depth, tsr_regex_set *set,
                             bool *is_set)
{
    tsr_regex_set part;
    TSR_TRY(tsr_regex_set_init(&part));
    tsr_status status;
    const char *colon =
        bracket && end - *at > 2 && **at == ':' ? memmem(*at + 1, (size_t)(end - *at - 1), ":]", 2) : NULL;
    *is_set = true;
    if (colon) {
        ++*at;
        status = posix_class(at, colon, &part);
    } else if (bracket) {
        status = tsr_regex_class_parse(at, end, depth + 1, &part);
    } else {
        status = tsr_regex_escaped_set(at, end, &part, is_set);
    }
    if (status == TSR_OK && *is_set) status = unite(set, &part);
    tsr_regex_set_free(&part);
    return status;
}

/* One character, plain or escaped. */
static tsr_status one_char(const char **at, const char *end, uint32_t *c)
{
    if (**at == '\\') {
        ++*at;
        if (*at < end && **at == 'b') return ++*at, *c = '\b', TSR_OK;
        return tsr_regex_escaped_char(at, end, c);
    }
    *at += tsr_char_decode(*at, c);
    return TSR_OK;
}

static bool starts(const char *at, const char *end, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(end - at) >= n && memcmp(at, text, n) == 0;
}

/* A character or a range of them; an escaped set or a nested class. */
static tsr_status class_item(const char **at, const char *end, int depth, tsr_regex_set *set)
{
    bool is_set = false;
    uint32_t first, last;
    const char *start = *at;
    if (**at == '[' || **at == '\\') {
        ++*at;
        TSR_TRY(nested_set(at, end, *start == '[', depth, set, &is_set));
        if (is_set) return TSR_OK;
        *at = start;
    }
    TSR_TRY(one_char(at, end, &first));
    bool range =
        end - *at >= 2 && **at == '-' && (*at)[1] != ']' && (*at)[1] != '[' && !starts(*at + 1, end, "&&");
    if (!range) return add_range(set, first, first);
    ++*at;
    TSR_TRY(one_char(at, end, &last));
    return add_range(set, first, last);
}

/* The operands of && from *at to the closing ']'; `set` is the first, already read. */
static tsr_status intersections(const char **at, const char *end, int depth, tsr_regex_set *set)
{
    tsr_regex_set right;
    *at += 2;
    TSR_TRY(tsr_regex_set_init(&right));
    tsr_status status = TSR_OK;
    while (status == TSR_OK && *at < end && **at != ']' && !starts(*at, end, "&&"))
        status = class_item(at, end, depth, &right);
    if (status == TSR_OK) status = intersect(set, &right);
    tsr_regex_set_free(&right);
    return status;
}

tsr_status tsr_regex_class_parse(const char **at, const char *end, int depth, tsr_regex_set *set)
{
    if (depth > NESTING_CAP) return tsr_fail(TSR_ERR_FORMAT, "character classes are nested too deeply");
    bool negated = *at < end && **at == '^';
    *at += negated;
    if (*at < end && **at == ']') { /* a ']' in the first place is a character */
        ++*at;
        TSR_TRY(add_range(set, ']', ']'));
    }
    while (*at < end && **at != ']') {
        if (starts(*at, end, "&&"))
            TSR_TRY(intersections(at, end, depth, set));
        else
            TSR_TRY(class_item(at, end, depth, set));
    }
    if (*at >= end) return tsr_fail(TSR_ERR_FORMAT, "a character class without its end");
    ++*at;
    set->negated = negated;
    return TSR_OK;
}
