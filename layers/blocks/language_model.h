/* language_model.h: what stands below and above the layers of a language model: embeddings and head.
 *
 * Errors as in layers/graph.h. Local.
 */
#ifndef TSR_LAYERS_BLOCKS_LANGUAGE_MODEL_H
#define TSR_LAYERS_BLOCKS_LANGUAGE_MODEL_H

#include "layers/blocks/projection.h"

typedef struct tsr_embedding_block {
    tsr_weight words;              /* [vocabulary, E], or narrower with a projection */
    tsr_weight positions;          /* [max positions + offset, E], or TSR_NONE */
    long position_offset;          /* row of position 0 */
    float scale;                   /* multiplies the words' rows; 1 for most */
    const tsr_projection *project; /* of the words, before positions are added; NULL: none */
    const tsr_norm_weights *norm;  /* of the sum; NULL: none */
} tsr_embedding_block;

/* out [T, E] = norm(project(scale * words[id]) + positions[position + offset]) */
tsr_status tsr_embed_tokens(tsr_graph *g, const tsr_embedding_block *e, tsr_value *out);

/* The table of positions that fairseq models compute: half of row r's columns are sin(r f_i), the other half
 * cos(r f_i), f_i = 10000^(-i / (half - 1)); the last of an odd number of columns is 0. */
void tsr_sinusoid_row(int64_t row, int64_t cols, float *out);

/* The head's weights: those of the tensor `name`, or the word embedding `tied` itself, stored once, unless that is
 * TSR_NONE; and `name`.bias [vocabulary] if the flags say so. */
tsr_status tsr_head_load(tsr_model *m, tsr_weight tied, const char *name, int64_t vocabulary, int64_t hidden,
                         unsigned flags, tsr_projection *out);

/* Selects the wanted rows, norms them alone (`norm` may be NULL: no final norm), projects them (`project` NULL: not)
 * and makes them the graph's output: logits [R, vocabulary]. */
tsr_status tsr_projected_head(tsr_graph *g, tsr_value x, const tsr_norm_weights *norm,
                              const tsr_projection *project, const tsr_projection *head);
tsr_status tsr_lm_head(tsr_graph *g, tsr_value x, const tsr_norm_weights *norm, const tsr_projection *head);

#endif
