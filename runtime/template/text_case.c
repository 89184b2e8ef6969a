/* text_case.c: case, stripping, replacing, lines, padding. */
#include "runtime/template/text_case.h"

#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

tsr_status tsr_tpl_need_string(tpl_render *r, tpl_value v, const char *who)
{
    if (v.kind == TPL_STRING) return TSR_OK;
    if (v.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, v);
    return tsr_tpl_fail(r, "%s needs a string, found %s", who, tsr_tpl_type_name(v));
}

tsr_status tsr_tpl_need_integer(tpl_render *r, tpl_value v, int64_t otherwise, const char *who, int64_t *out)
{
    *out = v.kind == TPL_INT ? v.integer : v.kind == TPL_BOOL ? v.truth : otherwise;
    if (v.kind == TPL_INT || v.kind == TPL_BOOL || v.kind == TPL_ABSENT) return TSR_OK;
    return tsr_tpl_fail(r, "%s needs an integer, found %s", who, tsr_tpl_type_name(v));
}

/* --- Case --- */

static bool is_cased(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

static bool is_word_break(uint32_t c)
{
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || c == ' ' || (c >= 9 && c <= 13) ||
           c == 0xA0;
}

bool tsr_tpl_is_word(const char *at, const char *end, int *n)
{
    uint32_t c;
    *n = tsr_utf8_decode(at, end - at, &c);
    if (*n < 1) return *n = 1, false;
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    bool number = k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
    return c == '_' || number || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO);
}

static bool is_upper(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU;
}

static tsr_status put_mapped(uint32_t c, char way, tsr_text *out)
{
    char bytes[4];
    if (c == 0x130 && way == 'l') return tsr_text_puts(out, "i\314\207");
    if (c == 0xDF && way != 'l') return tsr_text_puts(out, way == 'u' ? "SS" : "Ss");
    utf8proc_int32_t code = (utf8proc_int32_t)c;
    code = way == 'l' ? utf8proc_tolower(code) : way == 'u' ? utf8proc_toupper(code) : utf8proc_totitle(code);
    return tsr_text_append(out, bytes, tsr_utf8_encode((uint32_t)code, bytes));
}

/* The final sigma: behind a letter, and none follows. */
static bool ends_word(tpl_value s, int64_t next, bool after_letter)
{
    uint32_t c;
    return after_letter &&
           (next >= s.n || tsr_utf8_decode(s.bytes + next, s.n - next, &c) < 1 || !is_cased(c));
}

static tsr_status put_case(tpl_value s, tpl_case how, tsr_text *out)
{
    bool after_letter = false, begins = true; /* begins: a word, for WORDS */
    uint32_t c;
    for (int64_t i = 0; i < s.n;) {
        int n = tsr_utf8_decode(s.bytes + i, s.n - i, &c);
        if (n < 1) n = 1, c = 0xFFFD;
        char way = how == TPL_UPPER ? 'u' : 'l';
        if (how == TPL_SWAPPED) way = is_upper(c) ? 'l' : 'u';
        if (how == TPL_CAPITALIZED && i == 0) way = 't';
        if (how == TPL_TITLE && !after_letter) way = 't';
        if (how == TPL_WORDS && begins) way = 'u';
        if (c == 0x3A3 && way == 'l' && ends_word(s, i + n, after_letter))
            TSR_TRY(tsr_text_puts(out, "\317\202"));
        else
            TSR_TRY(put_mapped(c, way, out));
        after_letter = is_cased(c);
        begins = is_word_break(c);
        i += n;
    }
    return TSR_OK;
}

tsr_status tsr_tpl_change_case(tpl_render *r, tpl_value s, tpl_case how, tpl_value *out)
{
    tsr_text t;
    TSR_TRY(tsr_tpl_step(r, 1 + s.n / 4));
    TSR_TRY(tsr_text_init(&t, TSR_TEXT_NO_CAP));
    tsr_status status = put_case(s, how, &t);
    if (status == TSR_OK) status = tsr_tpl_new_string(r, t.data, t.length, out);
    tsr_text_free(&t);
    return status;
}

/* --- Stripping --- */

static bool is_one_of(const char *at, int n, tpl_value chars)
{
    return tsr_tpl_find(chars, tpl_string(at, n), 0) >= 0;
}

static int character_bytes(const char *at, int64_t n)
{
    uint32_t c;
    int bytes = tsr_utf8_decode(at, n, &c);
    return bytes < 1 ? 1 : bytes;
}

tsr_status tsr_tpl_strip(tpl_render *r, tpl_value s, tpl_value chars, bool left, bool right, tpl_value *out)
{
    bool blank = chars.kind == TPL_ABSENT || chars.kind == TPL_NONE;
    int64_t from = s.n, to = 0;
    if (!blank) TSR_TRY(tsr_tpl_need_string(r, chars, "strip"));
    for (int64_t i = 0, n; i < s.n; i += n) {
        int bytes;
        n = character_bytes(s.bytes + i, s.n - i);
        bool goes = blank ? tsr_tpl_is_space(s.bytes + i, s.bytes + s.n, &bytes)
                          : is_one_of(s.bytes + i, (int)n, chars);
        if (goes) continue;
        if (i < from) from = i;
        to = i + n;
    }
    if (!left) from = 0;
    if (!right) to = s.n;
    *out = from < to ? tpl_string(s.bytes + from, to - from) : tpl_string("", 0);
    return tsr_tpl_step(r, 1 + s.n / 8);
}

