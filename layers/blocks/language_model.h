/* language_model.h: what stands below and above the layers of a language model: embeddings and heads.
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

/* What stands above the layers: a language model's head or, if the model classifies (model->task), the classifier
 * in its place. The selected rows alone are normed, projected and become the graph's output: logits [R, vocabulary],
 * or [R, labels]. */
typedef struct tsr_head_block {
    const tsr_norm_weights *norm;  /* NULL: no final norm */
    const tsr_projection *project; /* of the rows, in front of the head; NULL: none */
    const char *name;              /* of the language model's head, "lm_head": NAME.weight [vocabulary, E] */
    tsr_weight tied; /* the word embedding that stands in for NAME.weight, stored once; or TSR_NONE */
    unsigned flags;  /* TSR_BIAS: there is NAME.bias [vocabulary], tied or not */
    bool unit_rows;  /* the rows of NAME.weight are brought to length 1; not of a tied one */
} tsr_head_block;

/* Ends a graph whose last layer gave x. model->vocabulary has been set. */
tsr_status tsr_model_head(tsr_graph *g, tsr_value x, const tsr_head_block *head);

#endif
