/* string_methods.c: methods of strings. */
#include "base/utf8.h"
#include "runtime/template/checks.h"
#include "runtime/template/methods.h"
#include "runtime/template/operators.h"
#include "runtime/template/text_case.h"

#include <string.h>
#include <utf8proc.h>

#define METHOD(name)                                                                                         \
    static tsr_status method_##name(tpl_render *r, tpl_value v, const tpl_value *arg, tpl_value *out)

METHOD(strip)
{
    return tsr_tpl_strip(r, v, arg[0], true, true, out);
}

METHOD(lstrip)
{
    return tsr_tpl_strip(r, v, arg[0], true, false, out);
}

METHOD(rstrip)
{
    return tsr_tpl_strip(r, v, arg[0], false, true, out);
}

METHOD(lower)
{
    (void)arg;
    return tsr_tpl_change_case(r, v, TPL_LOWER, out);
}

METHOD(upper)
{
    (void)arg;
    return tsr_tpl_change_case(r, v, TPL_UPPER, out);
}

METHOD(swapcase)
{
    (void)arg;
    return tsr_tpl_change_case(r, v, TPL_SWAPPED, out);
}

METHOD(capitalize)
{
    (void)arg;
    return tsr_tpl_change_case(r, v, TPL_CAPITALIZED, out);
}

METHOD(title)
{
    (void)arg;
    return tsr_tpl_change_case(r, v, TPL_TITLE, out);
}

METHOD(replace)
{
    return tsr_tpl_replace(r, v, arg[0], arg[1], arg[2], out);
}

METHOD(splitlines)
{
    return tsr_tpl_split_lines(r, v, tsr_tpl_truth(arg[0]), out);
}

METHOD(center)
{
    return tsr_tpl_pad(r, v, arg[0], arg[1], true, true, out);
}

METHOD(ljust)
{
    return tsr_tpl_pad(r, v, arg[0], arg[1], false, true, out);
}

METHOD(rjust)
{
    return tsr_tpl_pad(r, v, arg[0], arg[1], true, false, out);
}

METHOD(join)
{
    const tpl_list *all;
    TSR_TRY(tsr_tpl_elements(r, arg[0], &all));
    for (int64_t i = 0; i < all->count; i++) TSR_TRY(tsr_tpl_need_string(r, all->items[i], "join"));
    return tsr_tpl_join(r, v, all, out);
}

/* --- Where something stands --- */

/* The part of a string that find, count, startswith.. look at; *shift: the characters before it. */
static tsr_status window(tpl_render *r, tpl_value v, const tpl_value *bounds, int64_t *shift, bool *empty,
                         tpl_value *out)
{
    int64_t n = tsr_tpl_characters(v), from, to;
    tpl_value low = bounds[0], high = bounds[1];
    if (low.kind == TPL_NONE) low.kind = TPL_ABSENT;
    if (high.kind == TPL_NONE) high.kind = TPL_ABSENT;
    TSR_TRY(tsr_tpl_need_integer(r, low, 0, "a bound", &from));
    TSR_TRY(tsr_tpl_need_integer(r, high, n, "a bound", &to));
    if (from < 0) from = from + n < 0 ? 0 : from + n;
    if (to < 0) to = to + n < 0 ? 0 : to + n;
    *empty = from > n || from > to; /* not even an empty text is there */
    *shift = from;
    *out = tsr_tpl_cut(v, from, to);
    return tsr_tpl_step(r, 1 + v.n / 8);
}

static tsr_status has_end(tpl_value v, tpl_value part, bool at_start, bool *out, tpl_render *r)
{
    TSR_TRY(tsr_tpl_need_string(r, part, at_start ? "startswith" : "endswith"));
    *out =
        v.n >= part.n && memcmp(at_start ? v.bytes : v.bytes + v.n - part.n, part.bytes, (size_t)part.n) == 0;
    return TSR_OK;
}

/* One text, or any of a tuple. */
static tsr_status ends(tpl_render *r, tpl_value v, const tpl_value *arg, bool at_start, tpl_value *out)
{
    int64_t shift;
    bool empty, found = false;
    TSR_TRY(window(r, v, arg + 1, &shift, &empty, &v));
    if (arg[0].kind == TPL_LIST && arg[0].list->form == TPL_IS_TUPLE) {
        for (int64_t i = 0; i < arg[0].list->count && !found; i++)
            TSR_TRY(has_end(v, arg[0].list->items[i], at_start, &found, r));
    } else {
        TSR_TRY(has_end(v, arg[0], at_start, &found, r));
    }
    *out = tpl_bool(found && !empty);
    return TSR_OK;
}

