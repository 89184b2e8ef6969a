/* bloom.c: BLOOM: ALiBi instead of positions, a norm behind the embedding, q, k and v of each head side by side in one
 * tensor. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

typedef struct bloom_config {
    int64_t vocabulary, hidden, layers, heads, head_dim;
    float eps;
    bool normed_residual, tied;
} bloom_config;

static tsr_status read_config(tsr_object config, bloom_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 250880, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "n_embed|hidden_size", 64, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "n_layer|num_hidden_layers", 2, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "n_head|num_attention_heads", 8, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_object_bool(config, "apply_residual_connection_post_layernorm", false, &c->normed_residual));
    return tsr_object_bool(config, "tie_word_embeddings", true, &c->tied);
}

static tsr_status layer(tsr_graph *g, const bloom_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    tsr_layer_block l = {.order = TSR_LAYER_PRE, .normed_residual = c->normed_residual};
    g->current_layer = index;
    l.attention = tsr_attention_sized(c->heads, c->heads, c->head_dim);
    l.attention.spec.alibi = 1;
    l.attention.spec.alibi_max = 8;
    l.mlp.activation = TSR_ACT_GELU_TANH;
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.h.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "input_layernorm", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(
        tsr_norm_load(m, at, "post_attention_layernorm", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[1]));
    TSR_TRY(tsr_attention_load_fused(m, at, "self_attention.query_key_value", c->heads, e, TSR_BIAS,
                                     &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "self_attention.dense", e, e, TSR_BIAS, &l.attention.out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_h_to_4h", 4 * e, e, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_4h_to_h", e, 4 * e, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

tsr_status tsr_build_bloom(tsr_object config, tsr_model *m)
{
    bloom_config c;
    tsr_norm_weights embedding_norm, norm;
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1, .norm = &embedding_norm};
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    TSR_TRY(tsr_config_size(config, "seq_length|max_position_embeddings", 2048, TSR_MAX_POSITIONS,
                            &m->max_positions));
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c.vocabulary, c.hidden, "transformer.word_embeddings.weight"));
    TSR_TRY(tsr_norm_load(m, "transformer.", "word_embeddings_layernorm", c.hidden, TSR_NORM_LAYER, c.eps,
                          TSR_BIAS, &embedding_norm));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c.layers; i++) TSR_TRY(layer(g, &c, i, &x));
    TSR_TRY(tsr_norm_load(m, "transformer.", "ln_f", c.hidden, TSR_NORM_LAYER, c.eps, TSR_BIAS, &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "lm_head", .tied = c.tied ? e.words : TSR_NONE});
}
