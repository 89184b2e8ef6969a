/* hash.h: a hash of byte strings and pairs, seeded anew by each process so that no file can aim at
 * collisions. Local, thread-safe. */
#ifndef TSR_TOKENIZER_HASH_H
#define TSR_TOKENIZER_HASH_H

#include <stdint.h>

uint64_t tsr_hash_seed(void);
uint64_t tsr_hash_bytes(uint64_t seed, const char *bytes, int64_t n);

/* Mixes two words: the halves of their 128-bit product, folded. */
static inline uint64_t tsr_hash_mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t tsr_hash_word(uint64_t seed, uint64_t word)
{
    return tsr_hash_mix(word ^ seed, 0x9E3779B97F4A7C15u);
}

#endif
