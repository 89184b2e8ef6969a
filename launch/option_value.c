/* option_value.c: texts as values, by the kind of the option. */
#include "launch/option_row.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct value {
    bool flag;
    int64_t integer;
    double real;
    char word[TSR_LONGEST_WORD];
} value;

static tsr_status read_number(const tsr_option_row *row, const char *text, value *out)
{
    char *end;
    bool whole = row->kind != TSR_OPTION_REAL;
    errno = 0;
    if (whole)
        out->real = (double)(out->integer = strtoll(text, &end, 10));
    else
        out->real = strtod(text, &end);
    if (end == text || *end || errno == ERANGE || isnan(out->real))
        return tsr_fail(TSR_ERR_USAGE, "option --%s must be %s, found \"%s\"", row->name,
                        row->kind == TSR_OPTION_RANKS ? "an integer or max"
                        : whole                       ? "an integer"
                                                      : "a number",
                        text);
    if (out->real < row->low || out->real > row->high)
        return tsr_fail(TSR_ERR_USAGE, "option --%s must lie in %.15g..%.15g, found %s", row->name, row->low,
                        row->high, text);
    return TSR_OK;
}

static tsr_status read_bool(const tsr_option_row *row, const char *text, value *out)
{
    static const char *const words[][2] = {{"false", "true"}, {"0", "1"}, {"no", "yes"},
                                           {"off", "on"},     {"f", "t"}, {"n", "y"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (int k = 0; k < 2; k++)
            if (strcasecmp(text, words[i][k]) == 0) {
                out->flag = k == 1;
                return TSR_OK;
            }
    return tsr_fail(TSR_ERR_USAGE, "option --%s must be true or false, found \"%s\"", row->name, text);
}

/* --- Words --- */

/* The next word of "auto|float32=fp32|!int8" and the separator before it; false at the end. */
static bool next_word(const char **at, char *mark, char *word)
{
    *mark = **at == '|' || **at == '=' ? *(*at)++ : '|';
    if (**at == '!') *mark = *(*at)++;
    size_t n = strcspn(*at, "|=");
    if (n == 0 || n >= TSR_LONGEST_WORD) return false;
    memcpy(word, *at, n);
    word[n] = '\0';
    *at += n;
    return true;
}

static tsr_status put_words(const tsr_option_row *row, const char *last, tsr_text *out)
{
    char mark, word[TSR_LONGEST_WORD], pending[TSR_LONGEST_WORD] = "";
    int n = 0;
    for (const char *at = row->value; next_word(&at, &mark, word);) {
        if (mark != '|') continue;
        if (pending[0]) TSR_TRY(tsr_text_format(out, "%s%s", n++ ? ", " : "", pending));
        memcpy(pending, word, sizeof word);
    }
    return tsr_text_format(out, "%s%s", n ? last : "", pending);
}

static tsr_status not_a_word(const tsr_option_row *row, const char *text)
{
    tsr_text words;
    TSR_TRY(tsr_text_init(&words, TSR_TEXT_NO_CAP));
    tsr_status s = put_words(row, " or ", &words);
    if (s == TSR_OK)
        s = tsr_fail(TSR_ERR_USAGE, "option --%s must be %s, found \"%s\"", row->name, words.data, text);
    tsr_text_free(&words);
    return s;
}

static tsr_status read_word(const tsr_option_row *row, const char *text, bool needed, value *out)
{
    char mark, word[TSR_LONGEST_WORD];
    bool missing = false;
    for (const char *at = row->value; next_word(&at, &mark, word);) {
        if (mark != '=') memcpy(out->word, word, sizeof word), missing = mark == '!';
        if (strcasecmp(text, word) != 0) continue;
        if (missing && needed)
            return tsr_fail(TSR_ERR_USAGE, "option --%s %s: this is not there yet", row->name, word);
        return TSR_OK;
    }
    return not_a_word(row, text);
}

/* --- Stating --- */

static tsr_status read_value(const tsr_option_row *row, const char *text, bool needed, value *out)
{
    switch (row->kind) {
    case TSR_OPTION_FLAG:
    case TSR_OPTION_BOOL:
        return read_bool(row, text, out);
    case TSR_OPTION_INT:
    case TSR_OPTION_REAL:
        return read_number(row, text, out);
    case TSR_OPTION_RANKS:
        return strcmp(text, "max") == 0 ? TSR_OK : read_number(row, text, out);
    case TSR_OPTION_CHOICE:
        return text[0] ? read_word(row, text, needed, out) : not_a_word(row, text);
    default:
        return TSR_OK;
    }
}

static void keep(tsr_options *o, const tsr_statement *s, const value *v)
{
    tsr_option_kind kind = tsr_option_row_of(s->id)->kind;
    if (s->origin < o->origin[s->id]) return;
    o->flag[s->id] = v->flag != s->opposite;
    o->integer[s->id] = v->integer;
    o->real[s->id] = v->real;
    memcpy(o->word[s->id], v->word, sizeof v->word);
    if (kind == TSR_OPTION_TEXT) o->text[s->id] = s->text;
    if (kind == TSR_OPTION_CHOICE) o->text[s->id] = o->word[s->id];
    o->origin[s->id] = s->origin;
    o->place[s->id] = s->place;
    o->given[s->id] = s->origin != TSR_ORIGIN_DEFAULT;
}

static tsr_status append(tsr_options *o, const tsr_statement *s)
{
    if (o->n_list == TSR_MAX_LIST_ITEMS)
        return tsr_fail(TSR_ERR_USAGE, "more than %d prompts, texts, ids and stops", TSR_MAX_LIST_ITEMS);
    o->list[o->n_list++] = (tsr_list_item){s->id, s->text};
    o->given[s->id] = true;
    return TSR_OK;
}

tsr_status tsr_option_state(tsr_options *o, const tsr_statement *s)
{
    const tsr_option_row *row = tsr_option_row_of(s->id);
    value v = {.flag = true};
    if (row->kind == TSR_OPTION_LIST) return append(o, s);
    if (s->text) TSR_TRY(read_value(row, s->text, tsr_option_belongs(row, o->command), &v));
    keep(o, s, &v);
    return TSR_OK;
}

/* --- Printing --- */

tsr_status tsr_option_print(const tsr_options *o, tsr_option_id id, tsr_text *out)
{
    switch (tsr_option_row_of(id)->kind) {
    case TSR_OPTION_FLAG:
    case TSR_OPTION_BOOL:
        return tsr_text_puts(out, o->flag[id] ? "true" : "false");
    case TSR_OPTION_RANKS:
        if (o->integer[id] == 0) return tsr_text_puts(out, "max");
        return tsr_text_format(out, "%lld", (long long)o->integer[id]);
    case TSR_OPTION_INT:
        return tsr_text_format(out, "%lld", (long long)o->integer[id]);
    case TSR_OPTION_REAL:
        return tsr_text_format(out, "%.15g", o->real[id]);
    default:
        return tsr_text_puts(out, o->text[id] ? o->text[id] : "");
    }
}

tsr_status tsr_option_print_range(tsr_option_id id, tsr_text *out)
{
    const tsr_option_row *row = tsr_option_row_of(id);
    bool ranks = row->kind == TSR_OPTION_RANKS;
    if (row->kind == TSR_OPTION_INT || row->kind == TSR_OPTION_REAL || ranks)
        return tsr_text_format(out, "%.15g..%.15g%s", row->low, row->high, ranks ? " or max" : "");
    if (row->kind == TSR_OPTION_CHOICE) return put_words(row, " or ", out);
    if (row->kind == TSR_OPTION_BOOL) return tsr_text_puts(out, "true or false");
    return TSR_OK;
}
