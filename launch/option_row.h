/* option_row.h: a row of the option table as data, and how a text becomes the value of one. Local. */
#ifndef TSR_LAUNCH_OPTION_ROW_H
#define TSR_LAUNCH_OPTION_ROW_H

#include "base/text.h"
#include "launch/options.h"

typedef struct tsr_option_row {
    const char *name;
    tsr_option_kind kind;
    const char *fallback;
    double low, high;
    const char *value;
    int commands;
    const char *help;
} tsr_option_row;

/* The row of an option. */
const tsr_option_row *tsr_option_row_of(tsr_option_id id);

/* Whether a command takes the option; `config` takes all that can be configured. */
bool tsr_option_belongs(const tsr_option_row *row, int command);

/* Whether environment and files may state it. */
bool tsr_option_configurable(tsr_option_id id);

/* One statement of a value. `text` is NULL for a flag of the command line; it and `place` must outlive `o`. */
typedef struct tsr_statement {
    tsr_option_id id;
    const char *text;
    bool opposite; /* the text says the contrary of what the flag is */
    tsr_option_origin origin;
    const char *place;
} tsr_statement;

/* Checks the text, and keeps the value unless one of higher precedence is there. Refuses known words without code
 * ('!') if the command takes the option. TSR_ERR_USAGE. */
tsr_status tsr_option_state(tsr_options *o, const tsr_statement *s);

/* The value as text: as it would be written in a file; "" where there is none. */
tsr_status tsr_option_print(const tsr_options *o, tsr_option_id id, tsr_text *out);

/* "1..4096", "one of auto, cpu and cuda": what values there are; "" if any. */
tsr_status tsr_option_print_range(tsr_option_id id, tsr_text *out);

#endif
