/* work.h: what one call of encode needs for itself. A tokenizer keeps a few of these, so that its own state
 * never changes and any number of threads may use it. */
#ifndef TSR_TOKENIZER_WORK_H
#define TSR_TOKENIZER_WORK_H

#include "runtime/tokenizer/pieces.h"
#include "runtime/tokenizer/regex.h"

typedef struct tsr_work {
    tsr_regex_work *regex;
    tsr_pieces now, next; /* the text as cut so far, and where a step writes that changes the text */
    tsr_text text[2];     /* steps of the normalizer */
    tsr_spans spans;      /* of one pattern in one piece */
    void *model;          /* the model's own (model.h) */
    struct tsr_work *link;
} tsr_work;

tsr_status tsr_work_create(tsr_work **out);
void tsr_work_destroy(tsr_work **work); /* leaves `model` to its owner */

/* Prepares for a text of n bytes: empties the buffers, sets their caps in proportion, starts the clock. */
void tsr_work_reset(tsr_work *work, int64_t n);
/* Gives back the memory that only a long text needed. */
void tsr_work_trim(tsr_work *work);

#endif
