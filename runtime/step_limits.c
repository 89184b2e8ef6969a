/* step_limits.c: the sizes every step is bounded by, checked once. */
#include "runtime/step_limits.h"

#include "base/checked.h"
#include "layers/kernel.h"

/* Far above any real engine, and small enough that products of two of them fit 64 bits and sums 32. */
enum {
    MOST_TOKENS = 1 << 20,
    MOST_SEQUENCES = 1 << 16,
    MOST_CONTEXT = 1 << 26,
    MOST_PAGES = 1 << 28,
    MOST_IDS = 1 << 26
};

/* Enough for what is common, at 2 MiB of token ids a step and 4 MiB of page tables. */
enum { SHARED_PAGES = 1 << 14, TABLE_PAGES = 1 << 20 };

static tsr_status in_range(const char *what, int32_t value, int32_t most)
{
    if (value >= 1 && value <= most) return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE, "%s must be 1 to %d, not %d", what, most, value);
}

tsr_status tsr_step_limits_check(const tsr_step_limits *limits)
{
    TSR_TRY(in_range("tokens of a step", limits->max_tokens, MOST_TOKENS));
    TSR_TRY(in_range("rows of a step", limits->max_rows, limits->max_tokens));
    TSR_TRY(in_range("sequences in flight", limits->max_sequences, MOST_SEQUENCES));
    TSR_TRY(in_range("context length", limits->max_context, MOST_CONTEXT));
    TSR_TRY(in_range("pages of the cache", limits->n_pages, MOST_PAGES));
    TSR_TRY(in_range("vocabulary size", limits->vocabulary, MOST_IDS));
    if (limits->max_sequences > limits->max_rows)
        return tsr_fail(TSR_ERR_USAGE,
                        "%d sequences in flight need as many tokens and rows in a step, which has %d rows",
                        limits->max_sequences, limits->max_rows);
    return TSR_OK;
}

int32_t tsr_pages_for(int64_t n_tokens)
{
    return (int32_t)((n_tokens + TSR_PAGE_TOKENS - 1) / TSR_PAGE_TOKENS);
}

int32_t tsr_most_shared_pages(const tsr_step_limits *limits)
{
    int64_t one = tsr_pages_for(limits->max_context), all = one * limits->max_sequences;
    return (int32_t)tsr_min(all, tsr_max(one, SHARED_PAGES));
}

int64_t tsr_most_table_pages(const tsr_step_limits *limits)
{
    int64_t all = (int64_t)tsr_pages_for(limits->max_context) * limits->max_sequences;
    return tsr_max(limits->n_pages, tsr_min(all, TABLE_PAGES));
}
