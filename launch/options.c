/* options.c: the table as data, and the command line. */
#include "launch/options.h"

#include "base/memory.h"
#include "launch/option_names.h"
#include "launch/option_row.h"

#include <stdio.h>
#include <string.h>

static const tsr_option_row table[] = {
#define TSR_OPTION_ROW(ID, name, kind, fallback, low, high, value, commands, help)                           \
    {name, TSR_OPTION_##kind, fallback, low, high, value, commands, help},
    TSR_OPTION_TABLE(TSR_OPTION_ROW)
#undef TSR_OPTION_ROW
};

const tsr_option_row *tsr_option_row_of(tsr_option_id id)
{
    return &table[id];
}

bool tsr_option_configurable(tsr_option_id id)
{
    return table[id].kind != TSR_OPTION_LIST && id != TSR_OPT_HELP;
}

bool tsr_option_belongs(const tsr_option_row *row, int command)
{
    if (command == TSR_CMD_CONFIG) return row->kind != TSR_OPTION_LIST;
    return row->commands & command;
}

const char *tsr_option_origin_name(tsr_option_origin origin)
{
    static const char *const origins[] = {"default", "file", "environment", "command line"};
    return origins[origin];
}

static tsr_status unknown(const char *command, int commands, const char *name)
{
    char nearest[64];
    if (tsr_option_nearest(name, commands, '-', nearest, sizeof nearest))
        return tsr_fail(TSR_ERR_USAGE, "%s: unknown option --%s; did you mean --%s?", command, name, nearest);
    return tsr_fail(TSR_ERR_USAGE, "%s: unknown option --%s; `tessera %s --help` lists all", command, name,
                    command);
}

/* One argument that begins with "--". */
typedef struct spoken {
    tsr_option_id id;
    bool opposite, is_flag; /* takes no value */
    char name[64];
    const char *value; /* behind '=', or NULL */
} spoken;

static tsr_status find(const char *command, int commands, const char *arg, spoken *out)
{
    bool further;
    int length = (int)strcspn(arg, "=");
    snprintf(out->name, sizeof out->name, "%.*s", length < 60 ? length : 60, arg);
    out->value = arg[length] ? arg + length + 1 : NULL;
    /* '_' is for keys of files: one spelling here. */
    if (strchr(out->name, '_') || !tsr_option_by_name(out->name, &out->id, &out->opposite, &further))
        return unknown(command, commands, out->name);
    if (!tsr_option_belongs(&table[out->id], commands))
        return tsr_fail(TSR_ERR_USAGE, "%s: option --%s does not belong to this command", command, out->name);
    out->is_flag = table[out->id].kind == TSR_OPTION_FLAG && !further;
    return TSR_OK;
}

static tsr_status set_defaults(tsr_options *o)
{
    for (int i = 0; i < TSR_OPTION_COUNT; i++) {
        tsr_statement s = {.id = (tsr_option_id)i, .text = table[i].fallback};
        if (s.text[0]) TSR_TRY(tsr_option_state(o, &s));
    }
    return TSR_OK;
}

/* Takes argv[i] and, if it needs one, the value after it; returns through *i the last that was taken. */
static tsr_status take_option(int command, int argc, char **argv, int *i, tsr_options *o)
{
    spoken said;
    const char *arg = strcmp(argv[*i], "-h") == 0 ? "--help" : argv[*i];
    if (strncmp(arg, "--", 2) != 0)
        return tsr_fail(TSR_ERR_USAGE, "%s: unexpected argument \"%s\"; options begin with --", argv[0], arg);
    TSR_TRY(find(argv[0], command, arg + 2, &said));
    if (said.is_flag && said.value) return tsr_fail(TSR_ERR_USAGE, "option --%s takes no value", said.name);
    if (!said.is_flag && !said.value) {
        bool truth = table[said.id].kind == TSR_OPTION_BOOL || table[said.id].kind == TSR_OPTION_FLAG;
        if (*i + 1 == argc)
            return tsr_fail(TSR_ERR_USAGE, "option --%s needs a value: --%s %s", said.name, said.name,
                            truth ? "true|false" : table[said.id].value);
        said.value = argv[++*i];
    }
    tsr_statement s = {said.id, said.value, said.opposite, TSR_ORIGIN_COMMAND_LINE, arg};
    return tsr_option_state(o, &s);
}

tsr_status tsr_options_parse(int command, int argc, char **argv, tsr_options *out)
{
    memset(out, 0, sizeof *out);
    out->command = command;
    TSR_TRY(set_defaults(out));
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' && command & TSR_CMD_ARGUMENT && !out->argument)
            out->argument = argv[i];
        else
            TSR_TRY(take_option(command, argc, argv, &i, out));
    }
    return TSR_OK;
}

void tsr_options_free(tsr_options *o)
{
    tsr_free(o->settings);
    o->settings = NULL;
}

int tsr_options_count(const tsr_options *o, tsr_option_id list)
{
    int n = 0;
    for (int i = 0; i < o->n_list; i++) n += o->list[i].option == list;
    return n;
}
