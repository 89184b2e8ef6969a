/* trie.h: a set of byte strings, and the longest of them with which a text begins. Built once, then only
 * read. */
#ifndef TSR_TOKENIZER_TRIE_H
#define TSR_TOKENIZER_TRIE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_TRIE_ROOT = 0 };

typedef struct tsr_trie tsr_trie;

/* `bytes`: the sum of the lengths of the strings to come, at most; strings may share what begins them. */
tsr_status tsr_trie_create(int64_t bytes, tsr_trie **out);
void tsr_trie_destroy(tsr_trie **t);
/* value >= 0. A string that is there already keeps its value. */
void tsr_trie_add(tsr_trie *t, const char *text, int64_t n, int32_t value);
/* Length of the longest string that text[0..n) begins with, 0 if none; *value is its value. */
int64_t tsr_trie_longest(const tsr_trie *t, const char *text, int64_t n, int32_t *value);
/* One step from a node (TSR_TRIE_ROOT to begin with): false if no string goes on with this byte. *value is that of
 * the string that ends here, -1 if none does. */
bool tsr_trie_step(const tsr_trie *t, int32_t *node, char byte, int32_t *value);
/* Whether any string begins with this byte. */
bool tsr_trie_begins(const tsr_trie *t, char byte);

#endif
