/* merge_queue.c: a binary heap beside a list in an array: a word of n symbols takes O(n log n). */
#include "runtime/tokenizer/merge_queue.h"
#include "base/memory.h"

enum { KEEP_SYMBOLS = 4096 };

void tsr_merge_queue_free(tsr_merge_queue *q)
{
    tsr_free(q->symbol);
    tsr_free(q->heap);
    *q = (tsr_merge_queue){0};
}

void tsr_merge_queue_clear(tsr_merge_queue *q)
{
    q->symbols = q->merges = 0;
}

void tsr_merge_queue_trim(tsr_merge_queue *q)
{
    if (q->symbol_capacity > KEEP_SYMBOLS || q->heap_capacity > 4 * KEEP_SYMBOLS) tsr_merge_queue_free(q);
}

tsr_status tsr_merge_queue_add(tsr_merge_queue *q, tsr_symbol s)
{
    TSR_TRY(tsr_grow((void **)&q->symbol, &q->symbol_capacity, q->symbols + 1, sizeof *q->symbol,
                     "the symbols of a word"));
    s.prev = (int32_t)q->symbols - 1;
    s.next = -1;
    if (q->symbols > 0) q->symbol[q->symbols - 1].next = (int32_t)q->symbols;
    q->symbol[q->symbols++] = s;
    return TSR_OK;
}

tsr_status tsr_merge_queue_push(tsr_merge_queue *q, uint32_t priority, int32_t left, int32_t id, int32_t size)
{
    TSR_TRY(tsr_grow((void **)&q->heap, &q->heap_capacity, q->merges + 1, sizeof *q->heap,
                     "the merges of a word"));
    tsr_merge m = {(uint64_t)priority << 32 | (uint32_t)left, id, size};
    int64_t i = q->merges++;
    for (int64_t parent; i > 0 && q->heap[parent = (i - 1) / 2].key > m.key; i = parent)
        q->heap[i] = q->heap[parent];
    q->heap[i] = m;
    return TSR_OK;
}

bool tsr_merge_queue_pop(tsr_merge_queue *q, tsr_merge *out, int32_t *left)
{
    if (q->merges == 0) return false;
    *out = q->heap[0];
    *left = (int32_t)(uint32_t)out->key;
    tsr_merge m = q->heap[--q->merges];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < q->merges; i = child) {
        if (child + 1 < q->merges && q->heap[child + 1].key < q->heap[child].key) child++;
        if (q->heap[child].key >= m.key) break;
        q->heap[i] = q->heap[child];
    }
    q->heap[i] = m;
    return true;
}

void tsr_merge_queue_join(tsr_merge_queue *q, int32_t left, int32_t id)
{
    tsr_symbol *l = &q->symbol[left], *r = &q->symbol[l->next];
    l->id = id;
    l->end = r->end;
    l->next = r->next;
    if (r->next >= 0) q->symbol[r->next].prev = left;
    r->begin = r->end;
}
