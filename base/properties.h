/* properties.h: reading files of `key=value` lines in the form of Java's properties, as serving.properties are.
 *
 *     # a comment, or ! one; blank lines are nothing
 *     option.model_id=/models/llama
 *     option.dtype : bf16                 '=', ':' or blanks end a key
 *     option.stop = one\
 *                   two                   a backslash at the end of a line joins the next, without its indent
 *     option.name = a\tb\u00e9\=          \t \n \r \f \uXXXX; another escaped character stands for itself
 *
 * Form: https://docs.oracle.com/javase/8/docs/api/java/util/Properties.html#load-java.io.Reader-. Stricter than there: the
 * bytes must be UTF-8, no NUL, not even an escaped one; a key may stand once and may not be empty; escapes must be whole.
 * At most TSR_PROPERTIES_CAP bytes and TSR_PROPERTIES_MOST keys. Every failure names file and line.
 * Local; reads the one file it is told to.
 */
#ifndef TSR_BASE_PROPERTIES_H
#define TSR_BASE_PROPERTIES_H

#include "base/status.h"

#include <stdint.h>

enum { TSR_PROPERTIES_CAP = 1 << 20, TSR_PROPERTIES_MOST = 4096 };

typedef struct tsr_property {
    const char *key, *value; /* owned by the tsr_properties; blanks at the end of a value are kept */
    int line;                /* where it begins, from 1 */
} tsr_property;

typedef struct tsr_properties {
    tsr_property *items; /* [count] in the order of the file */
    int64_t count, capacity;
    char *bytes;
} tsr_properties;

/* `name` is used in messages. TSR_ERR_FORMAT, TSR_ERR_MEMORY; *out is empty then. */
tsr_status tsr_properties_parse(const char *bytes, int64_t n, const char *name, tsr_properties *out);
/* The same of a file. TSR_ERR_IO if it cannot be read. */
tsr_status tsr_properties_read(const char *path, tsr_properties *out);
void tsr_properties_free(tsr_properties *p); /* accepts a zeroed struct */

#endif
