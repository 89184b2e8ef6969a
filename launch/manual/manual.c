/* manual.c: what the manual page and the document say of one option. */
#include "launch/manual/manual.h"

#include "launch/command.h"
#include "launch/option_names.h"
#include "launch/option_row.h"

#include <string.h>

static const tsr_manual_command commands[] = {
#define COMMAND_ROW(NAME, name, summary) {#name, summary, TSR_CMD_##NAME},
    TSR_COMMAND_TABLE(COMMAND_ROW)
#undef COMMAND_ROW
};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

const tsr_manual_command *tsr_manual_commands(int *n)
{
    *n = N_COMMANDS;
    return commands;
}

tsr_status tsr_manual_usage(tsr_option_id id, tsr_text *out)
{
    const tsr_option_row *row = tsr_option_row_of(id);
    TSR_TRY(tsr_text_format(out, "--%s", row->name));
    if (row->kind == TSR_OPTION_FLAG) return TSR_OK;
    return tsr_text_format(out, " %s",
                           row->kind == TSR_OPTION_BOOL     ? "BOOL"
                           : row->kind == TSR_OPTION_CHOICE ? "WORD"
                                                            : row->value);
}

/* The variables of a row, which blanks separate. */
static tsr_status put_variables(const char *variables, bool comma, const char *before, const char *after,
                                tsr_text *out)
{
    for (const char *at = variables; *at; comma = true) {
        int n = (int)strcspn(at, " ");
        TSR_TRY(tsr_text_format(out, "%s%s%.*s%s", comma ? ", " : "", before, n, at, after));
        at += n + (at[n] == ' ');
    }
    return TSR_OK;
}

tsr_status tsr_manual_names(tsr_option_id id, const char *before, const char *after, tsr_text *out)
{
    char own[64];
    int n;
    int64_t start = out->length;
    const tsr_option_name *names = tsr_option_names(&n);
    if (!tsr_option_configurable(id)) return tsr_text_puts(out, "the command line alone");
    tsr_option_spell(tsr_option_row_of(id)->name, '_', own, sizeof own);
    for (int i = 0; i < n; i++) {
        if (names[i].id != id) continue;
        const char *comma = out->length > start ? ", " : "";
        if (strcmp(names[i].name, own) != 0 || names[i].server)
            TSR_TRY(tsr_text_format(out, "%s%s%s%s%s", comma, before, names[i].server ? "" : "option.",
                                    names[i].name, after));
        if (names[i].opposite) TSR_TRY(tsr_text_puts(out, " (the contrary)"));
        TSR_TRY(put_variables(names[i].variables, out->length > start, before, after, out));
    }
    return TSR_OK;
}

tsr_status tsr_manual_takers(tsr_option_id id, tsr_text *out)
{
    int taken = tsr_option_row_of(id)->commands, n = 0;
    if ((taken & TSR_CMD_ALL) == TSR_CMD_ALL) return tsr_text_puts(out, "all");
    for (int i = 0; i < N_COMMANDS; i++)
        if (taken & commands[i].bit && commands[i].bit != TSR_CMD_CONFIG)
            TSR_TRY(tsr_text_format(out, "%s%s", n++ ? ", " : "", commands[i].name));
    return TSR_OK;
}

tsr_status tsr_manual_values(tsr_option_id id, tsr_text *out)
{
    const char *fallback = tsr_option_row_of(id)->fallback;
    tsr_text range;
    TSR_TRY(tsr_text_init(&range, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_option_print_range(id, &range);
    if (s == TSR_OK && fallback[0]) s = tsr_text_format(out, "default %s", fallback);
    if (s == TSR_OK && fallback[0] && range.length) s = tsr_text_puts(out, "; ");
    if (s == TSR_OK) s = tsr_text_append(out, range.data, range.length);
    tsr_text_free(&range);
    return s;
}
