/* word_cache.c: a direct-mapped table. */
#include "runtime/tokenizer/word_cache.h"
#include "runtime/tokenizer/hash.h"

tsr_status tsr_word_cache_init(tsr_word_cache *c)
{
    void *p;
    c->seed = tsr_hash_seed();
    tsr_status status = tsr_calloc(TSR_CACHED_WORDS, sizeof *c->slot, "a cache of words", &p);
    c->slot = p;
    return status;
}

void tsr_word_cache_free(tsr_word_cache *c)
{
    tsr_free(c->slot);
    c->slot = NULL;
}

tsr_cached_word *tsr_word_cache_slot(const tsr_word_cache *c, const char *word, int64_t n)
{
    if (n > TSR_CACHED_WORD_BYTES) return NULL;
    return &c->slot[tsr_hash_bytes(c->seed, word, n) % TSR_CACHED_WORDS];
}

void tsr_cached_word_set(tsr_cached_word *slot, const char *word, int64_t n, const int32_t *ids,
                         int64_t count)
{
    if (count > TSR_CACHED_WORD_TOKENS) return;
    slot->length = (uint16_t)n;
    slot->tokens = (uint16_t)count;
    memcpy(slot->word, word, (size_t)n);
    if (count > 0) memcpy(slot->id, ids, (size_t)count * sizeof *ids); /* no ids: a list without memory yet */
}
