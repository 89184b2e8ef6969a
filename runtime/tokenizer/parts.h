/* parts.h: what a tokenizer is made of. Filled by a format (formats.h), used by encode.c and detokenizer.c.
 */
#ifndef TSR_TOKENIZER_PARTS_H
#define TSR_TOKENIZER_PARTS_H

#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/components.h"
#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/post_processor.h"
#include "runtime/tokenizer/tokenizer.h"

#include <pthread.h>

struct tsr_tokenizer {
    tsr_arena *arena; /* options of components */
    tsr_added_tokens *added;
    tsr_components normalizers, pre_tokenizers, decoders;
    tsr_model model;
    tsr_template around; /* special tokens before and behind a text */

    pthread_mutex_t lock; /* guards `idle`, buffers that no call uses */
    tsr_work *idle;
};

/* An empty tokenizer, to be filled. */
tsr_status tsr_tokenizer_create(tsr_tokenizer **out);

/* The buffers of one call. */
tsr_status tsr_tokenizer_take_work(const tsr_tokenizer *t, tsr_work **out);
void tsr_tokenizer_return_work(const tsr_tokenizer *t, tsr_work *work);

#endif
