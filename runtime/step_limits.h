/* step_limits.h: the sizes that bound every step, fixed when an engine starts and equal on every rank.
 *
 * All buffers of scheduling are sized from them once, and every number that arrives in a step record is
 * checked against them.
 */
#ifndef TSR_RUNTIME_STEP_LIMITS_H
#define TSR_RUNTIME_STEP_LIMITS_H

#include "base/status.h"

#include <stdint.h>

typedef struct tsr_step_limits {
    int32_t max_tokens;    /* tokens of one step: the token budget */
    int32_t max_sequences; /* sequences in flight (slots); at most max_tokens and max_rows */
    int32_t max_rows;      /* rows of logits one step may ask for; at most max_tokens */
    int32_t max_context;   /* tokens of one sequence, prompt and new ones together */
    int32_t n_pages;       /* pages of the KV cache, TSR_PAGE_TOKENS tokens each */
    int32_t vocabulary;    /* ids are 0 .. vocabulary - 1 */
} tsr_step_limits;

/* TSR_ERR_USAGE naming the number that is out of range. Local. */
tsr_status tsr_step_limits_check(const tsr_step_limits *limits);

/* Pages that hold n tokens. */
int32_t tsr_pages_for(int64_t n_tokens);

/* Most pages that the sequences beginning in one step share with others: at the least those of one sequence. */
int32_t tsr_most_shared_pages(const tsr_step_limits *limits);
/* Most pages in the page tables of all sequences together, a page counting for each that has it: at the least n_pages. */
int64_t tsr_most_table_pages(const tsr_step_limits *limits);

#endif
