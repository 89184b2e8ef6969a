/* manual.h: the option table as a manual page and as a document. Local; both write to stdout. */
#ifndef TSR_LAUNCH_MANUAL_H
#define TSR_LAUNCH_MANUAL_H

#include "base/text.h"
#include "launch/options.h"

typedef struct tsr_manual_command {
    const char *name, *summary;
    int bit;
} tsr_manual_command;

/* The commands there are; *n is how many. */
const tsr_manual_command *tsr_manual_commands(int *n);

/* "--tp N", "--top-k N", "--json": as it is written on a command line. */
tsr_status tsr_manual_usage(tsr_option_id id, tsr_text *out);
/* The further keys of a file and variables that state the option, each between `before` and `after`, with commas. */
tsr_status tsr_manual_names(tsr_option_id id, const char *before, const char *after, tsr_text *out);
/* The commands that take it: names with commas, or "all". */
tsr_status tsr_manual_takers(tsr_option_id id, tsr_text *out);
/* "default 64; 1..4096", or "". */
tsr_status tsr_manual_values(tsr_option_id id, tsr_text *out);

tsr_status tsr_manual_page(tsr_text *out);     /* tessera.1 */
tsr_status tsr_manual_document(tsr_text *out); /* docs/configuration.md */

#endif