/* --- Replacing, lines, padding --- */

static tsr_status put_replaced(tpl_value s, tpl_value old, tpl_value new, int64_t count, tsr_text *out)
{
    int64_t at = 0;
    if (old.n == 0) {
        for (; at < s.n && count != 0; count--) {
            int n = character_bytes(s.bytes + at, s.n - at);
            TSR_TRY(tsr_text_append(out, new.bytes, new.n));
            TSR_TRY(tsr_text_append(out, s.bytes + at, n));
            at += n;
        }
        if (count != 0 && at == s.n) TSR_TRY(tsr_text_append(out, new.bytes, new.n));
        return tsr_text_append(out, s.bytes + at, s.n - at);
    }
    for (int64_t next; count != 0 && (next = tsr_tpl_find(s, old, at)) >= 0; count--) {
        TSR_TRY(tsr_text_append(out, s.bytes + at, next - at));
        TSR_TRY(tsr_text_append(out, new.bytes, new.n));
        at = next + old.n;
    }
    return tsr_text_append(out, s.bytes + at, s.n - at);
}

tsr_status tsr_tpl_replace(tpl_render *r, tpl_value s, tpl_value old, tpl_value new, tpl_value count,
                           tpl_value *out)
{
    tsr_text t;
    int64_t most;
    TSR_TRY(tsr_tpl_need_string(r, old, "replace"));
    TSR_TRY(tsr_tpl_need_string(r, new, "replace"));
    if (count.kind == TPL_NONE) count.kind = TPL_ABSENT;
    TSR_TRY(tsr_tpl_need_integer(r, count, -1, "replace", &most));
    TSR_TRY(tsr_tpl_step(r, 1 + s.n));
    TSR_TRY(tsr_text_init(&t, r->left.memory));
    tsr_status status = put_replaced(s, old, new, most, &t);
    if (status == TSR_OK) status = tsr_tpl_new_string(r, t.data, t.length, out);
    tsr_text_free(&t);
    return status;
}

/* The bytes of a line end at `at`, 0 if there is none. */
static int line_end(const char *at, int64_t n)
{
    uint32_t c;
    int bytes = tsr_utf8_decode(at, n, &c);
    if (bytes < 1) return 0;
    if (c == '\r' && n > 1 && at[1] == '\n') return 2;
    bool ends = (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    return ends ? bytes : 0;
}

tsr_status tsr_tpl_split_lines(tpl_render *r, tpl_value s, bool keep_ends, tpl_value *out)
{
    int64_t from = 0, i = 0;
    TSR_TRY(tsr_tpl_step(r, 1 + s.n / 4));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, out));
    while (i < s.n) {
        int n = line_end(s.bytes + i, s.n - i);
        if (n > 0) {
            TSR_TRY(tsr_tpl_append(r, out->list, tpl_string(s.bytes + from, i - from + (keep_ends ? n : 0))));
            from = i + n;
        }
        i += n > 0 ? n : character_bytes(s.bytes + i, s.n - i);
    }
    return from < s.n ? tsr_tpl_append(r, out->list, tpl_string(s.bytes + from, s.n - from)) : TSR_OK;
}

static tsr_status put_padded(tpl_value s, tpl_value fill, int64_t left, int64_t right, tsr_text *out)
{
    for (int64_t i = 0; i < left; i++) TSR_TRY(tsr_text_append(out, fill.bytes, fill.n));
    TSR_TRY(tsr_text_append(out, s.bytes, s.n));
    for (int64_t i = 0; i < right; i++) TSR_TRY(tsr_text_append(out, fill.bytes, fill.n));
    return TSR_OK;
}

tsr_status tsr_tpl_pad(tpl_render *r, tpl_value s, tpl_value width, tpl_value fill, bool left, bool right,
                       tpl_value *out)
{
    tsr_text t;
    int64_t wanted, missing;
    if (fill.kind == TPL_ABSENT) fill = tpl_string(" ", 1);
    TSR_TRY(tsr_tpl_need_integer(r, width, 0, "padding", &wanted));
    TSR_TRY(tsr_tpl_need_string(r, fill, "padding"));
    if (tsr_tpl_characters(fill) != 1)
        return tsr_tpl_fail(r, "the fill character must be exactly one character long");
    missing = wanted - tsr_tpl_characters(s);
    if (missing < 0) missing = 0;
    TSR_TRY(tsr_tpl_step(r, 1 + missing));
    int64_t before = left && right ? missing / 2 + (missing & wanted & 1) : left ? missing : 0;
    TSR_TRY(tsr_text_init(&t, r->left.memory));
    tsr_status status = put_padded(s, fill, before, missing - before, &t);
    if (status == TSR_OK) status = tsr_tpl_new_string(r, t.data, t.length, out);
    tsr_text_free(&t);
    return status;
}
