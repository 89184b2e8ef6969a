/* internlm.c: InternLM of the first generation: a Llama with biases in attention and a rotary object of its
 * own. */
#include "layers/models/config.h"
#include "layers/models/gated_decoder.h"
#include "layers/models/models.h"

#include <string.h>

typedef struct internlm_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions;
    int rope; /* table of the model */
    float eps;
    tsr_activation activation;
    bool bias, tied;
} internlm_config;

static tsr_status read_config(tsr_object config, internlm_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 103168, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 11008, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 32, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 2048, TSR_MAX_POSITIONS, &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "rms_norm_eps", 1e-6, &c->eps));
    TSR_TRY(tsr_config_activation(config, "hidden_act", "silu", &c->activation));
    TSR_TRY(tsr_object_bool(config, "bias", true, &c->bias));
    return tsr_object_bool(config, "tie_word_embeddings", false, &c->tied);
}

/* "rotary": {"base", "type": "origin" or "dynamic", "scaling_factor"}; absent in the first releases: origin. */
static tsr_status add_rope(tsr_object config, tsr_model *m, internlm_config *c)
{
    tsr_object rotary;
    const char *type;
    double base, factor;
    tsr_rope rope;
    TSR_TRY(tsr_object_child(config, "rotary", &rotary));
    TSR_TRY(tsr_object_string(rotary, "type", "origin", &type));
    TSR_TRY(tsr_object_number(rotary, "base", 10000, 1.001, 1e15, &base));
    TSR_TRY(tsr_object_number(rotary, "scaling_factor", 1, 1e-3, 1e6, &factor));
    bool dynamic = strcmp(type, "dynamic") == 0;
    if (!dynamic && strcmp(type, "origin") != 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: rotary: type must be \"origin\" or \"dynamic\", found \"%.64s\"",
                        config.where, type);
    TSR_TRY(tsr_config_check_rotary_dims(config, c->head_dim, c->head_dim, dynamic ? 4 : 2));
    TSR_TRY(tsr_rope_plain(m->arena, (int)c->head_dim, base, &rope));
    rope.max_positions = c->positions;
    if (dynamic) {
        rope.kind = TSR_ROPE_DYNAMIC;
        rope.factor = factor;
    }
    return tsr_model_add_rope(m, &rope, &c->rope);
}

static tsr_status load_layer(tsr_model *m, const char *at, const void *config, tsr_layer_block *l)
{
    static const char *const names[3] = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};
    const internlm_config *c = config;
    unsigned bias = c->bias ? TSR_BIAS : 0;
    tsr_attention_block *a = &l->attention;
    *a = (tsr_attention_block){.rope = c->rope, .rope_style = TSR_ROPE_HALF};
    a->spec = tsr_attention_sized(c->heads, c->heads, c->head_dim).spec;
    TSR_TRY(tsr_projection_load(m, at, "self_attn.q_proj", c->hidden, c->hidden, bias, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.k_proj", c->hidden, c->hidden, bias, &a->k));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.v_proj", c->hidden, c->hidden, bias, &a->v));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.o_proj", c->hidden, c->hidden, bias, &a->out));
    l->mlp.activation = c->activation;
    return tsr_gated_mlp_load(m, at, names, c->hidden, c->ffn, 0, &l->mlp);
}

tsr_status tsr_build_internlm(tsr_object config, tsr_model *m)
{
    internlm_config c;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    TSR_TRY(add_rope(config, m, &c));
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
    return tsr_gated_decoder_build(m, &d);
}
