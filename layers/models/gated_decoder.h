/* gated_decoder.h: what families with a gated MLP share beside their names: a stack of layers in any order of norms,
 * under a final norm and a head.
 *
 * A family's file reads its config, fills in a tsr_gated_decoder and says through `load` how attention and MLP of
 * a layer lie in the checkpoint. Errors as in layers/graph.h. Local.
 */
#ifndef TSR_LAYERS_MODELS_GATED_DECODER_H
#define TSR_LAYERS_MODELS_GATED_DECODER_H

#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"

typedef struct tsr_gated_decoder {
    int64_t vocabulary, hidden, layers;
    tsr_layer_order order;   /* 0: TSR_LAYER_PRE */
    tsr_norm_kind norm_kind; /* TSR_NORM_LAYER: with biases */
    float eps;
    bool tied;
    bool normed_residual;    /* see transformer_layer.h */
    bool unit_head;          /* rows of the head are brought to length 1 */
    const char *embedding;   /* "model.embed_tokens" */
    const char *layer_scope; /* "model.layers." + index + "." + ... */
    const char *norm[4];     /* within a layer: "input_layernorm"; as many as the order has */
    const char *final_norm;  /* "model.norm"; NULL: none */
    const char *head;        /* "lm_head" */
    const void *config;      /* for `load` */
    /* Fills attention and MLP of the layer whose names begin with `at`; both come zeroed. */
    tsr_status (*load)(tsr_model *m, const char *at, const void *config, tsr_layer_block *layer);
} tsr_gated_decoder;

/* Adds the graph "decode". */
tsr_status tsr_gated_decoder_build(tsr_model *m, const tsr_gated_decoder *d);

/* gate, up and down of a gated MLP under their names within a layer. */
tsr_status tsr_gated_mlp_load(tsr_model *m, const char *at, const char *const names[3], int64_t hidden,
                              int64_t ffn, unsigned flags, tsr_mlp_block *out);

#endif
