/* byte_alphabet.h: the 256 printable characters by which byte-level BPE writes bytes. Local, thread-safe.
 *
 * Printable ASCII and the printable half of Latin-1 stand for themselves; the other 68 bytes, in order, are
 * U+0100, U+0101 and so on: a blank is U+0120. (Radford et al. 2019, "Language Models are Unsupervised
 * Multitask Learners".)
 */
#ifndef TSR_TOKENIZER_BYTE_ALPHABET_H
#define TSR_TOKENIZER_BYTE_ALPHABET_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* Appends the characters of n bytes. */
tsr_status tsr_bytes_to_alphabet(const char *bytes, int64_t n, tsr_text *out);

/* Appends the bytes of n bytes of valid UTF-8. If a character is outside the alphabet, appends the text as it
 * is. */
tsr_status tsr_alphabet_to_bytes(const char *text, int64_t n, tsr_text *out);

#endif