METHOD(startswith)
{
    return ends(r, v, arg, true, out);
}

METHOD(endswith)
{
    return ends(r, v, arg, false, out);
}

static int64_t find_last(tpl_value s, tpl_value part)
{
    for (int64_t at = s.n - part.n; at >= 0; at--)
        if (memcmp(s.bytes + at, part.bytes, (size_t)part.n) == 0) return at;
    return -1;
}

static tsr_status locate(tpl_render *r, tpl_value v, const tpl_value *arg, bool last, tpl_value *out)
{
    int64_t shift;
    bool empty;
    TSR_TRY(tsr_tpl_need_string(r, arg[0], "find"));
    TSR_TRY(window(r, v, arg + 1, &shift, &empty, &v));
    TSR_TRY(tsr_tpl_step(r, last ? v.n : 1));
    int64_t at = empty ? -1 : last ? find_last(v, arg[0]) : tsr_tpl_find(v, arg[0], 0);
    *out = tpl_int(at < 0 ? -1 : shift + tsr_tpl_characters(tpl_string(v.bytes, at)));
    return TSR_OK;
}

METHOD(find)
{
    return locate(r, v, arg, false, out);
}

METHOD(rfind)
{
    return locate(r, v, arg, true, out);
}

METHOD(index)
{
    TSR_TRY(locate(r, v, arg, false, out));
    return out->integer < 0 ? tsr_tpl_fail(r, "substring not found") : TSR_OK;
}

METHOD(rindex)
{
    TSR_TRY(locate(r, v, arg, true, out));
    return out->integer < 0 ? tsr_tpl_fail(r, "substring not found") : TSR_OK;
}

METHOD(count)
{
    int64_t shift, n = 0;
    bool empty;
    TSR_TRY(tsr_tpl_need_string(r, arg[0], "count"));
    TSR_TRY(window(r, v, arg + 1, &shift, &empty, &v));
    if (arg[0].n == 0) n = empty ? 0 : tsr_tpl_characters(v) + 1;
    for (int64_t at = 0; arg[0].n > 0 && (at = tsr_tpl_find(v, arg[0], at)) >= 0; at += arg[0].n) n++;
    *out = tpl_int(n);
    return TSR_OK;
}

/* --- Splitting --- */

/* The first word at or behind `at`: false if there is none. */
static bool next_word(tpl_value s, int64_t at, int64_t *from, int64_t *to)
{
    int n;
    while (at < s.n && tsr_tpl_is_space(s.bytes + at, s.bytes + s.n, &n)) at += n;
    *from = at;
    while (at < s.n && !tsr_tpl_is_space(s.bytes + at, s.bytes + s.n, &n)) at += n;
    *to = at;
    return *from < s.n;
}

static tsr_status split_words(tpl_render *r, tpl_value s, int64_t most, tpl_value *out)
{
    int64_t from, to = 0;
    while (next_word(s, to, &from, &to)) {
        if (most >= 0 && out->list->count == most)
            return tsr_tpl_append(r, out->list, tpl_string(s.bytes + from, s.n - from));
        TSR_TRY(tsr_tpl_append(r, out->list, tpl_string(s.bytes + from, to - from)));
    }
    return TSR_OK;
}

/* From the right: all words; where there are too many, the first ones stay together as they stand. */
static tsr_status rsplit_words(tpl_render *r, tpl_value s, int64_t most, tpl_value *out)
{
    TSR_TRY(split_words(r, s, -1, out));
    tpl_list *all = out->list;
    if (most < 0 || all->count <= most) return TSR_OK;
    int64_t joined = all->count - most;
    const char *to = all->items[joined - 1].bytes + all->items[joined - 1].n;
    all->items[joined - 1] = tpl_string(s.bytes, to - s.bytes);
    all->items += joined - 1;
    all->count -= joined - 1;
    all->capacity -= joined - 1;
    return TSR_OK;
}

