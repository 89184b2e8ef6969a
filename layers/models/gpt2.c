/* gpt2.c: GPT-2: pre-norm, learned positions, plain MLP; linear weights stored [in, out], q, k and v in one
 * tensor. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <math.h>

typedef struct gpt2_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions;
    float eps;
    tsr_activation activation;
    bool scaled, scaled_by_layer, tied;
} gpt2_config;

static tsr_status read_config(tsr_object config, gpt2_config *c)
{
    bool cross_attention;
    TSR_TRY(tsr_config_size(config, "vocab_size", 50257, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "n_embd|hidden_size", 768, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "n_inner", 4 * c->hidden, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "n_layer|num_hidden_layers", 12, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "n_head|num_attention_heads", 12, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "n_positions|max_position_embeddings", 1024, TSR_MAX_LEARNED_POSITIONS,
                            &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "activation_function", "gelu_new", &c->activation));
    TSR_TRY(tsr_object_bool(config, "scale_attn_weights", true, &c->scaled));
    TSR_TRY(tsr_object_bool(config, "scale_attn_by_inverse_layer_idx", false, &c->scaled_by_layer));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", true, &c->tied));
    TSR_TRY(tsr_object_bool(config, "add_cross_attention", false, &cross_attention));
    if (cross_attention)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"add_cross_attention\" is not supported: there is no encoder to attend to",
                        config.where);
    return TSR_OK;
}

static tsr_status attention(tsr_model *m, const char *at, const gpt2_config *c, int index,
                            tsr_attention_block *a)
{
    int64_t e = c->hidden;
    tsr_fused qkv; /* [q | k | v] */
    double scale = c->scaled ? 1 / sqrt((double)c->head_dim) : 1;
    *a = (tsr_attention_block){.rope = TSR_NONE};
    a->spec.heads = a->spec.kv_heads = (int)c->heads;
    a->spec.head_dim = (int)c->head_dim;
    a->spec.scale = (float)(c->scaled_by_layer ? scale / (index + 1) : scale);
    TSR_TRY(tsr_fused_open(m, at, "attn.c_attn", 3 * e, e, TSR_BIAS | TSR_IN_OUT, &qkv));
    TSR_TRY(tsr_fused_part(m, &qkv, 1, 0, e, "q", &a->q));
    TSR_TRY(tsr_fused_part(m, &qkv, 1, e, e, "k", &a->k));
    TSR_TRY(tsr_fused_part(m, &qkv, 1, 2 * e, e, "v", &a->v));
    return tsr_projection_load(m, at, "attn.c_proj", e, e, TSR_BIAS | TSR_IN_OUT, &a->out);
}

static tsr_status layer(tsr_graph *g, const gpt2_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    tsr_layer_block l = {.order = TSR_LAYER_PRE, .mlp.activation = c->activation};
    g->current_layer = index;
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.h.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "ln_1", c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(tsr_norm_load(m, at, "ln_2", c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[1]));
    TSR_TRY(attention(m, at, c, index, &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_fc", c->ffn, c->hidden, TSR_BIAS | TSR_IN_OUT, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_proj", c->hidden, c->ffn, TSR_BIAS | TSR_IN_OUT, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

static tsr_status decode_graph(tsr_model *m, const gpt2_config *c)
{
    tsr_embedding_block e = {.scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c->vocabulary, c->hidden, "transformer.wte.weight"));
    TSR_TRY(tsr_model_matrix(m, &e.positions, c->positions, c->hidden, "transformer.wpe.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c->layers; i++) TSR_TRY(layer(g, c, i, &x));
    TSR_TRY(tsr_norm_load(m, "transformer.", "ln_f", c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "lm_head", .tied = c->tied ? e.words : TSR_NONE});
}

tsr_status tsr_build_gpt2(tsr_object config, tsr_model *m)
{
    gpt2_config c;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    m->positions_are_hard = true;
    return decode_graph(m, &c);
}
