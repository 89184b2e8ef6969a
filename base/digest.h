/* digest.h: 128-bit checksums (XXH3), for finding damage and for naming things by what they are made of.
 *
 * Fast enough to be unnoticed beside reading a file; no protection against someone who chooses the bytes.
 * Local, thread-safe; a stream belongs to one thread.
 */
#ifndef TSR_BASE_DIGEST_H
#define TSR_BASE_DIGEST_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_digest {
    uint64_t high, low;
} tsr_digest;

enum { TSR_DIGEST_TEXT = 33 }; /* 32 digits and the NUL */

tsr_digest tsr_digest_of(const void *bytes, int64_t n);
bool tsr_digest_equal(tsr_digest a, tsr_digest b);

/* 32 lower-case hexadecimal digits; returns `out`. */
const char *tsr_digest_text(tsr_digest d, char out[TSR_DIGEST_TEXT]);
/* False unless `text` is exactly 32 such digits. */
bool tsr_digest_parse(const char *text, tsr_digest *out);

/* The digest of bytes that come piece by piece. */
typedef struct tsr_digest_stream tsr_digest_stream;
tsr_status tsr_digest_begin(tsr_digest_stream **out);
void tsr_digest_add(tsr_digest_stream *s, const void *bytes, int64_t n);
/* Of all bytes added since the beginning or the last call; begins anew. */
tsr_digest tsr_digest_take(tsr_digest_stream *s);
void tsr_digest_end(tsr_digest_stream **s); /* accepts NULL inside */

#endif
