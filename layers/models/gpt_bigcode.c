/* gpt_bigcode.c: SantaCoder and StarCoder: GPT-2's shape with ordinary linears and, as a rule, one key-value head. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

typedef struct gpt_bigcode_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions;
    float eps;
    tsr_activation activation;
    bool multi_query, scaled, tied;
} gpt_bigcode_config;

static tsr_status read_config(tsr_object config, gpt_bigcode_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 50257, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "n_embd|hidden_size", 768, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "n_inner", 4 * c->hidden, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "n_layer|num_hidden_layers", 12, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "n_head|num_attention_heads", 12, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "n_positions|max_position_embeddings", 1024, TSR_MAX_LEARNED_POSITIONS,
                            &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "activation_function", "gelu_pytorch_tanh", &c->activation));
    TSR_TRY(tsr_object_bool(config, "multi_query", true, &c->multi_query));
    TSR_TRY(tsr_object_bool(config, "scale_attn_weights", true, &c->scaled));
    return tsr_object_bool(config, "tie_word_embeddings", true, &c->tied);
}

static tsr_status layer(tsr_graph *g, const gpt_bigcode_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden, kv_heads = c->multi_query ? 1 : c->heads;
    tsr_layer_block l = {.order = TSR_LAYER_PRE, .mlp.activation = c->activation};
    g->current_layer = index;
    l.attention = tsr_attention_sized(c->heads, kv_heads, c->head_dim);
    if (!c->scaled) l.attention.spec.scale = 1;
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.h.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "ln_1", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(tsr_norm_load(m, at, "ln_2", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[1]));
    /* [q.. | k | v], or [heads, (q, k, v)] */
    TSR_TRY(tsr_attention_load_fused(m, at, "attn.c_attn", kv_heads, e, TSR_BIAS, &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "attn.c_proj", e, e, TSR_BIAS, &l.attention.out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_fc", c->ffn, e, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_proj", e, c->ffn, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

tsr_status tsr_build_gpt_bigcode(tsr_object config, tsr_model *m)
{
    gpt_bigcode_config c;
    tsr_embedding_block e = {.scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    m->positions_are_hard = true;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c.vocabulary, c.hidden, "transformer.wte.weight"));
    TSR_TRY(tsr_model_matrix(m, &e.positions, c.positions, c.hidden, "transformer.wpe.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c.layers; i++) TSR_TRY(layer(g, &c, i, &x));
    TSR_TRY(tsr_norm_load(m, "transformer.", "ln_f", c.hidden, TSR_NORM_LAYER, c.eps, TSR_BIAS, &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "lm_head", .tied = c.tied ? e.words : TSR_NONE});
}
