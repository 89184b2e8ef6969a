/* checked.h: arithmetic on sizes that come from files or users.
 *
 * Every function returns true and sets *out, or returns false and leaves *out alone when the exact result does
 * not fit. All sizes of Tessera are int64_t: negative numbers are never valid sizes and are refused here.
 */
#ifndef TSR_BASE_CHECKED_H
#define TSR_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool tsr_add(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool tsr_mul(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Product of n non-negative extents; the empty product is 1. A zero extent gives 0 even beside huge ones. */
static inline bool tsr_product(const int64_t *extent, int n, int64_t *out)
{
    int64_t r = 1;
    bool zero = false;
    for (int i = 0; i < n; i++) {
        if (extent[i] < 0) return false;
        zero |= extent[i] == 0;
    }
    for (int i = 0; i < n && !zero; i++)
        if (!tsr_mul(r, extent[i], &r)) return false;
    *out = zero ? 0 : r;
    return true;
}

/* n rounded up to a multiple of unit (> 0); for sizes already known to be far from the limit. */
static inline int64_t tsr_round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static inline int64_t tsr_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t tsr_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
