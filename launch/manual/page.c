/* page.c: tessera.1, in the man macros. */
#include "launch/manual/manual.h"

#include "launch/option_row.h"
#include "tessera.h"

#include <stdio.h>

/* Text of a paragraph: '\' and '-' escaped, and no line begins with a control character. */
static tsr_status put_text(const char *text, tsr_text *out)
{
    if (text[0] == '.' || text[0] == '\'') TSR_TRY(tsr_text_puts(out, "\\&"));
    for (const char *c = text; *c; c++) {
        if (*c == '\\')
            TSR_TRY(tsr_text_puts(out, "\\e"));
        else if (*c == '-')
            TSR_TRY(tsr_text_puts(out, "\\-"));
        else
            TSR_TRY(tsr_text_append(out, c, 1));
    }
    return TSR_OK;
}

/* One piece of an option's entry, escaped; `between` goes before it if there is any. */
static tsr_status put_piece(tsr_status (*piece)(tsr_option_id, tsr_text *), tsr_option_id id,
                            const char *before, const char *after, tsr_text *out)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, TSR_TEXT_NO_CAP));
    tsr_status s = piece(id, &t);
    if (s == TSR_OK && t.length > 0) {
        s = tsr_text_puts(out, before);
        if (s == TSR_OK) s = put_text(t.data, out);
        if (s == TSR_OK) s = tsr_text_puts(out, after);
    }
    tsr_text_free(&t);
    return s;
}

static tsr_status plain_names(tsr_option_id id, tsr_text *out)
{
    return tsr_manual_names(id, "", "", out);
}

static tsr_status put_option(tsr_option_id id, tsr_text *out)
{
    TSR_TRY(put_piece(tsr_manual_usage, id, ".TP\n.B ", "\n", out));
    TSR_TRY(put_text(tsr_option_row_of(id)->help, out));
    TSR_TRY(put_piece(tsr_manual_values, id, " [", "]", out));
    TSR_TRY(put_piece(tsr_manual_takers, id, ".\nCommands: ", ".\n", out));
    return put_piece(plain_names, id, "Also: ", ".\n", out);
}

static tsr_status put_commands(tsr_text *out)
{
    int n;
    const tsr_manual_command *commands = tsr_manual_commands(&n);
    for (int i = 0; i < n; i++) {
        TSR_TRY(tsr_text_format(out, ".TP\n.B %s\n", commands[i].name));
        TSR_TRY(put_text(commands[i].summary, out));
        TSR_TRY(tsr_text_puts(out, "\n"));
    }
    return TSR_OK;
}

tsr_status tsr_manual_page(tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, ".TH TESSERA 1 \"\" \"Tessera %s\" \"User Commands\"\n", TSR_VERSION));
    TSR_TRY(tsr_text_puts(
        out,
        ".SH NAME\ntessera \\- transformer models over many ranks\n"
        ".SH SYNOPSIS\n.B tessera\n.I COMMAND\n.RI [ options ]\n.br\n"
        ".B mpirun \\-n\n.I N\n.B tessera\n.I COMMAND\n.RI [ options ]\n.br\n"
        ".B srun \\-\\-mpi=pmix \\-n\n.I N\n.B tessera\n.I COMMAND\n.RI [ options ]\n"
        ".SH DESCRIPTION\nResults go to standard output, from rank 0 alone; progress and errors go to "
        "standard\n"
        "error. Values of options come from the command line, else from the environment, else from the\n"
        "file serving.properties in the model's folder or named by \\-\\-config, else from the table below;\n"
        ".B tessera config\nshows what is in force.\n.SH COMMANDS\n"));
    TSR_TRY(put_commands(out));
    TSR_TRY(tsr_text_puts(out, ".SH OPTIONS\n"));
    for (int i = 0; i < TSR_OPTION_COUNT; i++) TSR_TRY(put_option((tsr_option_id)i, out));
    return tsr_text_puts(
        out,
        ".SH EXIT STATUS\n0 success; 1 internal error; 2 bad option or request; 3 bad or unreadable file; 4 "
        "a rank\n"
        "was lost; 5 a deadline passed; 6 out of memory; 7 a GPU failed; 130 and 143 stopped by SIGINT and\n"
        "SIGTERM.\n");
}
