/* pair_table.h: what two neighbouring tokens merge to, and in which order merges go. Built once, then only
 * read. */
#ifndef TSR_TOKENIZER_PAIR_TABLE_H
#define TSR_TOKENIZER_PAIR_TABLE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_pair_merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* lower goes first */
    int32_t id;    /* of the merged token */
} tsr_pair_merge;

typedef struct tsr_pair_table {
    tsr_pair_merge *slot; /* [slots], open addressing */
    int64_t slots;
    uint64_t seed;
} tsr_pair_table;

tsr_status tsr_pair_table_init(tsr_pair_table *t, int64_t pairs);
void tsr_pair_table_free(tsr_pair_table *t);
/* At most as many pairs as announced. A pair that exists takes the new rank. */
void tsr_pair_table_put(tsr_pair_table *t, int32_t left, int32_t right, uint32_t rank, int32_t id);
/* NULL: the two do not merge. */
const tsr_pair_merge *tsr_pair_table_get(const tsr_pair_table *t, int32_t left, int32_t right);

#endif
