/* openai_gpt.c: the first GPT: post-norm, learned positions, no final norm; linear weights stored [in, out]. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <string.h>

typedef struct openai_gpt_config {
    int64_t vocabulary, hidden, layers, heads, head_dim, positions;
    float eps;
    tsr_activation activation;
    bool tied;
} openai_gpt_config;

/* This family's "gelu" is the tanh form. */
static tsr_status read_activation(tsr_object config, tsr_activation *out)
{
    const char *name;
    TSR_TRY(tsr_object_string(config, "afn", "gelu", &name));
    return tsr_activation_from_name(strcmp(name, "gelu") == 0 ? "gelu_new" : name, config.where, out);
}

static tsr_status read_config(tsr_object config, openai_gpt_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 40478, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "n_embd|hidden_size", 768, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "n_layer|num_hidden_layers", 12, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "n_head|num_attention_heads", 12, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "n_positions|max_position_embeddings", 512, TSR_MAX_LEARNED_POSITIONS,
                            &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(read_activation(config, &c->activation));
    return tsr_object_bool(config, "tie_word_embeddings", true, &c->tied);
}

static tsr_status layer(tsr_graph *g, const openai_gpt_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    const unsigned flags = TSR_BIAS | TSR_IN_OUT;
    tsr_layer_block l = {.order = TSR_LAYER_POST, .mlp.activation = c->activation};
    g->current_layer = index;
    l.attention = tsr_attention_sized(c->heads, c->heads, c->head_dim);
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.h.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "ln_1", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(tsr_norm_load(m, at, "ln_2", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[1]));
    TSR_TRY(tsr_attention_load_fused(m, at, "attn.c_attn", 1, e, flags, &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "attn.c_proj", e, e, flags, &l.attention.out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_fc", 4 * e, e, flags, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_proj", e, 4 * e, flags, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

tsr_status tsr_build_openai_gpt(tsr_object config, tsr_model *m)
{
    openai_gpt_config c;
    tsr_embedding_block e = {.scale = 1};
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    m->positions_are_hard = true;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c.vocabulary, c.hidden, "transformer.tokens_embed.weight"));
    TSR_TRY(tsr_model_matrix(m, &e.positions, c.positions, c.hidden, "transformer.positions_embed.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c.layers; i++) TSR_TRY(layer(g, &c, i, &x));
    return tsr_model_head(g, x, &(tsr_head_block){.name = "lm_head", .tied = c.tied ? e.words : TSR_NONE});
}
