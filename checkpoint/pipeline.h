/* pipeline.h: GPT-NeoX, BLOOM and GPT-2 as they are trained in a pipeline of layers, listed as Hugging Face would store
 * them.
 *
 * A pipeline is a row of layers: the embedding, the transformer's, the final norm, the head; between them stand some
 * without weights, which count. Each layer stores its weights under names of its own, once a model-parallel rank:
 *
 *     word_embeddings.weight, final_linear.weight             rows of the vocabulary, which is padded to make it divisible
 *     query_key_value.{weight,bias}, dense_h_to_4h.{weight,bias}  rows; q, k and v of each head side by side: [heads, 3, D]
 *     dense.weight, dense_4h_to_h.weight                      columns
 *     dense.bias, dense_4h_to_h.bias, norms                   whole, on each rank
 *
 * In GPT-NeoX with use_parallel_residual each rank adds its own bias before the sum over the ranks is taken, so what the
 * model has is the sum of these biases; norms, and biases without that, are the mean of the ranks' own. In Megatron's
 * code (BLOOM, GPT-2) those are equal, and the first rank's are taken.
 *
 * Which model it is, its vocabulary and the kind of residual come from config.json of the model's folder; without one
 * the names tell, and nothing is trimmed. GPT-2 is for megatron.h to put together, as version 2 of its layout; it needs
 * the config. A tensor of a name that the model does not have is refused.
 *
 * Errors: TSR_ERR_FORMAT with a line naming file and tensor; TSR_ERR_IO; TSR_ERR_MEMORY. Private to checkpoint/; local.
 */
#ifndef TSR_CHECKPOINT_PIPELINE_H
#define TSR_CHECKPOINT_PIPELINE_H

#include "checkpoint/state.h"

/* Lists what the states of n model-parallel ranks are together. They are sorted; names are "LAYER.NAME":
 * "2.attention.dense.bias". `file[r]` is where rank r's come from, for messages. */
tsr_status tsr_pipeline_list(tsr_source *source, const tsr_state *ranks, int n, const char *const *file);

/* Do the names all begin with "sequential.", as those of a pipeline of one stage do? Then that is taken off. */
bool tsr_pipeline_is_sequential(tsr_state *state);

/* --- The insides --- */

typedef enum tsr_pipeline_cut {
    TSR_PIPELINE_DROPPED, /* a buffer that is computed anew */
    TSR_PIPELINE_ROWS,
    TSR_PIPELINE_COLUMNS,
    TSR_PIPELINE_VOCABULARY, /* rows, with padding at the end */
    TSR_PIPELINE_BIAS,       /* whole: of a linear that is cut by columns */
    TSR_PIPELINE_NORM        /* whole */
} tsr_pipeline_cut;

typedef struct tsr_pipeline_place {
    const char *neox,
        *bloom; /* Hugging Face's name without ".weight"; in a layer: behind the layer's; NULL: has none */
    const char *leaf; /* "weight", "bias" */
    tsr_pipeline_cut cut;
} tsr_pipeline_place;

/* "12.REST": the rest, and the layer, 0 .. TSR_PIPELINE_LAYER_CAP - 1; NULL if it is none. */
enum { TSR_PIPELINE_LAYER_CAP = 1 << 16 };
const char *tsr_pipeline_rest(const char *name, int *layer);

/* pipeline_gpt2.c: the same for GPT-2. layer: [LAYER_CAP], which one of the transformer's it is; -1: none of them. */
tsr_status tsr_pipeline_list_gpt2(tsr_source *source, const tsr_state *ranks, int n, const char *const *file,
                                  const int *layer);

/* pipeline_names.c: what a name within a layer stands for. False: nothing that is known. */
bool tsr_pipeline_find(const char *name, bool transformer, tsr_pipeline_place *out);

#endif
