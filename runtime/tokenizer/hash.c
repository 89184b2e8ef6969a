/* hash.c: multiply-and-fold hashing of byte strings. */
#include "runtime/tokenizer/hash.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t process_seed;

static void make_seed(void)
{
    if (getrandom(&process_seed, sizeof process_seed, GRND_NONBLOCK) != (ssize_t)sizeof process_seed)
        process_seed = (uint64_t)(uintptr_t)&process_seed; /* too early after boot: the address must do */
}

uint64_t tsr_hash_seed(void)
{
    pthread_once(&once, make_seed);
    return process_seed;
}

uint64_t tsr_hash_bytes(uint64_t seed, const char *bytes, int64_t n)
{
    uint64_t h = tsr_hash_word(seed, (uint64_t)n), word = 0;
    for (; n > 8; n -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        h = tsr_hash_mix(h ^ word, 0xD1B54A32D192ED03u ^ seed);
    }
    word = 0;
    if (n > 0) memcpy(&word, bytes, (size_t)n);
    return tsr_hash_word(seed, h ^ tsr_hash_mix(word ^ 0xA0761D6478BD642Fu, 0xE7037ED1A0B428DBu));
}
