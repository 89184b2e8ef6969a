/* regex_property.c: general categories, POSIX names, scripts and binary properties.
 *
 * Categories are completed by the characters that came after version 14 of Unicode, which PCRE2 10.42 does
 * not know. Scripts are asked for by "sc:", because a plain name means script extensions to PCRE2.
 */
#include "runtime/tokenizer/regex_property.h"
#include "runtime/tokenizer/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <string.h>

/* Long names, without blanks and underscores, in lower case. Members: one letter, or two. */
static const struct {
    const char *name, *category;
} categories[] = {
    {"letter", "L"},
    {"casedletter", "L&"},
    {"lc", "L&"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
};

#define SPACE                                                                                                \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{" \
    "3000}"
#define LETTERED_SYMBOLS "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

/* POSIX names as Oniguruma defines them for Unicode: categories (separated by blanks) and further items. */
static const struct {
    const char *name, *categories, *items;
} posix[] = {
    {"space", "", SPACE},
    {"word", "L M Nd Nl Pc", LETTERED_SYMBOLS},
    {"digit", "Nd", ""},
    {"xdigit", "", "0-9A-Fa-f"},
    {"punct", "P", ""},
    {"cntrl", "Cc", ""},
    {"blank", "Zs", "\\x{9}"},
    {"ascii", "", "\\x{0}-\\x{7f}"},
    {"any", "", "\\x{0}-\\x{10ffff}"},
};

/* Lower case, without blanks, '-' and '_'; false if longer than the buffer or not ASCII. */
static bool loose_name(const char *name, int64_t n, char out[64])
{
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        char c = name[i];
        if (c == ' ' || c == '-' || c == '_') continue;
        if (k == 63 || !((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))) return false;
        out[k++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    out[k] = '\0';
    return k > 0;
}

static bool category_fits(const char *wanted, int category)
{
    static const char names[][3] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                    "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                    "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
    const char *name = names[category];
    if (name[0] != wanted[0]) return false;
    if (wanted[1] == '&') return category <= UTF8PROC_CATEGORY_LT;
    return wanted[1] == '\0' || wanted[1] == name[1];
}

static tsr_status add_category(const char *category, tsr_text *items)
{
    TSR_TRY(tsr_text_format(items, "\\p{%s}", category));
    if (category[0] == 'C')
        return TSR_OK; /* "unassigned" has only become smaller; formats are not asked for */
    int64_t n;
    const tsr_unicode_change *change = tsr_unicode_changes(&n);
    for (int64_t i = 0; i < n; i++)
        if (change[i].since == 15 && category_fits(category, change[i].now))
            TSR_TRY(tsr_text_format(items, "\\x{%x}-\\x{%x}", change[i].first, change[i].last));
    return TSR_OK;
}

static tsr_status add_posix(int row, tsr_text *items)
{
    for (const char *c = posix[row].categories; *c;) {
        char category[3] = {0};
        size_t n = strcspn(c, " ");
        memcpy(category, c, n < 2 ? n : 2);
        TSR_TRY(add_category(category, items));
        c += n + (c[n] == ' ');
    }
    return tsr_text_puts(items, posix[row].items);
}

static bool pcre2_knows(const char *pattern)
{
    int error;
    PCRE2_SIZE at;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
    pcre2_code_free(code);
    return code != NULL;
}

static tsr_status add_named(const char *name, tsr_text *items)
{
    static const char *const prefix[] = {"sc:", ""};
    for (int i = 0; i < 2; i++) {
        char pattern[80];
        snprintf(pattern, sizeof pattern, "\\p{%s%s}", prefix[i], name);
        if (pcre2_knows(pattern)) {
            TSR_TRY(tsr_text_puts(items, pattern));
            /* The one script that has grown since version 14 and that patterns of models name. */
            return strcmp(name, "han") == 0
                       ? tsr_text_puts(items, "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}")
                       : TSR_OK;
        }
    }
    return tsr_fail(TSR_ERR_FORMAT, "unknown character property \"%s\"", name);
}

tsr_status tsr_regex_property(const char *name, int64_t n, bool bracketed, tsr_text *items)
{
    char loose[64];
    if (!loose_name(name, n, loose)) return tsr_fail(TSR_ERR_FORMAT, "unknown character property");
    size_t length = strlen(loose);
    if (length <= 2 && strchr("lmnpszc", loose[0]) && strcmp(loose, "lc") != 0) {
        char category[3] = {(char)(loose[0] & ~0x20), loose[1], '\0'};
        char pattern[16];
        snprintf(pattern, sizeof pattern, "\\p{%s}", category);
        if (pcre2_knows(pattern)) return add_category(category, items);
    }
    for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++)
        if (strcmp(loose, categories[i].name) == 0) return add_category(categories[i].category, items);
    if (bracketed && strcmp(loose, "punct") == 0) TSR_TRY(add_category("S", items));
    for (size_t i = 0; i < sizeof posix / sizeof posix[0]; i++)
        if (strcmp(loose, posix[i].name) == 0) return add_posix((int)i, items);
    if (strcmp(loose, "alpha") == 0 || strcmp(loose, "alnum") == 0 || strcmp(loose, "alphabetic") == 0) {
        TSR_TRY(tsr_text_puts(items, "\\p{Alphabetic}" LETTERED_SYMBOLS));
        TSR_TRY(add_category("L", items));
        return loose[2] == 'n' ? add_category("Nd", items) : TSR_OK;
    }
    if (strcmp(loose, "upper") == 0 || strcmp(loose, "lower") == 0) {
        TSR_TRY(tsr_text_puts(items, loose[0] == 'u' ? "\\p{Uppercase}" : "\\p{Lowercase}"));
        return add_category(loose[0] == 'u' ? "Lu" : "Ll", items);
    }
    if (strcmp(loose, "graph") == 0 || strcmp(loose, "print") == 0)
        return tsr_fail(TSR_ERR_FORMAT, "character property \"%s\" is not supported", loose);
    return add_named(loose, items);
}
