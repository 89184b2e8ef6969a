/* chatglm.c: what ships as "chatglm": ChatGLM 2 and 3 and GLM-4-9B here, the first ChatGLM in chatglm_6b.c.
 *
 * RMS norms, query groups that share keys and values, rotary positions of neighbouring pairs on the first half of a
 * head, a gated MLP whose gate and up lie in one tensor.
 */
#include "layers/models/config.h"
#include "layers/models/gated_decoder.h"
#include "layers/models/models.h"

typedef struct chatglm_config {
    int64_t vocabulary, hidden, ffn, layers, heads, kv_heads, head_dim, positions;
    int rope; /* table of the model */
    float eps;
    bool shared_kv, rms, post_norm, normed_residual, linear_bias, qkv_bias, tied;
} chatglm_config;

static tsr_status read_sizes(tsr_object config, chatglm_config *c)
{
    TSR_TRY(
        tsr_config_size(config, "padded_vocab_size|vocab_size", 65024, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "ffn_hidden_size", 13696, TSR_MAX_FFN / 2, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_layers", 28, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "seq_length", 2048, TSR_MAX_POSITIONS, &c->positions));
    TSR_TRY(tsr_config_size(config, "kv_channels", 128, TSR_MAX_HEAD_DIM, &c->head_dim));
    TSR_TRY(tsr_object_bool(config, "multi_query_attention", false, &c->shared_kv));
    TSR_TRY(tsr_config_size(config, "multi_query_group_num", 1, TSR_MAX_HEADS, &c->kv_heads));
    if (!c->shared_kv) c->kv_heads = c->heads;
    return tsr_config_check_kv_heads(config, c->heads, c->kv_heads);
}

static tsr_status read_options(tsr_object config, chatglm_config *c)
{
    TSR_TRY(tsr_config_epsilon(config, "layernorm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_object_bool(config, "rmsnorm", true, &c->rms));
    TSR_TRY(tsr_object_bool(config, "post_layer_norm", true, &c->post_norm));
    TSR_TRY(tsr_object_bool(config, "apply_residual_connection_post_layernorm", false, &c->normed_residual));
    TSR_TRY(tsr_object_bool(config, "add_bias_linear", false, &c->linear_bias));
    TSR_TRY(tsr_object_bool(config, "add_qkv_bias", false, &c->qkv_bias));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", false, &c->tied));
    if (tsr_object_has(config, "pre_seq_len"))
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"pre_seq_len\": trained prefixes are not supported",
                        config.where);
    return TSR_OK;
}

/* Half of each head turns; longer contexts were trained with a larger base. */
static tsr_status add_rope(tsr_object config, tsr_model *m, chatglm_config *c)
{
    double ratio;
    tsr_rope rope;
    TSR_TRY(tsr_object_number(config, "rope_ratio", 1, 1e-3, 1e9, &ratio));
    TSR_TRY(tsr_config_check_rotary_dims(config, c->head_dim / 2, c->head_dim, 2));
    TSR_TRY(tsr_rope_plain(m->arena, (int)(c->head_dim / 2), 10000 * ratio, &rope));
    return tsr_model_add_rope(m, &rope, &c->rope);
}

/* q, k and v: [q | k | v] where keys are shared, else [heads, 3, head_dim]. */
static tsr_status load_qkv(tsr_model *m, const char *at, const chatglm_config *c, tsr_attention_block *a)
{
    static const char name[] = "self_attention.query_key_value";
    unsigned bias = c->qkv_bias || c->linear_bias ? TSR_BIAS : 0;
    return tsr_attention_load_fused(m, at, name, c->shared_kv ? 1 : c->heads, c->hidden, bias, a);
}

static tsr_status load_layer(tsr_model *m, const char *at, const void *config, tsr_layer_block *l)
{
    const chatglm_config *c = config;
    unsigned bias = c->linear_bias ? TSR_BIAS : 0;
    tsr_fused both; /* [gate | up] */
    l->attention = (tsr_attention_block){.rope = c->rope, .rope_style = TSR_ROPE_INTERLEAVED};
    l->attention.spec = tsr_attention_sized(c->heads, c->kv_heads, c->head_dim).spec;
    TSR_TRY(load_qkv(m, at, c, &l->attention));
    TSR_TRY(tsr_projection_load(m, at, "self_attention.dense", c->hidden, c->heads * c->head_dim, bias,
                                &l->attention.out));
    l->mlp = (tsr_mlp_block){.gated = true, .activation = TSR_ACT_SILU};
    TSR_TRY(tsr_fused_open(m, at, "mlp.dense_h_to_4h", 2 * c->ffn, c->hidden, bias, &both));
    TSR_TRY(tsr_fused_part(m, &both, 1, 0, c->ffn, "gate", &l->mlp.gate));
    TSR_TRY(tsr_fused_part(m, &both, 1, c->ffn, c->ffn, "up", &l->mlp.up));
    return tsr_projection_load(m, at, "mlp.dense_4h_to_h", c->hidden, c->ffn, bias, &l->mlp.down);
}

static tsr_status build_later(tsr_object config, tsr_model *m)
{
    chatglm_config c;
    TSR_TRY(read_sizes(config, &c));
    TSR_TRY(read_options(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    TSR_TRY(add_rope(config, m, &c));
    tsr_gated_decoder d = {.vocabulary = c.vocabulary,
                           .hidden = c.hidden,
                           .layers = c.layers,
                           .norm_kind = c.rms ? TSR_NORM_RMS : TSR_NORM_LAYER,
                           .eps = c.eps,
                           .tied = c.tied,
                           .normed_residual = c.normed_residual,
                           .embedding = "transformer.embedding.word_embeddings",
                           .layer_scope = "transformer.encoder.layers.",
                           .norm = {"input_layernorm", "post_attention_layernorm"},
                           .final_norm = c.post_norm ? "transformer.encoder.final_layernorm" : NULL,
                           .head = "transformer.output_layer",
                           .config = &c,
                           .load = load_layer};
    return tsr_gated_decoder_build(m, &d);
}

/* Both are called "chatglm"; the first has a two-dimensional position encoding and other names for its sizes. */
tsr_status tsr_build_chatglm(tsr_object config, tsr_model *m)
{
    if (tsr_object_has(config, "inner_hidden_size|position_encoding_2d|max_sequence_length"))
        return tsr_build_chatglm_6b(config, m);
    return build_later(config, m);
}
