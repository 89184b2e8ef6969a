/* model.h: from a piece of text to token ids: the "model" of a tokenizer. One row and one file for each kind.
 */
#ifndef TSR_TOKENIZER_MODEL_H
#define TSR_TOKENIZER_MODEL_H

#include "runtime/tokenizer/token_list.h"
#include "runtime/tokenizer/vocabulary.h"
#include "runtime/tokenizer/work.h"
#include "base/json.h"

typedef struct tsr_model tsr_model;

typedef struct tsr_model_kind {
    const char *type;
    /* Reads the "model" object. NULL for models that come from another file. */
    tsr_status (*load)(tsr_object o, tsr_model *model);
    /* Appends the ids of text[0..n), n > 0. May keep things in work->model, which belongs to this model. */
    tsr_status (*encode)(const tsr_model *model, tsr_work *work, const char *text, int64_t n,
                         tsr_token_list *out);
    void (*release)(tsr_model *model);
    void (*release_work)(void *work_model);
    void (*trim_work)(void *work_model); /* gives back what only a long text needed */
    /* Whether a piece of the model itself is a special token; NULL: none is. */
    bool (*is_special)(const tsr_model *model, int32_t id);
} tsr_model_kind;

struct tsr_model {
    const tsr_model_kind *kind;
    tsr_vocabulary *vocabulary;
    void *state;
};

extern const tsr_model_kind tsr_model_bpe, tsr_model_unigram, tsr_model_sentencepiece,
    tsr_model_sentencepiece_unigram, tsr_model_tiktoken;

/* Chooses by "type"; older files without one are recognized by their "merges". TSR_ERR_FORMAT. */
tsr_status tsr_model_load(tsr_object o, tsr_model *out);
void tsr_model_release(tsr_model *model);

#endif
