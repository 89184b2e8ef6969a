/* options.c: parsing and help from the option table. */
#include "launch/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct option_row {
    const char *name;
    tsr_option_kind kind;
    const char *fallback;
    double low, high;
    const char *value;
    int commands;
    const char *help;
} option_row;

static const option_row table[] = {
#define TSR_OPTION_ROW(ID, name, kind, fallback, low, high, value, commands, help)                           \
    {name, TSR_OPTION_##kind, fallback, low, high, value, commands, help},
    TSR_OPTION_TABLE(TSR_OPTION_ROW)
#undef TSR_OPTION_ROW
};

int tsr_name_distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    int n = (int)strlen(a), m = (int)strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            int best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[m];
}

static tsr_status unknown(const char *command, int commands, const char *name)
{
    int best = -1, nearest = 4;
    for (int i = 0; i < TSR_OPTION_COUNT; i++) {
        int d = table[i].commands & commands ? tsr_name_distance(name, table[i].name) : nearest;
        if (d < nearest) best = i, nearest = d;
    }
    if (best >= 0)
        return tsr_fail(TSR_ERR_USAGE, "%s: unknown option --%s; did you mean --%s?", command, name,
                        table[best].name);
    return tsr_fail(TSR_ERR_USAGE, "%s: unknown option --%s; `tessera %s --help` lists all", command, name,
                    command);
}

static tsr_status find(const char *command, int commands, const char *name, size_t length, tsr_option_id *out)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%.*s", (int)(length < 60 ? length : 60), name);
    for (int i = 0; i < TSR_OPTION_COUNT; i++) {
        if (strcmp(copy, table[i].name) != 0) continue;
        if (!(table[i].commands & commands))
            return tsr_fail(TSR_ERR_USAGE, "%s: option --%s does not belong to this command", command, copy);
        *out = (tsr_option_id)i;
        return TSR_OK;
    }
    return unknown(command, commands, copy);
}

static tsr_status read_number(const option_row *row, const char *text, tsr_option_id id, tsr_options *o)
{
    char *end;
    errno = 0;
    double value =
        row->kind == TSR_OPTION_INT ? (double)(o->integer[id] = strtoll(text, &end, 10)) : strtod(text, &end);
    bool whole = row->kind == TSR_OPTION_INT;
    if (end == text || *end || errno == ERANGE || isnan(value))
        return tsr_fail(TSR_ERR_USAGE, "option --%s must be %s, found \"%s\"", row->name,
                        whole ? "an integer" : "a number", text);
    if (value < row->low || value > row->high)
        return tsr_fail(TSR_ERR_USAGE, "option --%s must lie in %.15g..%.15g, found %s", row->name, row->low,
                        row->high, text);
    o->real[id] = value;
    return TSR_OK;
}

static tsr_status set(tsr_options *o, tsr_option_id id, const char *value)
{
    const option_row *row = &table[id];
    switch (row->kind) {
    case TSR_OPTION_FLAG:
        o->flag[id] = true;
        return TSR_OK;
    case TSR_OPTION_TEXT:
        o->text[id] = value;
        return TSR_OK;
    case TSR_OPTION_LIST:
        if (o->n_list == TSR_MAX_LIST_ITEMS)
            return tsr_fail(TSR_ERR_USAGE, "more than %d prompts, texts, ids and stops", TSR_MAX_LIST_ITEMS);
        o->list[o->n_list++] = (tsr_list_item){id, value};
        return TSR_OK;
    default:
        return read_number(row, value, id, o);
    }
}

static tsr_status set_defaults(tsr_options *o)
{
    for (int i = 0; i < TSR_OPTION_COUNT; i++)
        if (table[i].fallback[0]) TSR_TRY(set(o, (tsr_option_id)i, table[i].fallback));
    return TSR_OK;
}

tsr_status tsr_options_parse(int command, int argc, char **argv, tsr_options *out)
{
    memset(out, 0, sizeof *out);
    out->command = command;
    TSR_TRY(set_defaults(out));
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "-h") == 0) arg = "--help";
        if (strncmp(arg, "--", 2) != 0 && command & TSR_CMD_ARGUMENT && !out->argument) {
            out->argument = arg;
            continue;
        }
        if (strncmp(arg, "--", 2) != 0)
            return tsr_fail(TSR_ERR_USAGE, "%s: unexpected argument \"%s\"; options begin with --", argv[0],
                            arg);
        tsr_option_id id = TSR_OPT_HELP;
        const char *equals = strchr(arg, '=');
        TSR_TRY(find(argv[0], command, arg + 2, equals ? (size_t)(equals - arg - 2) : strlen(arg + 2), &id));
        bool is_flag = table[id].kind == TSR_OPTION_FLAG;
        if (is_flag && equals) return tsr_fail(TSR_ERR_USAGE, "option --%s takes no value", table[id].name);
        const char *value = equals ? equals + 1 : NULL;
        if (!is_flag && !value) {
            if (i + 1 == argc)
                return tsr_fail(TSR_ERR_USAGE, "option --%s needs a value: --%s %s", table[id].name,
                                table[id].name, table[id].value);
            value = argv[++i];
        }
        TSR_TRY(set(out, id, value));
        out->given[id] = true;
    }
    return TSR_OK;
}

void tsr_options_help(int command)
{
    for (int i = 0; i < TSR_OPTION_COUNT; i++) {
        const option_row *row = &table[i];
        if (!(row->commands & command)) continue;
        char left[64];
        snprintf(left, sizeof left, "--%s %s", row->name, row->value);
        printf("  %-28s %s", left, row->help);
        bool number = row->kind == TSR_OPTION_INT || row->kind == TSR_OPTION_REAL;
        if (number)
            printf(" [default %s, %.15g..%.15g]", row->fallback, row->low, row->high);
        else if (row->fallback[0])
            printf(" [default %s]", row->fallback);
        putchar('\n');
    }
}

int tsr_options_count(const tsr_options *o, tsr_option_id list)
{
    int n = 0;
    for (int i = 0; i < o->n_list; i++) n += o->list[i].option == list;
    return n;
}
