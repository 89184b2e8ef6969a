/* merge_queue.h: the symbols of a word as a linked list, and the queue of merges that are possible in it.
 * Both ways of BPE use it: merges in order of rank (bpe.c) and of score (sentencepiece_bpe.c). Memory is kept
 * between words. */
#ifndef TSR_TOKENIZER_MERGE_QUEUE_H
#define TSR_TOKENIZER_MERGE_QUEUE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_symbol {
    int32_t id;         /* bpe.c: the token; sentencepiece_bpe.c: the piece, -1 if none */
    int32_t prev, next; /* -1: none */
    int32_t begin, end; /* bytes of the word; begin == end: merged into another symbol */
    bool frozen;        /* never merges */
} tsr_symbol;

typedef struct tsr_merge {
    uint64_t key; /* least first: priority << 32 | position of the left symbol */
    int32_t id;   /* of the result */
    int32_t size; /* sentencepiece_bpe.c: bytes of the result */
} tsr_merge;

typedef struct tsr_merge_queue {
    tsr_symbol *symbol;
    int64_t symbols, symbol_capacity;
    tsr_merge *heap;
    int64_t merges, heap_capacity;
} tsr_merge_queue;

void tsr_merge_queue_free(tsr_merge_queue *q);
void tsr_merge_queue_clear(tsr_merge_queue *q);
/* Gives back the memory of a long word. */
void tsr_merge_queue_trim(tsr_merge_queue *q);

/* Appends a symbol behind the last one. */
tsr_status tsr_merge_queue_add(tsr_merge_queue *q, tsr_symbol s);
tsr_status tsr_merge_queue_push(tsr_merge_queue *q, uint32_t priority, int32_t left, int32_t id,
                                int32_t size);
/* Takes the first merge: false if there is none. *left = position of its left symbol. */
bool tsr_merge_queue_pop(tsr_merge_queue *q, tsr_merge *out, int32_t *left);
/* Joins the symbol after `left` to it, as token `id`. */
void tsr_merge_queue_join(tsr_merge_queue *q, int32_t left, int32_t id);

#endif