static tsr_status split_by(tpl_render *r, tpl_value s, tpl_value by, int64_t most, tpl_value *out)
{
    int64_t at = 0, next;
    for (; most != 0 && (next = tsr_tpl_find(s, by, at)) >= 0; most--, at = next + by.n)
        TSR_TRY(tsr_tpl_append(r, out->list, tpl_string(s.bytes + at, next - at)));
    return tsr_tpl_append(r, out->list, tpl_string(s.bytes + at, s.n - at));
}

static tsr_status rsplit_by(tpl_render *r, tpl_value s, tpl_value by, int64_t most, tpl_value *out)
{
    int64_t at;
    TSR_TRY(tsr_tpl_step(r, s.n));
    for (; most != 0 && (at = find_last(s, by)) >= 0; most--) {
        TSR_TRY(tsr_tpl_append(r, out->list, tpl_string(s.bytes + at + by.n, s.n - at - by.n)));
        s.n = at;
    }
    TSR_TRY(tsr_tpl_append(r, out->list, s));
    for (int64_t i = 0, k = out->list->count - 1; i < k; i++, k--) {
        tpl_value other = out->list->items[i];
        out->list->items[i] = out->list->items[k];
        out->list->items[k] = other;
    }
    return TSR_OK;
}

static tsr_status split_any(tpl_render *r, tpl_value v, const tpl_value *arg, bool right, tpl_value *out)
{
    int64_t most;
    bool blank = arg[0].kind == TPL_ABSENT || arg[0].kind == TPL_NONE;
    TSR_TRY(tsr_tpl_need_integer(r, arg[1], -1, "split", &most));
    TSR_TRY(tsr_tpl_step(r, 1 + v.n / 4));
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_LIST, 0, out));
    if (blank) return right ? rsplit_words(r, v, most, out) : split_words(r, v, most, out);
    TSR_TRY(tsr_tpl_need_string(r, arg[0], "split"));
    if (arg[0].n == 0) return tsr_tpl_fail(r, "empty separator");
    return right ? rsplit_by(r, v, arg[0], most, out) : split_by(r, v, arg[0], most, out);
}

METHOD(split)
{
    return split_any(r, v, arg, false, out);
}

METHOD(rsplit)
{
    return split_any(r, v, arg, true, out);
}

static tsr_status part_at(tpl_render *r, tpl_value v, tpl_value by, bool last, tpl_value *out)
{
    TSR_TRY(tsr_tpl_need_string(r, by, "partition"));
    if (by.n == 0) return tsr_tpl_fail(r, "empty separator");
    TSR_TRY(tsr_tpl_step(r, 1 + v.n));
    int64_t at = last ? find_last(v, by) : tsr_tpl_find(v, by, 0);
    tpl_value none = tpl_string("", 0), parts[3] = {last ? none : v, none, last ? v : none};
    if (at >= 0) {
        parts[0] = tpl_string(v.bytes, at);
        parts[1] = by;
        parts[2] = tpl_string(v.bytes + at + by.n, v.n - at - by.n);
    }
    TSR_TRY(tsr_tpl_new_list(r, TPL_IS_TUPLE, 3, out));
    for (int i = 0; i < 3; i++) TSR_TRY(tsr_tpl_append(r, out->list, parts[i]));
    return TSR_OK;
}

METHOD(partition)
{
    return part_at(r, v, arg[0], false, out);
}

METHOD(rpartition)
{
    return part_at(r, v, arg[0], true, out);
}

METHOD(removeprefix)
{
    bool there;
    TSR_TRY(has_end(v, arg[0], true, &there, r));
    *out = there ? tpl_string(v.bytes + arg[0].n, v.n - arg[0].n) : v;
    return TSR_OK;
}

METHOD(removesuffix)
{
    bool there;
    TSR_TRY(has_end(v, arg[0], false, &there, r));
    *out = there ? tpl_string(v.bytes, v.n - arg[0].n) : v;
    return TSR_OK;
}

METHOD(zfill)
{
    tpl_value sign = v, rest;
    bool has_sign = v.n > 0 && (v.bytes[0] == '-' || v.bytes[0] == '+');
    int64_t width;
    TSR_TRY(tsr_tpl_need_integer(r, arg[0], 0, "zfill", &width));
    sign.n = has_sign;
    rest = tpl_string(v.bytes + has_sign, v.n - has_sign);
    TSR_TRY(tsr_tpl_pad(r, rest, tpl_int(width - has_sign), tpl_string("0", 1), true, false, &rest));
    return tsr_tpl_binary(r, '+', sign, rest, out);
}

