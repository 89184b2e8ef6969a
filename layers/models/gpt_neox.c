/* gpt_neox.c: GPT-NeoX and Pythia: rotary positions on part of each head, attention and MLP in parallel or in
 * turn. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <math.h>

typedef struct gpt_neox_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions;
    int rope; /* table of the model */
    float eps;
    tsr_activation activation;
    bool parallel, attention_bias, tied;
} gpt_neox_config;

static tsr_status read_config(tsr_object config, gpt_neox_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 50432, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 6144, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 24576, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 44, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 64, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 2048, TSR_MAX_POSITIONS, &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_eps", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "hidden_act", "gelu", &c->activation));
    TSR_TRY(tsr_object_bool(config, "use_parallel_residual", true, &c->parallel));
    TSR_TRY(tsr_object_bool(config, "attention_bias", true, &c->attention_bias));
    return tsr_object_bool(config, "tie_word_embeddings", false, &c->tied);
}

/* The rotated part of a head is rounded down. */
static tsr_status add_rope(tsr_object config, tsr_model *m, gpt_neox_config *c)
{
    double fraction;
    TSR_TRY(tsr_config_rotary_fraction(config, "rotary_pct|partial_rotary_factor", 0.25, &fraction));
    int64_t dims = (int64_t)((double)c->head_dim * fraction);
    return tsr_config_rope(config, m, dims, c->head_dim, "rotary_emb_base|rope_theta", &c->rope);
}

static tsr_status attention(tsr_model *m, const char *at, const gpt_neox_config *c, tsr_attention_block *a)
{
    int64_t e = c->hidden, d = c->head_dim;
    unsigned bias = c->attention_bias ? TSR_BIAS : 0;
    tsr_fused qkv; /* [heads, 3, d] */
    *a = (tsr_attention_block){.rope = c->rope, .rope_style = TSR_ROPE_HALF};
    a->spec.heads = a->spec.kv_heads = (int)c->heads;
    a->spec.head_dim = (int)d;
    a->spec.scale = (float)(1 / sqrt((double)d));
    TSR_TRY(tsr_fused_open(m, at, "attention.query_key_value", 3 * e, e, bias, &qkv));
    TSR_TRY(tsr_fused_part(m, &qkv, c->heads, 0, d, "q", &a->q));
    TSR_TRY(tsr_fused_part(m, &qkv, c->heads, d, d, "k", &a->k));
    TSR_TRY(tsr_fused_part(m, &qkv, c->heads, 2 * d, d, "v", &a->v));
    return tsr_projection_load(m, at, "attention.dense", e, e, bias, &a->out);
}

static tsr_status layer(tsr_graph *g, const gpt_neox_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    tsr_layer_block l = {.order = c->parallel ? TSR_LAYER_PARALLEL_TWO_NORM : TSR_LAYER_PRE};
    g->current_layer = index;
    l.mlp.activation = c->activation;
    TSR_TRY(tsr_arena_format(m->arena, &at, "gpt_neox.layers.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "input_layernorm", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(
        tsr_norm_load(m, at, "post_attention_layernorm", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[1]));
    TSR_TRY(attention(m, at, c, &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_h_to_4h", c->ffn, e, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_4h_to_h", e, c->ffn, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

static tsr_status decode_graph(tsr_model *m, const gpt_neox_config *c)
{
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c->vocabulary, c->hidden, "gpt_neox.embed_in.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c->layers; i++) TSR_TRY(layer(g, c, i, &x));
    TSR_TRY(tsr_norm_load(m, "gpt_neox.", "final_layer_norm", c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS,
                          &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "embed_out", .tied = c->tied ? e.words : TSR_NONE});
}

tsr_status tsr_build_gpt_neox(tsr_object config, tsr_model *m)
{
    gpt_neox_config c;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    TSR_TRY(add_rope(config, m, &c));
    return decode_graph(m, &c);
}
