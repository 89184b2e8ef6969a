/* regex_translate.c: rewrites an Oniguruma pattern as a PCRE2 pattern that matches the same text.
 *
 * Copied: alternation, groups, assertions, most quantifiers. Rewritten: sets of characters (regex_class.c),
 * \b, (?m), an option without a group (in Oniguruma it encloses the alternatives that follow), {,n}, and
 * {n,m}+, which repeats and is not possessive. Refused, by name: what tokenizers do not use (recursion,
 * conditions, callouts, (?x)).
 */
#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/regex_class.h"
#include "runtime/tokenizer/unicode.h"

#include <string.h>

enum { GROUP_CAP = 200 };

typedef struct translator {
    const char *at, *end;
    tsr_text *out;
    int64_t atom; /* where in `out` the thing begins that a quantifier would repeat */
    struct {
        int64_t start;
        int implied; /* groups opened for options, closed with this one */
    } group[GROUP_CAP + 1];
    int depth;
} translator;

static bool next_is(const translator *t, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(t->end - t->at) >= n && memcmp(t->at, text, n) == 0;
}

static tsr_status insert(tsr_text *t, int64_t at, const char *text)
{
    int64_t n = (int64_t)strlen(text), rest = t->length - at;
    TSR_TRY(tsr_text_puts(t, text)); /* makes room */
    memmove(t->data + at + n, t->data + at, (size_t)rest);
    memcpy(t->data + at, text, (size_t)n);
    return TSR_OK;
}

static tsr_status open_group(translator *t, const char *text)
{
    if (t->depth == GROUP_CAP) return tsr_fail(TSR_ERR_FORMAT, "groups are nested too deeply");
    t->depth++;
    t->group[t->depth].start = t->out->length;
    t->group[t->depth].implied = 0;
    return tsr_text_puts(t->out, text);
}

static tsr_status close_implied(translator *t)
{
    for (; t->group[t->depth].implied > 0; t->group[t->depth].implied--) TSR_TRY(tsr_text_puts(t->out, ")"));
    return TSR_OK;
}

static tsr_status close_group(translator *t)
{
    if (t->depth == 0) return tsr_fail(TSR_ERR_FORMAT, "a ')' without its '('");
    TSR_TRY(close_implied(t));
    t->atom = t->group[t->depth].start;
    t->depth--;
    return tsr_text_puts(t->out, ")");
}

/* (?imx-imx) or (?imx-imx: ; t->at points behind "(?". */
static tsr_status options(translator *t)
{
    char text[16] = "(?";
    size_t n = 2;
    for (; t->at < t->end && *t->at != ':' && *t->at != ')'; t->at++) {
        char c = *t->at == 'm' ? 's' : *t->at; /* Oniguruma's m lets '.' match a newline */
        if (!strchr("is-", c) || n > 8)
            return tsr_fail(TSR_ERR_FORMAT, "a group (?%c...) is not supported", *t->at);
        text[n++] = c;
    }
    if (t->at == t->end) return tsr_fail(TSR_ERR_FORMAT, "a group without its end");
    text[n] = ':';
    if (*t->at++ == ':') return open_group(t, text);
    t->group[t->depth].implied++;
    return tsr_text_puts(t->out, text);
}

static tsr_status named_group(translator *t)
{
    const char *close = memchr(t->at, '>', (size_t)(t->end - t->at));
    if (!close || close - t->at > 40) return tsr_fail(TSR_ERR_FORMAT, "a named group without its name");
    TSR_TRY(open_group(t, "(?<"));
    TSR_TRY(tsr_text_append(t->out, t->at, close + 1 - t->at));
    t->at = close + 1;
    return TSR_OK;
}