/* --- Of what it is made --- */

static bool is_letter(utf8proc_category_t k)
{
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool holds(char what, uint32_t c, utf8proc_category_t k)
{
    bool digit = k == UTF8PROC_CATEGORY_ND;
    return what == 'd' ? digit : what == 'a' ? is_letter(k) : what == 'n' ? is_letter(k) || digit : c < 128;
}

static tsr_status all_are(tpl_render *r, tpl_value v, char what, bool of_none, tpl_value *out)
{
    bool all = v.n > 0 || of_none;
    for (int64_t i = 0; i < v.n && all;) {
        uint32_t c;
        int n = tsr_utf8_decode(v.bytes + i, v.n - i, &c), bytes;
        if (n < 1) n = 1, c = 0xFFFD;
        all = what == 's' ? tsr_tpl_is_space(v.bytes + i, v.bytes + v.n, &bytes)
                          : holds(what, c, utf8proc_category((utf8proc_int32_t)c));
        i += n;
    }
    *out = tpl_bool(all);
    return tsr_tpl_step(r, 1 + v.n / 4);
}

METHOD(isdigit)
{
    (void)arg;
    return all_are(r, v, 'd', false, out);
}

METHOD(isalpha)
{
    (void)arg;
    return all_are(r, v, 'a', false, out);
}

METHOD(isalnum)
{
    (void)arg;
    return all_are(r, v, 'n', false, out);
}

METHOD(isspace)
{
    (void)arg;
    return all_are(r, v, 's', false, out);
}

METHOD(isascii)
{
    (void)arg;
    return all_are(r, v, 'c', true, out);
}

METHOD(islower)
{
    return tsr_tpl_check(tsr_tpl_check_row("lower"))->run(r, v, arg, out);
}

METHOD(isupper)
{
    return tsr_tpl_check(tsr_tpl_check_row("upper"))->run(r, v, arg, out);
}

const tpl_row tsr_tpl_string_methods[] = {
    {"strip", method_strip, NULL, "chars", 0},
    {"lstrip", method_lstrip, NULL, "chars", 0},
    {"rstrip", method_rstrip, NULL, "chars", 0},
    {"lower", method_lower, NULL, "", 0},
    {"upper", method_upper, NULL, "", 0},
    {"swapcase", method_swapcase, NULL, "", 0},
    {"capitalize", method_capitalize, NULL, "", 0},
    {"title", method_title, NULL, "", 0},
    {"replace", method_replace, NULL, "old new count", 2},
    {"split", method_split, NULL, "sep maxsplit", 0},
    {"rsplit", method_rsplit, NULL, "sep maxsplit", 0},
    {"splitlines", method_splitlines, NULL, "keepends", 0},
    {"partition", method_partition, NULL, "sep", 1},
    {"rpartition", method_rpartition, NULL, "sep", 1},
    {"removeprefix", method_removeprefix, NULL, "prefix", 1},
    {"removesuffix", method_removesuffix, NULL, "suffix", 1},
    {"startswith", method_startswith, NULL, "prefix start end", 1},
    {"endswith", method_endswith, NULL, "suffix start end", 1},
    {"find", method_find, NULL, "sub start end", 1},
    {"rfind", method_rfind, NULL, "sub start end", 1},
    {"index", method_index, NULL, "sub start end", 1},
    {"rindex", method_rindex, NULL, "sub start end", 1},
    {"count", method_count, NULL, "sub start end", 1},
    {"join", method_join, NULL, "iterable", 1},
    {"center", method_center, NULL, "width fillchar", 1},
    {"ljust", method_ljust, NULL, "width fillchar", 1},
    {"rjust", method_rjust, NULL, "width fillchar", 1},
    {"zfill", method_zfill, NULL, "width", 1},
    {"isdigit", method_isdigit, NULL, "", 0},
    {"isalpha", method_isalpha, NULL, "", 0},
    {"isalnum", method_isalnum, NULL, "", 0},
    {"isspace", method_isspace, NULL, "", 0},
    {"isascii", method_isascii, NULL, "", 0},
    {"islower", method_islower, NULL, "", 0},
    {"isupper", method_isupper, NULL, "", 0},
    {0},
};
