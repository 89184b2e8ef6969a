/* status.c: the status table and the error record of each thread. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { RECORD_BYTES = 1024 };

static _Thread_local char record[RECORD_BYTES];

static const struct {
    const char *name, *message;
    int exit_code, http;
} table[] = {
#define TSR_STATUS_ROW(name, message, exit_code, http) {#name, message, exit_code, http},
    TSR_STATUS_TABLE(TSR_STATUS_ROW)
#undef TSR_STATUS_ROW
};

static int known(tsr_status s)
{
    return (unsigned)s < TSR_STATUS_COUNT ? (int)s : TSR_ERR_INTERNAL;
}

const char *tsr_status_name(tsr_status s)
{
    return table[known(s)].name;
}

const char *tsr_status_message(tsr_status s)
{
    return table[known(s)].message;
}

int tsr_status_exit_code(tsr_status s)
{
    return table[known(s)].exit_code;
}

int tsr_status_http(tsr_status s)
{
    return table[known(s)].http;
}

static void hide_controls(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

tsr_status tsr_fail(tsr_status s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char text[RECORD_BYTES]; /* the arguments may point into the record */
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    hide_controls(text);
    memcpy(record, text, sizeof record);
    return s;
}

tsr_status tsr_fail_in(tsr_status s, const char *format, ...)
{
    char context[RECORD_BYTES / 2], text[2 * RECORD_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    hide_controls(context);
    snprintf(text, sizeof text, "%s: %s", context, record);
    text[RECORD_BYTES - 1] = '\0';
    memcpy(record, text, sizeof record);
    return s;
}

const char *tsr_error_text(void)
{
    return record;
}

void tsr_error_clear(void)
{
    record[0] = '\0';
}
