/* unicode.c: character properties: utf8proc's tables, corrected by what has changed since version 8. */
#include "runtime/tokenizer/unicode.h"
#include "base/utf8.h"

/* The table spells categories as Unicode does. */
#define CATEGORY_Lu UTF8PROC_CATEGORY_LU
#define CATEGORY_Ll UTF8PROC_CATEGORY_LL
#define CATEGORY_Lt UTF8PROC_CATEGORY_LT
#define CATEGORY_Lm UTF8PROC_CATEGORY_LM
#define CATEGORY_Lo UTF8PROC_CATEGORY_LO
#define CATEGORY_Mn UTF8PROC_CATEGORY_MN
#define CATEGORY_Mc UTF8PROC_CATEGORY_MC
#define CATEGORY_Me UTF8PROC_CATEGORY_ME
#define CATEGORY_Nd UTF8PROC_CATEGORY_ND
#define CATEGORY_Nl UTF8PROC_CATEGORY_NL
#define CATEGORY_No UTF8PROC_CATEGORY_NO
#define CATEGORY_Pc UTF8PROC_CATEGORY_PC
#define CATEGORY_Pd UTF8PROC_CATEGORY_PD
#define CATEGORY_Ps UTF8PROC_CATEGORY_PS
#define CATEGORY_Pe UTF8PROC_CATEGORY_PE
#define CATEGORY_Pi UTF8PROC_CATEGORY_PI
#define CATEGORY_Pf UTF8PROC_CATEGORY_PF
#define CATEGORY_Po UTF8PROC_CATEGORY_PO
#define CATEGORY_Sm UTF8PROC_CATEGORY_SM
#define CATEGORY_Sc UTF8PROC_CATEGORY_SC
#define CATEGORY_Sk UTF8PROC_CATEGORY_SK
#define CATEGORY_So UTF8PROC_CATEGORY_SO
#define CATEGORY_Cf UTF8PROC_CATEGORY_CF
#define CATEGORY_Cn UTF8PROC_CATEGORY_CN
#define C(name)     CATEGORY_##name

static const tsr_unicode_change changes[] = {
#include "runtime/tokenizer/unicode_changes.inc"
};

enum { CHANGES = sizeof changes / sizeof changes[0] };

const tsr_unicode_change *tsr_unicode_changes(int64_t *count)
{
    *count = CHANGES;
    return changes;
}

const tsr_unicode_change *tsr_unicode_change_of(uint32_t c)
{
    if (c < changes[0].first) return NULL;
    int64_t low = 0, high = CHANGES;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (changes[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < CHANGES && changes[low].first <= c ? &changes[low] : NULL;
}

utf8proc_category_t tsr_char_category(uint32_t c)
{
    const tsr_unicode_change *change = tsr_unicode_change_of(c);
    return change ? change->now : utf8proc_category((int32_t)c);
}

static utf8proc_category_t category_in(uint32_t c, int version)
{
    const tsr_unicode_change *change = tsr_unicode_change_of(c);
    if (version == 8 && (c == 0x1885 || c == 0x1886))
        return UTF8PROC_CATEGORY_LO; /* all that version 9 changed */
    if (!change) return utf8proc_category((int32_t)c);
    return change->since > version ? UTF8PROC_CATEGORY_CN : change->then;
}

static bool between(utf8proc_category_t category, utf8proc_category_t first, utf8proc_category_t last)
{
    return category >= first && category <= last;
}

bool tsr_char_is_space(uint32_t c)
{
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool tsr_char_is_number(uint32_t c)
{
    if (c < 0x80) return c >= '0' && c <= '9';
    return between(tsr_char_category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO);
}

bool tsr_char_is_word(uint32_t c)
{
    if (c < 0x80) return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
    const tsr_unicode_change *change = tsr_unicode_change_of(c);
    utf8proc_category_t category = change ? change->now : utf8proc_category((int32_t)c);
    if (change && change->since > 16) return false;
    if (between(category, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC)
        return true;
    /* Symbols that are alphabetic (circled and squared letters), and the two joiners. */
    return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
           (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C || c == 0x200D;
}

bool tsr_char_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7F);
    return between(category_in(c, 8), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO);
}

bool tsr_char_is_mark(uint32_t c)
{
    return between(category_in(c, 9), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
}

bool tsr_char_is_nonspacing_mark(uint32_t c)
{
    return category_in(c, 8) == UTF8PROC_CATEGORY_MN;
}

bool tsr_char_is_control(uint32_t c)
{
    utf8proc_category_t category = category_in(c, 8);
    return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CO;
}

/* Case pairs younger than the oldest utf8proc we accept: [first, last] is `step` below its lower case; of
 * pairs that alternate upper and lower, only the upper ones are listed. */
static const struct {
    uint32_t first, last;
    int32_t step;
} young_case[] = {
    {0x1C89, 0x1C89, 1},    {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
    {0xA7CC, 0xA7CC, 1},    {0xA7CE, 0xA7CE, 1},
    {0xA7D2, 0xA7D2, 1},    {0xA7D4, 0xA7D4, 1},
    {0xA7DA, 0xA7DA, 1},    {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
    {0x10D50, 0x10D65, 32}, {0x16EA0, 0x16EB8, 27},
};

int tsr_char_to_lower(uint32_t c, uint32_t out[2])
{
    if (c == 0x130) { /* the one character whose lower case is two */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((int32_t)c);
    if (c < 0x1C89) return 1;
    for (size_t i = 0; i < sizeof young_case / sizeof young_case[0]; i++)
        if (c >= young_case[i].first && c <= young_case[i].last) out[0] = c + (uint32_t)young_case[i].step;
    return 1;
}

tsr_status tsr_text_append_char(tsr_text *t, uint32_t c)
{
    char bytes[4];
    return tsr_text_append(t, bytes, tsr_utf8_encode(c, bytes));
}
