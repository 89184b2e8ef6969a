/* word_cache.h: the tokens of words seen lately. Of fixed size: a word replaces another one with the same
 * slot. */
#ifndef TSR_TOKENIZER_WORD_CACHE_H
#define TSR_TOKENIZER_WORD_CACHE_H

#include "runtime/tokenizer/token_list.h"

#include <stdbool.h>

enum { TSR_CACHED_WORD_BYTES = 40, TSR_CACHED_WORD_TOKENS = 9, TSR_CACHED_WORDS = 4096 };

typedef struct tsr_cached_word {
    uint16_t length, tokens; /* length 0: empty */
    char word[TSR_CACHED_WORD_BYTES];
    int32_t id[TSR_CACHED_WORD_TOKENS];
} tsr_cached_word;

typedef struct tsr_word_cache {
    tsr_cached_word *slot; /* [TSR_CACHED_WORDS] */
    uint64_t seed;
} tsr_word_cache;

tsr_status tsr_word_cache_init(tsr_word_cache *c);
void tsr_word_cache_free(tsr_word_cache *c);

/* The word's slot, NULL for words that are not kept. */
tsr_cached_word *tsr_word_cache_slot(const tsr_word_cache *c, const char *word, int64_t n);
static inline bool tsr_cached_word_is(const tsr_cached_word *slot, const char *word, int64_t n)
{
    return slot->length == n && memcmp(slot->word, word, (size_t)n) == 0;
}
/* Remembers the word if it has few enough tokens. */
void tsr_cached_word_set(tsr_cached_word *slot, const char *word, int64_t n, const int32_t *ids,
                         int64_t count);

#endif
