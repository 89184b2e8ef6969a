/* utf8.h: strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). Local, thread-safe. */
#ifndef TSR_BASE_UTF8_H
#define TSR_BASE_UTF8_H

#include <stdbool.h>
#include <stdint.h>

/* Decodes one character of bytes[0..n), n >= 1. Returns the number of bytes used (1..4) and sets *c; or, for an
 * invalid sequence, minus the number of bytes that one U+FFFD replaces (the maximal subpart, as Unicode
 * recommends), -1..-3. */
int tsr_utf8_decode(const char *bytes, int64_t n, uint32_t *c);

/* Writes c (a scalar value) to out[4]; returns the number of bytes, 0 if c is no scalar value. */
int tsr_utf8_encode(uint32_t c, char *out);

bool tsr_utf8_valid(const char *bytes, int64_t n);

/* Length of the longest prefix that does not end inside a character which further bytes could complete. The rest
 * (at most 3 bytes) is to be kept until more arrives: how streamed text never shows half a character. */
int64_t tsr_utf8_complete_prefix(const char *bytes, int64_t n);

#endif
