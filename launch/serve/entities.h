/* entities.h: the labels of a text's tokens, one by one or put together to what they name.
 *
 *     none      each token by itself
 *     simple    neighbours of one tag are one: "B-PER", "I-PER" are both of the tag PER, and a "B-" begins anew
 *     first     a word has the label of its first token, then as simple; a word ends at a blank
 *     average   the same with the mean of its tokens' scores
 *     max       the same with the label of the token that is surest
 *
 * The names and rules are those of token classification in transformers' pipelines. Scores are the softmax of a token's
 * logits; of several together the mean. Special tokens have no labels. Local; thread-safe.
 */
#ifndef TSR_LAUNCH_SERVE_ENTITIES_H
#define TSR_LAUNCH_SERVE_ENTITIES_H

#include "launch/serve/call.h"
#include "runtime/tokenizer/tokenizer.h"

typedef struct tsr_labelled_text {
    const tsr_tokenizer *tokenizer;
    const char *text; /* [length] */
    int64_t length;
    const int32_t *ids; /* [n_ids] of the text */
    int64_t n_ids;
    const float *logits;      /* [n_ids][labels] */
    const char *const *label; /* [labels] */
    int64_t labels;
} tsr_labelled_text;

typedef struct tsr_entity {
    int64_t first, last; /* its tokens */
    int64_t start, end;  /* in characters of the text; -1: not known (text_places.h) */
    int32_t label;
    bool goes_on; /* its first token is no beginning of a word */
    double score;
} tsr_entity;

/* entities [n_ids], of which *n are filled, in the order of the text. */
tsr_status tsr_entities_find(const tsr_labelled_text *t, tsr_aggregation how, tsr_entity *entities,
                             int64_t *n);

/* "PER" of "B-PER": what is behind the first '-'; all of a label without one. */
const char *tsr_entity_group(const char *label);

#endif
