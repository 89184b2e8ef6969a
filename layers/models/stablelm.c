/* stablelm.c: StableLM 3B and 2: layer norms with biases, a gated MLP, part of each head rotated; in the 12B's order
 * attention and MLP run in parallel behind one norm.
 */
#include "layers/models/config.h"
#include "layers/models/gated_decoder.h"
#include "layers/models/models.h"

typedef struct stablelm_config {
    int64_t vocabulary, hidden, ffn, layers, heads, kv_heads, head_dim;
    int rope; /* table of the model */
    float eps;
    tsr_activation activation;
    bool qkv_bias, parallel, tied;
} stablelm_config;

static tsr_status read_options(tsr_object config, stablelm_config *c)
{
    bool head_norms;
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_eps", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "hidden_act", "silu", &c->activation));
    TSR_TRY(tsr_object_bool(config, "use_qkv_bias", false, &c->qkv_bias));
    TSR_TRY(tsr_object_bool(config, "use_parallel_residual", false, &c->parallel));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", false, &c->tied));
    TSR_TRY(tsr_object_bool(config, "qk_layernorm", false, &head_norms));
    if (!head_norms) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"qk_layernorm\", a norm for each head, is not supported",
                    config.where);
}

static tsr_status read_config(tsr_object config, tsr_model *m, stablelm_config *c)
{
    double rotated;
    TSR_TRY(tsr_config_size(config, "vocab_size", 50304, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 2560, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 6912, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 32, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "num_key_value_heads", 32, TSR_MAX_HEADS, &c->kv_heads));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_check_kv_heads(config, c->heads, c->kv_heads));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 4096, TSR_MAX_POSITIONS, &m->max_positions));
    TSR_TRY(tsr_config_rotary_fraction(config, "partial_rotary_factor", 0.25, &rotated));
    m->vocabulary = c->vocabulary;
    int64_t dims = (int64_t)((double)c->head_dim * rotated);
    TSR_TRY(tsr_config_rope(config, m, dims, c->head_dim, "rope_theta", &c->rope));
    return read_options(config, c);
}

static tsr_status load_layer(tsr_model *m, const char *at, const void *config, tsr_layer_block *l)
{
    static const char *const mlp[3] = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};
    const stablelm_config *c = config;
    unsigned bias = c->qkv_bias ? TSR_BIAS : 0;
    int64_t e = c->hidden, kv = c->kv_heads * c->head_dim;
    tsr_attention_block *a = &l->attention;
    *a = tsr_attention_sized(c->heads, c->kv_heads, c->head_dim);
    a->rope = c->rope;
    a->rope_style = TSR_ROPE_HALF;
    TSR_TRY(tsr_projection_load(m, at, "self_attn.q_proj", e, e, bias, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.k_proj", kv, e, bias, &a->k));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.v_proj", kv, e, bias, &a->v));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.o_proj", e, e, 0, &a->out));
    l->mlp.activation = c->activation;
    return tsr_gated_mlp_load(m, at, mlp, e, c->ffn, 0, &l->mlp);
}

tsr_status tsr_build_stablelm(tsr_object config, tsr_model *m)
{
    stablelm_config c;
    TSR_TRY(read_config(config, m, &c));
    tsr_gated_decoder d = {.vocabulary = c.vocabulary,
                           .hidden = c.hidden,
                           .layers = c.layers,
                           .order = c.parallel ? TSR_LAYER_PARALLEL_ONE_NORM : TSR_LAYER_PRE,
                           .norm_kind = TSR_NORM_LAYER,
                           .eps = c.eps,
                           .tied = c.tied,
                           .embedding = "model.embed_tokens",
                           .layer_scope = "model.layers.",
                           .norm = {"input_layernorm", "post_attention_layernorm"},
                           .final_norm = "model.norm",
                           .head = "lm_head",
                           .config = &c,
                           .load = load_layer};
    return tsr_gated_decoder_build(m, &d);
}
