/* option_help.c: the options of one command, on a terminal. */
#include "launch/option_row.h"
#include "launch/options.h"

#include <stdio.h>

static const char *value_name(const tsr_option_row *row)
{
    return row->kind == TSR_OPTION_BOOL ? "BOOL" : row->kind == TSR_OPTION_CHOICE ? "WORD" : row->value;
}

static void print_row(tsr_option_id id)
{
    const tsr_option_row *row = tsr_option_row_of(id);
    char left[64];
    tsr_text range;
    snprintf(left, sizeof left, "--%s %s", row->name, value_name(row));
    printf("  %-28s %s", left, row->help);
    if (tsr_text_init(&range, TSR_TEXT_NO_CAP) != TSR_OK) return;
    bool known = tsr_option_print_range(id, &range) == TSR_OK && range.length > 0;
    if (row->fallback[0])
        printf(" [default %s%s%s]", row->fallback, known ? ", " : "", known ? range.data : "");
    if (!row->fallback[0] && known) printf(" [%s]", range.data);
    putchar('\n');
    tsr_text_free(&range);
}

void tsr_options_help(int command)
{
    for (int i = 0; i < TSR_OPTION_COUNT; i++)
        if (tsr_option_belongs(tsr_option_row_of((tsr_option_id)i), command)) print_row((tsr_option_id)i);
    printf("\nAll but those that may be given many times may also stand as OPTION_NAME in the environment, "
           "or as\n"
           "option.name in a serving.properties; `tessera config` shows what is in force.\n");
}
