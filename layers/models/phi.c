/* phi.c: Phi 1 and 2: attention and a plain MLP in parallel behind one norm, part of each head rotated, biases
 * everywhere, the head too.
 */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

typedef struct phi_config {
    int64_t vocabulary, hidden, ffn, layers, heads, kv_heads, head_dim;
    int rope; /* table of the model */
    float eps;
    tsr_activation activation;
    bool tied;
} phi_config;

static tsr_status read_heads(tsr_object config, phi_config *c)
{
    bool head_norms;
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "num_key_value_heads", c->heads, TSR_MAX_HEADS, &c->kv_heads));
    TSR_TRY(tsr_config_check_kv_heads(config, c->heads, c->kv_heads));
    if (tsr_object_has(config, "head_dim"))
        TSR_TRY(tsr_config_size(config, "head_dim", 0, TSR_MAX_HEAD_DIM, &c->head_dim));
    else
        TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_object_bool(config, "qk_layernorm", false, &head_norms));
    if (!head_norms) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"qk_layernorm\", a norm of each head, is not supported",
                    config.where);
}

static tsr_status read_config(tsr_object config, tsr_model *m, phi_config *c)
{
    double rotated;
    TSR_TRY(tsr_config_size(config, "vocab_size", 51200, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 2048, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 8192, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 24, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 2048, TSR_MAX_POSITIONS, &m->max_positions));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_eps", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "hidden_act", "gelu_new", &c->activation));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", false, &c->tied));
    TSR_TRY(read_heads(config, c));
    TSR_TRY(tsr_config_rotary_fraction(config, "partial_rotary_factor", 0.5, &rotated));
    m->vocabulary = c->vocabulary;
    int64_t dims = (int64_t)((double)c->head_dim * rotated);
    return tsr_config_rope(config, m, dims, c->head_dim, "rope_theta", &c->rope);
}

static tsr_status layer(tsr_graph *g, const phi_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    tsr_layer_block l = {.order = TSR_LAYER_PARALLEL_ONE_NORM, .mlp.activation = c->activation};
    tsr_attention_block *a = &l.attention;
    g->current_layer = index;
    *a = tsr_attention_sized(c->heads, c->kv_heads, c->head_dim);
    a->rope = c->rope;
    a->rope_style = TSR_ROPE_HALF;
    TSR_TRY(tsr_arena_format(m->arena, &at, "model.layers.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "input_layernorm", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.q_proj", q, e, TSR_BIAS, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.k_proj", kv, e, TSR_BIAS, &a->k));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.v_proj", kv, e, TSR_BIAS, &a->v));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.dense", e, q, TSR_BIAS, &a->out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.fc1", c->ffn, e, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.fc2", e, c->ffn, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

tsr_status tsr_build_phi(tsr_object config, tsr_model *m)
{
    phi_config c;
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(read_config(config, m, &c));
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c.vocabulary, c.hidden, "model.embed_tokens.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c.layers; i++) TSR_TRY(layer(g, &c, i, &x));
    TSR_TRY(tsr_norm_load(m, "model.", "final_layernorm", c.hidden, TSR_NORM_LAYER, c.eps, TSR_BIAS, &norm));
    return tsr_model_head(
        g, x,
        &(tsr_head_block){
            .norm = &norm, .name = "lm_head", .tied = c.tied ? e.words : TSR_NONE, .flags = TSR_BIAS});
}
