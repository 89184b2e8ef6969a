/* qwen.c: Qwen of the first generation: RMS norms, one biased tensor for q, k and v, an MLP of half the stated
 * width whose second projection is the gate; past the trained length a stepped NTK base and queries that grow
 * with the logarithm of their position. */
#include "layers/models/config.h"
#include "layers/models/gated_decoder.h"
#include "layers/models/models.h"

typedef struct qwen_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions, trained;
    int q_rope, k_rope; /* tables of the model */
    float eps;
    bool no_bias, tied;
} qwen_config;

static tsr_status read_config(tsr_object config, qwen_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 151936, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 22016, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 32, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 8192, TSR_MAX_POSITIONS, &c->positions));
    TSR_TRY(tsr_config_size(config, "seq_length", c->positions, TSR_MAX_POSITIONS, &c->trained));
    TSR_TRY(tsr_config_size(config, "kv_channels", 128, TSR_MAX_HEAD_DIM, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-6, &c->eps));
    TSR_TRY(tsr_object_bool(config, "no_bias", true, &c->no_bias));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", false, &c->tied));
    if (c->head_dim * c->heads != c->hidden || c->ffn % 2 != 0)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"hidden_size\" must be num_attention_heads * kv_channels and "
                        "\"intermediate_size\" even, found %lld, %lld * %lld and %lld",
                        config.where, (long long)c->hidden, (long long)c->heads, (long long)c->head_dim,
                        (long long)c->ffn);
    c->ffn /= 2;
    return TSR_OK;
}

/* Queries have a table of their own where they are scaled by position. */
static tsr_status add_ropes(tsr_object config, tsr_model *m, qwen_config *c)
{
    double fraction, base;
    bool ntk, logn;
    tsr_rope rope;
    TSR_TRY(tsr_object_number(config, "rotary_pct", 1, 0, 1, &fraction));
    TSR_TRY(tsr_object_number(config, "rotary_emb_base", 10000, 1.001, 1e15, &base));
    TSR_TRY(tsr_object_bool(config, "use_dynamic_ntk", true, &ntk));
    TSR_TRY(tsr_object_bool(config, "use_logn_attn", true, &logn));
    int64_t dims = (int64_t)((double)c->head_dim * fraction);
    TSR_TRY(tsr_config_check_rotary_dims(config, dims, c->head_dim, ntk ? 4 : 2));
    TSR_TRY(tsr_rope_plain(m->arena, (int)dims, base, &rope));
    rope.max_positions = c->trained;
    if (ntk) rope.kind = TSR_ROPE_STEPPED;
    TSR_TRY(tsr_model_add_rope(m, &rope, &c->k_rope));
    c->q_rope = c->k_rope;
    if (!logn) return TSR_OK;
    if (dims != c->head_dim || c->trained < 2)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"use_logn_attn\" needs a \"rotary_pct\" of 1 and a \"seq_length\" above 1",
                        config.where);
    rope.log_base = c->trained;
    return tsr_model_add_rope(m, &rope, &c->q_rope);
}

static tsr_status load_layer(tsr_model *m, const char *at, const void *config, tsr_layer_block *l)
{
    static const char *const names[3] = {"mlp.w2", "mlp.w1", "mlp.c_proj"};
    const qwen_config *c = config;
    unsigned bias = c->no_bias ? 0 : TSR_BIAS;
    l->attention = (tsr_attention_block){.rope = c->q_rope, .k_rope = c->k_rope, .rope_style = TSR_ROPE_HALF};
    l->attention.spec = tsr_attention_sized(c->heads, c->heads, c->head_dim).spec;
    l->attention.own_k_rope = c->k_rope != c->q_rope;
    l->mlp.activation = TSR_ACT_SILU;
    TSR_TRY(tsr_attention_load_fused(m, at, "attn.c_attn", 1, c->hidden, TSR_BIAS, &l->attention));
    TSR_TRY(tsr_projection_load(m, at, "attn.c_proj", c->hidden, c->hidden, bias, &l->attention.out));
    return tsr_gated_mlp_load(m, at, names, c->hidden, c->ffn, bias, &l->mlp);
}

tsr_status tsr_build_qwen(tsr_object config, tsr_model *m)
{
    qwen_config c;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    TSR_TRY(add_ropes(config, m, &c));
    tsr_gated_decoder d = {.vocabulary = c.vocabulary,
                           .hidden = c.hidden,
                           .layers = c.layers,
                           .norm_kind = TSR_NORM_RMS,
                           .eps = c.eps,
                           .tied = c.tied,
                           .embedding = "transformer.wte",
                           .layer_scope = "transformer.h.",
                           .norm = {"ln_1", "ln_2"},
                           .final_norm = "transformer.ln_f",
                           .head = "lm_head",
                           .config = &c,
                           .load = load_layer};
    return tsr_gated_decoder_build(m, &d);
}
