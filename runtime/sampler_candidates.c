/* sampler_candidates.c: selecting the best of many by a bounded buffer, and merging sorted lists. */
#include "runtime/sampler_candidates.h"

#include "base/checked.h"
#include "base/rng.h"
#include "runtime/sampler_scan.h"

#include <math.h>
#include <stdlib.h>

static void swap(uint64_t *a, uint64_t *b)
{
    uint64_t t = *a;
    *a = *b;
    *b = t;
}

/* Moves the `count` largest of keys [n] to the front, unordered (quickselect; 0 < count < n). */
static void largest_first(uint64_t *keys, int64_t n, int64_t count)
{
    tsr_rng rng = {(uint64_t)n}; /* a random pivot: no order of the input is slow */
    int64_t low = 0, high = n - 1;
    while (low < high) {
        uint64_t pivot = keys[low + (int64_t)tsr_rng_below(&rng, (uint64_t)(high - low + 1))];
        int64_t i = low, j = high;
        while (i <= j) {
            while (keys[i] > pivot) i++;
            while (keys[j] < pivot) j--;
            if (i <= j) swap(&keys[i++], &keys[j--]);
        }
        if (count - 1 <= j)
            high = j;
        else if (count - 1 >= i)
            low = i;
        else
            return;
    }
}

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

typedef struct selection {
    int64_t count, n, capacity;
    uint64_t *keys;
    float threshold; /* what is not above it cannot be among the best */
} selection;

static void shrink(selection *s)
{
    largest_first(s->keys, s->n, s->count);
    s->n = s->count;
    uint64_t least = s->keys[0];
    for (int64_t i = 1; i < s->n; i++)
        if (s->keys[i] < least) least = s->keys[i];
    s->threshold = tsr_candidate_logit(least);
}

/* Ids come in ascending order, so a value equal to the threshold has a higher id than all that are kept: it
 * loses. */
static void consider(selection *s, const float *x, int64_t n, int32_t first_id)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] > s->threshold)) continue;
        s->keys[s->n++] = tsr_candidate(x[i], first_id + (int32_t)i);
        if (s->n == s->capacity) shrink(s);
    }
}

void tsr_candidates_select(const float *x, int64_t n, int32_t first_id, int64_t count, uint64_t *scratch,
                           uint64_t *list)
{
    if (count == 0) return;
    selection s = {
        .count = count, .capacity = tsr_candidates_scratch(count), .keys = scratch, .threshold = -INFINITY};
    for (int64_t i = 0; i < n; i += TSR_SCAN_BLOCK) {
        int64_t m = tsr_min(n - i, TSR_SCAN_BLOCK);
        if (tsr_scan_any_above(x + i, m, s.threshold)) consider(&s, x + i, m, first_id + (int32_t)i);
    }
    if (s.n > count) shrink(&s);
    qsort(scratch, (size_t)s.n, sizeof *scratch, descending);
    memcpy(list, scratch, (size_t)s.n * sizeof *list);
    memset(list + s.n, 0, (size_t)(count - s.n) * sizeof *list);
}

void tsr_candidates_merge(const void *lists, int64_t stride, int n_lists, int64_t count, int64_t *at,
                          uint64_t *out)
{
    for (int i = 0; i < n_lists; i++) at[i] = 0;
    for (int64_t k = 0; k < count; k++) {
        int best = 0;
        uint64_t key = 0;
        for (int i = 0; i < n_lists; i++) {
            const uint64_t *list = (const uint64_t *)((const char *)lists + i * stride);
            if (at[i] < count && list[at[i]] > key) key = list[at[i]], best = i;
        }
        at[best]++; /* no matter where all lists are at their end */
        out[k] = key;
    }
}
