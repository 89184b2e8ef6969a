/* opt.c: decoders of the fairseq line: OPT, with learned positions, and XGLM, with computed ones.
 *
 * Both have plain layers under the same names; OPT's may be post-norm (the 350m), without biases or without weights in
 * its norms, and its embedding may be narrower than its layers.
 */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <math.h>

enum { POSITION_OFFSET = 2 }; /* row of the first position */

static const float EPSILON = 1e-5f; /* no config states it */

typedef struct opt_config {
    int64_t vocabulary, hidden, width, ffn, layers, heads, head_dim, positions; /* width: of the embedding */
    tsr_activation activation;
    bool pre_norm, final_norm, bias, norm_weights, tied, scaled;
    const char *scope; /* of everything but the head */
} opt_config;

static tsr_status load_norm(tsr_model *m, const opt_config *c, const char *at, const char *name,
                            tsr_norm_weights *out)
{
    *out = (tsr_norm_weights){.kind = TSR_NORM_LAYER, .eps = EPSILON, .w = TSR_NONE, .b = TSR_NONE};
    return c->norm_weights ? tsr_norm_load(m, at, name, c->hidden, TSR_NORM_LAYER, EPSILON, TSR_BIAS, out)
                           : TSR_OK;
}

static tsr_status layer(tsr_graph *g, const opt_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    unsigned bias = c->bias ? TSR_BIAS : 0;
    tsr_layer_block l = {.order = c->pre_norm ? TSR_LAYER_PRE : TSR_LAYER_POST,
                         .mlp.activation = c->activation};
    tsr_attention_block *a = &l.attention;
    g->current_layer = index;
    *a = tsr_attention_sized(c->heads, c->heads, c->head_dim);
    TSR_TRY(tsr_arena_format(m->arena, &at, "%slayers.%d.", c->scope, index));
    TSR_TRY(load_norm(m, c, at, "self_attn_layer_norm", &l.norm[0]));
    TSR_TRY(load_norm(m, c, at, "final_layer_norm", &l.norm[1]));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.q_proj", e, e, bias, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.k_proj", e, e, bias, &a->k));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.v_proj", e, e, bias, &a->v));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.out_proj", e, e, bias, &a->out));
    TSR_TRY(tsr_projection_load(m, at, "fc1", c->ffn, e, bias, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "fc2", e, c->ffn, bias, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

/* `e` comes with its positions. */
static tsr_status decode_graph(tsr_model *m, const opt_config *c, tsr_embedding_block e,
                               const char *final_norm)
{
    tsr_projection in, out;
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    bool narrow = c->width != c->hidden;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c->vocabulary, c->width, "%sembed_tokens.weight", c->scope));
    if (narrow) {
        TSR_TRY(tsr_projection_load(m, c->scope, "project_in", c->hidden, c->width, 0, &in));
        TSR_TRY(tsr_projection_load(m, c->scope, "project_out", c->width, c->hidden, 0, &out));
        e.project = &in;
    }
    e.position_offset = POSITION_OFFSET;
    e.scale = c->scaled ? (float)sqrt((double)c->hidden) : 1;
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c->layers; i++) TSR_TRY(layer(g, c, i, &x));
    if (c->final_norm) TSR_TRY(load_norm(m, c, c->scope, final_norm, &norm));
    return tsr_model_head(g, x,
                          &(tsr_head_block){.norm = c->final_norm ? &norm : NULL,
                                            .project = narrow ? &out : NULL,
                                            .name = "lm_head",
                                            .tied = c->tied ? e.words : TSR_NONE});
}

static void describe(tsr_model *m, const opt_config *c)
{
    m->vocabulary = c->vocabulary;
    m->max_positions = c->positions;
    m->positions_are_hard = true;
}

static tsr_status read_opt(tsr_object config, opt_config *c)
{
    bool removed;
    TSR_TRY(tsr_config_size(config, "vocab_size", 50272, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 768, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "word_embed_proj_dim", c->hidden, TSR_MAX_HIDDEN, &c->width));
    TSR_TRY(tsr_config_size(config, "ffn_dim", 3072, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 12, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 12, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 2048,
                            TSR_MAX_LEARNED_POSITIONS - POSITION_OFFSET, &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_activation(config, "activation_function", "relu", &c->activation));
    TSR_TRY(tsr_object_bool(config, "do_layer_norm_before", true, &c->pre_norm));
    TSR_TRY(tsr_object_bool(config, "_remove_final_layer_norm", false, &removed));
    TSR_TRY(tsr_object_bool(config, "enable_bias", true, &c->bias));
    TSR_TRY(tsr_object_bool(config, "layer_norm_elementwise_affine", true, &c->norm_weights));
    c->final_norm = c->pre_norm && !removed;
    return tsr_object_bool(config, "tie_word_embeddings", true, &c->tied);
}

tsr_status tsr_build_opt(tsr_object config, tsr_model *m)
{
    opt_config c = {.scope = "model.decoder."};
    tsr_embedding_block e = {0};
    TSR_TRY(read_opt(config, &c));
    describe(m, &c);
    m->classifier.pad_id = 1;
    TSR_TRY(tsr_model_matrix(m, &e.positions, c.positions + POSITION_OFFSET, c.hidden,
                             "%sembed_positions.weight", c.scope));
    return decode_graph(m, &c, e, "final_layer_norm");
}

static tsr_status read_xglm(tsr_object config, opt_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 256008, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "d_model|hidden_size", 1024, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "ffn_dim", 4096, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_layers|num_hidden_layers", 24, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "attention_heads|num_attention_heads", 16, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 2048,
                            TSR_MAX_LEARNED_POSITIONS - POSITION_OFFSET, &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_activation(config, "activation_function", "gelu", &c->activation));
    TSR_TRY(tsr_object_bool(config, "scale_embedding", true, &c->scaled));
    c->width = c->hidden;
    return tsr_object_bool(config, "tie_word_embeddings", true, &c->tied);
}

tsr_status tsr_build_xglm(tsr_object config, tsr_model *m)
{
    opt_config c = {
        .pre_norm = true, .final_norm = true, .bias = true, .norm_weights = true, .scope = "model."};
    tsr_embedding_block e = {0};
    TSR_TRY(read_xglm(config, &c));
    if (c.hidden < 4)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"d_model\" must be at least 4 for computed positions, found %lld", config.where,
                        (long long)c.hidden);
    describe(m, &c);
    TSR_TRY(tsr_model_add_computed(m, "positions (computed)", tsr_sinusoid_row, c.positions + POSITION_OFFSET,
                                   c.hidden, &e.positions));
    return decode_graph(m, &c, e, "layer_norm");
}