static tsr_status group(translator *t)
{
    static const char *const plain[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (next_is(t, plain[i])) return t->at += strlen(plain[i]), open_group(t, plain[i]);
    if (next_is(t, "(*")) return tsr_fail(TSR_ERR_FORMAT, "a group (*...) is not supported");
    if (next_is(t, "(?#")) {
        const char *close = memchr(t->at, ')', (size_t)(t->end - t->at));
        if (!close) return tsr_fail(TSR_ERR_FORMAT, "a comment without its end");
        t->at = close + 1;
        return TSR_OK;
    }
    if (next_is(t, "(?<")) return t->at += 3, named_group(t);
    if (next_is(t, "(?")) return t->at += 2, options(t);
    t->at++;
    return open_group(t, "(");
}

static bool read_number(const char **at, const char *end, int *value)
{
    const char *start = *at;
    for (*value = 0; *at < end && **at >= '0' && **at <= '9'; ++*at)
        if ((*value = *value * 10 + (**at - '0')) > 65535) return false;
    return *at > start;
}

/* {n} {n,} {,m} {n,m}; anything else is a brace. */
static tsr_status interval(translator *t)
{
    const char *at = t->at + 1;
    int low = 0, high = -1;
    bool has_low = read_number(&at, t->end, &low), comma = at < t->end && *at == ',', has_high = false;
    if (comma) at++, has_high = read_number(&at, t->end, &high);
    if (at >= t->end || *at != '}' || (!has_low && !(comma && has_high))) {
        t->at++;
        t->atom = t->out->length;
        return tsr_text_puts(t->out, "\\{");
    }
    t->at = at + 1;
    if (!comma)
        TSR_TRY(tsr_text_format(t->out, "{%d}", low));
    else if (!has_high)
        TSR_TRY(tsr_text_format(t->out, "{%d,}", low));
    else
        TSR_TRY(tsr_text_format(t->out, "{%d,%d}", low, high));
    if (!next_is(t, "+")) return TSR_OK;
    TSR_TRY(insert(t->out, t->atom, "(?:"));
    return tsr_text_puts(t->out, ")");
}

/* Outside of brackets, and in \b, these six of Latin-1 are word characters too. */
static const char more_word_characters[] = "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

static tsr_status word_boundary(translator *t, bool negated)
{
    tsr_text w;
    TSR_TRY(tsr_text_init(&w, TSR_REGEX_PATTERN_CAP));
    tsr_regex_set set = {0};
    tsr_status status = tsr_regex_set_init(&set);
    bool is_set;
    const char *name = "w";
    if (status == TSR_OK) status = tsr_regex_escaped_set(&name, name + 1, &set, &is_set);
    if (status == TSR_OK) status = tsr_text_puts(&set.items, more_word_characters);
    if (status == TSR_OK) status = tsr_regex_set_render(&set, &w);
    tsr_regex_set_free(&set);
    const char *second = negated ? "=" : "!", *third = negated ? "!" : "=";
    if (status == TSR_OK)
        status = tsr_text_format(t->out, "(?:(?<=%s)(?%s%s)|(?<!%s)(?%s%s))", w.data, second, w.data, w.data,
                                 third, w.data);
    tsr_text_free(&w);
    return status;
}

static tsr_status class_or_escaped_set(translator *t, bool bracket, bool *is_set)
{
    tsr_regex_set set;
    TSR_TRY(tsr_regex_set_init(&set));
    *is_set = true;
    bool bare_word = !bracket && (*t->at | 0x20) == 'w';
    tsr_status status = bracket ? tsr_regex_class_parse(&t->at, t->end, 0, &set)
                                : tsr_regex_escaped_set(&t->at, t->end, &set, is_set);
    if (status == TSR_OK && bare_word) status = tsr_text_puts(&set.items, more_word_characters);
    if (status == TSR_OK && *is_set) status = tsr_regex_set_render(&set, t->out);
    tsr_regex_set_free(&set);
    return status;
}

/* t->at points behind the backslash. */
static tsr_status escape(translator *t)
{
    bool is_set;
    uint32_t c;
    if (t->at >= t->end) return tsr_fail(TSR_ERR_FORMAT, "a backslash at the end");
    if (strchr("AzZGRXNK123456789", *t->at) && *t->at) /* the same in both languages */
        return tsr_text_format(t->out, "\\%c", *t->at++);
    if (*t->at == 'b' || *t->at == 'B') return word_boundary(t, *t->at++ == 'B');
    if (*t->at == 'O') return t->at++, tsr_text_puts(t->out, "\\p{Any}");
    if (*t->at && strchr("gkyY", *t->at))
        return tsr_fail(TSR_ERR_FORMAT, "the escape \\%c is not supported", *t->at);
    TSR_TRY(class_or_escaped_set(t, false, &is_set));
    if (is_set) return TSR_OK;
    TSR_TRY(tsr_regex_escaped_char(&t->at, t->end, &c));
    return tsr_text_format(t->out, "\\x{%x}", c);
}

static tsr_status atom(translator *t)
{
    bool is_set;
    t->atom = t->out->length;
    if (*t->at == '\\') return t->at++, escape(t);
    if (*t->at == '[') return t->at++, class_or_escaped_set(t, true, &is_set);
    if (*t->at == ']' || *t->at == '}') return tsr_text_format(t->out, "\\%c", *t->at++);
    if (*t->at == '\0') return t->at++, tsr_text_puts(t->out, "\\x{0}");
    int n = tsr_char_length(*t->at);
    TSR_TRY(tsr_text_append(t->out, t->at, n));
    t->at += n;
    return TSR_OK;
}

tsr_status tsr_regex_translate(const char *pattern, int64_t n, tsr_text *out)
{
    translator t = {.at = pattern, .end = pattern + n, .out = out, .atom = out->length};
    while (t.at < t.end) {
        switch (*t.at) {
        case '(':
            TSR_TRY(group(&t));
            break;
        case ')':
            t.at++;
            TSR_TRY(close_group(&t));
            break;
        case '{':
            TSR_TRY(interval(&t));
            break;
        case '*':
        case '+':
        case '?':
        case '|':
            TSR_TRY(tsr_text_append(out, t.at++, 1));
            break;
        default:
            TSR_TRY(atom(&t));
        }
    }
    if (t.depth > 0) return tsr_fail(TSR_ERR_FORMAT, "a '(' without its ')'");
    return close_implied(&t);
}
