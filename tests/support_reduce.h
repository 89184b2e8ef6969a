/* support_reduce.h: vectors for tests of sums over ranks: what each rank brings, and what must come out. */
#ifndef TSR_TESTS_SUPPORT_REDUCE_H
#define TSR_TESTS_SUPPORT_REDUCE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* Unequal magnitudes and signs, so that the order of summation shows in the last bits. */
static inline float reduce_input(int rank, int64_t i, int call)
{
    uint32_t h = (uint32_t)i * 2654435761u ^ (uint32_t)rank * 40503u ^ (uint32_t)call * 69069u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return ldexpf((float)(int32_t)h, -31 + (int)(h % 7));
}

static inline bool reduce_is_right(float sum, int ranks, int64_t i, int call)
{
    double exact = 0, magnitude = 0;
    for (int q = 0; q < ranks; q++) {
        exact += reduce_input(q, i, call);
        magnitude += fabs(reduce_input(q, i, call));
    }
    return fabs(sum - exact) <= magnitude * ranks * 0x1p-24;
}

#endif
