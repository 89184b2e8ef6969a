/* glm.c: GLM-4 as transformers has it: "glm", and "glm4" of 2025, which norms what each branch gives as well. Part of
 * each head is rotated, in pairs of neighbours; gate and up lie in one tensor.
 */
#include "layers/models/config.h"
#include "layers/models/gated_decoder.h"
#include "layers/models/models.h"

typedef struct glm_config {
    int64_t vocabulary, hidden, ffn, layers, heads, kv_heads, head_dim;
    int rope; /* table of the model */
    float eps;
    tsr_activation activation;
    bool bias, tied;
} glm_config;

static tsr_status read_config(tsr_object config, tsr_model *m, glm_config *c)
{
    double rotated;
    TSR_TRY(tsr_config_size(config, "vocab_size", 151552, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 13696, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 40, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "num_key_value_heads", 2, TSR_MAX_HEADS, &c->kv_heads));
    TSR_TRY(tsr_config_check_kv_heads(config, c->heads, c->kv_heads));
    TSR_TRY(tsr_config_size(config, "head_dim", 128, TSR_MAX_HEAD_DIM, &c->head_dim));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 131072, TSR_MAX_POSITIONS, &m->max_positions));
    TSR_TRY(tsr_config_epsilon(config, "rms_norm_eps", 1.5625e-7, &c->eps));
    TSR_TRY(tsr_config_activation(config, "hidden_act", "silu", &c->activation));
    TSR_TRY(tsr_object_bool(config, "attention_bias", true, &c->bias));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", false, &c->tied));
    TSR_TRY(tsr_config_rotary_fraction(config, "partial_rotary_factor", 0.5, &rotated));
    m->vocabulary = c->vocabulary;
    m->classifier.pad_id = 151329;
    int64_t dims = (int64_t)((double)c->head_dim * rotated);
    return tsr_config_rope(config, m, dims, c->head_dim, "rope_theta", &c->rope);
}

static tsr_status load_layer(tsr_model *m, const char *at, const void *config, tsr_layer_block *l)
{
    const glm_config *c = config;
    unsigned bias = c->bias ? TSR_BIAS : 0;
    int64_t e = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    tsr_attention_block *a = &l->attention;
    tsr_fused both; /* [gate | up] */
    *a = tsr_attention_sized(c->heads, c->kv_heads, c->head_dim);
    a->rope = c->rope;
    a->rope_style = TSR_ROPE_INTERLEAVED;
    TSR_TRY(tsr_projection_load(m, at, "self_attn.q_proj", q, e, bias, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.k_proj", kv, e, bias, &a->k));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.v_proj", kv, e, bias, &a->v));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.o_proj", e, q, 0, &a->out));
    l->mlp = (tsr_mlp_block){.gated = true, .activation = c->activation};
    TSR_TRY(tsr_fused_open(m, at, "mlp.gate_up_proj", 2 * c->ffn, e, 0, &both));
    TSR_TRY(tsr_fused_part(m, &both, 1, 0, c->ffn, "gate", &l->mlp.gate));
    TSR_TRY(tsr_fused_part(m, &both, 1, c->ffn, c->ffn, "up", &l->mlp.up));
    return tsr_projection_load(m, at, "mlp.down_proj", e, c->ffn, 0, &l->mlp.down);
}

static tsr_status build(tsr_object config, tsr_model *m, bool sandwich)
{
    glm_config c;
    TSR_TRY(read_config(config, m, &c));
    tsr_gated_decoder d = {.vocabulary = c.vocabulary,
                           .hidden = c.hidden,
                           .layers = c.layers,
                           .norm_kind = TSR_NORM_RMS,
                           .eps = c.eps,
                           .tied = c.tied,
                           .embedding = "model.embed_tokens",
                           .layer_scope = "model.layers.",
                           .norm = {"input_layernorm", "post_attention_layernorm"},
                           .final_norm = "model.norm",
                           .head = "lm_head",
                           .config = &c,
                           .load = load_layer};
    if (sandwich) {
        d.order = TSR_LAYER_SANDWICH;
        d.norm[2] = "post_self_attn_layernorm";
        d.norm[3] = "post_mlp_layernorm";
    }
    return tsr_gated_decoder_build(m, &d);
}

/* GLM of 2022 has the same model_type. */
tsr_status tsr_build_glm(tsr_object config, tsr_model *m)
{
    if (tsr_is_glm_v1(config)) {
        m->name_prefix = "glm.";
        return tsr_build_glm_v1(config, m);
    }
    return build(config, m, false);
}

tsr_status tsr_build_glm4(tsr_object config, tsr_model *m)
{
    return build(config, m, true);
}
