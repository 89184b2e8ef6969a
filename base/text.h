/* text.h: a growable byte string, created with the largest size it may ever have.
 *
 * Appending past the cap is TSR_ERR_CAPACITY, so that no input can make a buffer grow without bound. The bytes are
 * always followed by a NUL that is not counted; they may hold NULs themselves. Local; not thread-safe.
 */
#ifndef TSR_BASE_TEXT_H
#define TSR_BASE_TEXT_H

#include "base/status.h"

#include <stdint.h>

typedef struct tsr_text {
    char *data; /* [length] + NUL; never NULL after tsr_text_init succeeded */
    int64_t length, capacity, cap;
} tsr_text;

#define TSR_TEXT_NO_CAP INT64_MAX / 4

tsr_status tsr_text_init(tsr_text *t, int64_t cap);
void tsr_text_free(tsr_text *t); /* accepts a zeroed struct */
void tsr_text_clear(tsr_text *t);
tsr_status tsr_text_append(tsr_text *t, const char *bytes, int64_t n);
tsr_status tsr_text_puts(tsr_text *t, const char *s);
tsr_status tsr_text_format(tsr_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends a JSON string literal with its quotes. Invalid UTF-8 becomes U+FFFD, so the result is always valid. */
tsr_status tsr_text_json(tsr_text *t, const char *bytes, int64_t n);

#endif
