/* charsmap.h: SentencePiece's compiled normalization rules: which strings are replaced by which. Built once,
 * then only read.
 *
 * Format: uint32 size of the trie in bytes, the trie (a double array of uint32 in darts-clone's layout, whose
 * values are offsets), the replacements, each ended by NUL. All little-endian. Every step in it is checked.
 */
#ifndef TSR_TOKENIZER_CHARSMAP_H
#define TSR_TOKENIZER_CHARSMAP_H

#include "base/memory.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_charsmap tsr_charsmap;

/* Copies the bytes to the arena. TSR_ERR_FORMAT names `where`. */
tsr_status tsr_charsmap_load(const char *bytes, int64_t n, const char *where, tsr_arena *arena,
                             tsr_charsmap **out);

/* The rule for the longest, or the shortest, beginning of text[0..n): its length, 0 if there is none, and
 * what it is replaced by. */
int64_t tsr_charsmap_match(const tsr_charsmap *m, const char *text, int64_t n, bool longest,
                           const char **replacement);

#endif
