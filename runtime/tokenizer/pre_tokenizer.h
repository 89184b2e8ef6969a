/* pre_tokenizer.h: cutting text into the pieces that the model sees: the "pre_tokenizer" of a tokenizer.json.
 */
#ifndef TSR_TOKENIZER_PRE_TOKENIZER_H
#define TSR_TOKENIZER_PRE_TOKENIZER_H

#include "runtime/tokenizer/components.h"
#include "runtime/tokenizer/work.h"

/* Cuts, and perhaps rewrites, the pieces in work->now that are no tokens yet. */
typedef tsr_status (*tsr_pre_tokenize)(const void *state, tsr_work *work);

typedef struct tsr_pre_tokenizer_kind {
    tsr_component_kind base;
    tsr_pre_tokenize run;
} tsr_pre_tokenizer_kind;

tsr_status tsr_pre_tokenizers_load(tsr_object o, tsr_arena *arena, tsr_components *out);
tsr_status tsr_pre_tokenizers_run(const tsr_components *c, tsr_work *work);

/* For steps that change the text: each writes the pieces to work->next, then all are exchanged with
 * work->now. `rewrite` gets one piece of text and appends what becomes of it. */
typedef tsr_status (*tsr_rewrite_piece)(const void *state, tsr_work *work, const char *text, int64_t n,
                                        bool at_start);
tsr_status tsr_pieces_rewrite(const void *state, tsr_work *work, tsr_rewrite_piece rewrite);

/* metaspace.c */
tsr_status tsr_metaspace_pre_tokenize(const void *state, tsr_work *work);

#endif
