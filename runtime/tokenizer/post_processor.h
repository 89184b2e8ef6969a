/* post_processor.h: which special tokens stand around an encoded text: the "post_processor" of a
 * tokenizer.json. */
#ifndef TSR_TOKENIZER_POST_PROCESSOR_H
#define TSR_TOKENIZER_POST_PROCESSOR_H

#include "runtime/tokenizer/components.h"

#include <stdint.h>

enum { TSR_TEMPLATE_TEXT = -1, TSR_TEMPLATE_CAP = 64 };

/* Ids in order; TSR_TEMPLATE_TEXT stands for those of the text. */
typedef struct tsr_template {
    int32_t item[TSR_TEMPLATE_CAP];
    int count;
} tsr_template;

/* o.object may be NULL: the text alone. TSR_ERR_FORMAT. Templates for pairs of texts are not read. */
tsr_status tsr_post_processor_load(tsr_object o, tsr_arena *arena, tsr_template *out);

#endif
