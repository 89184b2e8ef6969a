/* language_model.h: what stands below and above the layers of a language model: embeddings and head.
 *
 * Errors as in layers/graph.h. Local.
 */
#ifndef TSR_LAYERS_BLOCKS_LANGUAGE_MODEL_H
#define TSR_LAYERS_BLOCKS_LANGUAGE_MODEL_H

#include "layers/blocks/projection.h"

typedef struct tsr_embedding_block {
    tsr_weight words;     /* [vocabulary, E] */
    tsr_weight positions; /* learned [max positions + offset, E], or TSR_NONE */
    long position_offset; /* row of position 0 */
    float scale;          /* multiplies the words' rows; 1 for most */
} tsr_embedding_block;

/* out [T, E] = scale * words[id] + positions[position + offset] */
tsr_status tsr_embed_tokens(tsr_graph *g, const tsr_embedding_block *e, tsr_value *out);

/* Selects the wanted rows, norms them alone (`norm` may be NULL: no final norm) and makes them the graph's
 * output: logits [R, vocabulary]. A tied head is the weight of the word embedding itself, which is then
 * stored once. */
tsr_status tsr_lm_head(tsr_graph *g, tsr_value x, const tsr_norm_weights *norm, const tsr_projection *head);

#endif
