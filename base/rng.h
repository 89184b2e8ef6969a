/* rng.h: random numbers that do not depend on how often or in which order they were asked for.
 *
 * tsr_rng is a sequential generator (splitmix64) for tests, random weights and seeds. The tsr_noise functions
 * are counter-based: number i of a stream is a pure function of (key, i), so that any thread or rank can
 * compute any part of the stream by itself and gets the same bits. All functions are pure or touch only their
 * argument. Formulas: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (splitmix64);
 * 32-bit mixing constants from the search for low-bias integer hashes by C. Wellons.
 */
#ifndef TSR_BASE_RNG_H
#define TSR_BASE_RNG_H

#include <stdint.h>

#ifdef __CUDACC__
#define TSR_ANYWHERE __host__ __device__
#else
#define TSR_ANYWHERE
#endif

TSR_ANYWHERE static inline uint64_t tsr_mix64(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

typedef struct tsr_rng {
    uint64_t state; /* any value is a good seed */
} tsr_rng;

static inline uint64_t tsr_rng_next(tsr_rng *rng)
{
    return tsr_mix64(rng->state += UINT64_C(0x9E3779B97F4A7C15));
}

/* Uniform in [0, 1), 53 bits. */
static inline double tsr_rng_uniform(tsr_rng *rng)
{
    return (double)(tsr_rng_next(rng) >> 11) * 0x1p-53;
}

/* Uniform in 0 .. n - 1, n >= 1; the bias is below n / 2^64. */
static inline uint64_t tsr_rng_below(tsr_rng *rng, uint64_t n)
{
    return (uint64_t)((unsigned __int128)tsr_rng_next(rng) * n >> 64);
}

/* The key of stream number `stream` of a seed. */
TSR_ANYWHERE static inline uint64_t tsr_noise_key(uint64_t seed, uint64_t stream)
{
    return tsr_mix64(tsr_mix64(seed + UINT64_C(0x9E3779B97F4A7C15)) + stream * UINT64_C(0xD1B54A32D192ED03));
}

TSR_ANYWHERE static inline uint32_t tsr_mix32(uint32_t x)
{
    x = (x ^ x >> 16) * UINT32_C(0x7FEB352D);
    x = (x ^ x >> 15) * UINT32_C(0x846CA68B);
    return x ^ x >> 16;
}

/* Number i of the stream, 32 uniform bits. Only 32-bit arithmetic, so that loops over i become vector code.
 */
TSR_ANYWHERE static inline uint32_t tsr_noise32(uint64_t key, uint32_t i)
{
    uint32_t x = tsr_mix32(i * UINT32_C(0x9E3779B9) + (uint32_t)key);
    return tsr_mix32(x + (uint32_t)(key >> 32));
}

#endif
