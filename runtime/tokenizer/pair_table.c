/* pair_table.c: open addressing, half full at most. */
#include "runtime/tokenizer/pair_table.h"
#include "runtime/tokenizer/hash.h"
#include "base/memory.h"

#include <string.h>

static const uint64_t no_pair = UINT64_MAX; /* ids are below 2^31, so no pair is this */

tsr_status tsr_pair_table_init(tsr_pair_table *t, int64_t pairs)
{
    void *p;
    *t = (tsr_pair_table){.seed = tsr_hash_seed(), .slots = 16};
    while (t->slots < pairs * 2) t->slots *= 2;
    TSR_TRY(tsr_alloc(t->slots * (int64_t)sizeof *t->slot, "a table of merges", &p));
    t->slot = memset(p, 0xFF, (size_t)t->slots * sizeof *t->slot);
    return TSR_OK;
}

void tsr_pair_table_free(tsr_pair_table *t)
{
    tsr_free(t->slot);
    *t = (tsr_pair_table){0};
}

static tsr_pair_merge *find(const tsr_pair_table *t, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right, mask = (uint64_t)t->slots - 1;
    uint64_t i = tsr_hash_word(t->seed, pair) & mask;
    while (t->slot[i].pair != pair && t->slot[i].pair != no_pair) i = (i + 1) & mask;
    return &t->slot[i];
}

void tsr_pair_table_put(tsr_pair_table *t, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    *find(t, left, right) = (tsr_pair_merge){(uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, id};
}

const tsr_pair_merge *tsr_pair_table_get(const tsr_pair_table *t, int32_t left, int32_t right)
{
    const tsr_pair_merge *m = find(t, left, right);
    return m->pair == no_pair ? NULL : m;
}
