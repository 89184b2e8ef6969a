/* mpt.c: MPT: ALiBi, no biases, q, k and v in one tensor and, if the config says so, held within a limit. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <string.h>

typedef struct mpt_config {
    int64_t vocabulary, hidden, layers, heads, head_dim;
    double alibi_max, clip, scale; /* clip 0: none; scale 0: by the heads' width */
    float eps;
    bool tied;
} mpt_config;

static tsr_status refuse(tsr_object where, const char *key, const char *value)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"%s\" must be %s: nothing else is supported", where.where, key,
                    value);
}

/* Options that the model's first code had and no released model uses. */
static tsr_status check_options(tsr_object config, tsr_object attention)
{
    bool alibi, normed, prefix, no_bias;
    int64_t ratio;
    const char *norm;
    TSR_TRY(tsr_object_bool(attention, "alibi", true, &alibi));
    TSR_TRY(tsr_object_bool(attention, "qk_ln", false, &normed));
    TSR_TRY(tsr_object_bool(attention, "prefix_lm", false, &prefix));
    TSR_TRY(tsr_object_bool(config, "no_bias", true, &no_bias));
    TSR_TRY(tsr_object_int(config, "expansion_ratio", 4, 1, 1 << 10, &ratio));
    TSR_TRY(tsr_object_string(config, "norm_type", "low_precision_layernorm", &norm));
    if (!alibi) return refuse(attention, "alibi", "true");
    if (normed) return refuse(attention, "qk_ln", "false");
    if (prefix) return refuse(attention, "prefix_lm", "false");
    if (!no_bias) return refuse(config, "no_bias", "true");
    if (ratio != 4) return refuse(config, "expansion_ratio", "4");
    if (tsr_object_has(config, "logit_scale")) return refuse(config, "logit_scale", "null");
    if (strcmp(norm, "low_precision_layernorm") != 0 && strcmp(norm, "layernorm") != 0)
        return refuse(config, "norm_type", "\"layernorm\" or \"low_precision_layernorm\"");
    return TSR_OK;
}

static tsr_status read_config(tsr_object config, mpt_config *c)
{
    tsr_object attention;
    TSR_TRY(tsr_config_size(config, "vocab_size", 50368, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "d_model|hidden_size", 2048, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "n_layers|num_hidden_layers", 24, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "n_heads|num_attention_heads", 16, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", true, &c->tied));
    TSR_TRY(tsr_object_child(config, "attn_config", &attention));
    TSR_TRY(check_options(config, attention));
    TSR_TRY(tsr_object_number(attention, "alibi_bias_max", 8, 1e-3, 1e3, &c->alibi_max));
    TSR_TRY(tsr_object_number(attention, "clip_qkv", 0, 0, 1e30, &c->clip));
    return tsr_object_number(attention, "softmax_scale", 0, 0, 1e6, &c->scale);
}

static tsr_status layer(tsr_graph *g, const mpt_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    tsr_layer_block l = {.order = TSR_LAYER_PRE, .mlp.activation = TSR_ACT_GELU};
    g->current_layer = index;
    l.attention = tsr_attention_sized(c->heads, c->heads, c->head_dim);
    l.attention.spec.alibi = 1;
    l.attention.spec.alibi_max = (float)c->alibi_max;
    if (c->scale > 0) l.attention.spec.scale = (float)c->scale;
    l.attention.clamp = (float)c->clip;
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.blocks.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "norm_1", e, TSR_NORM_LAYER, c->eps, 0, &l.norm[0]));
    TSR_TRY(tsr_norm_load(m, at, "norm_2", e, TSR_NORM_LAYER, c->eps, 0, &l.norm[1]));
    TSR_TRY(tsr_attention_load_fused(m, at, "attn.Wqkv", 1, e, 0, &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "attn.out_proj", e, e, 0, &l.attention.out));
    TSR_TRY(tsr_projection_load(m, at, "ffn.up_proj", 4 * e, e, 0, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "ffn.down_proj", e, 4 * e, 0, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

tsr_status tsr_build_mpt(tsr_object config, tsr_model *m)
{
    mpt_config c;
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    TSR_TRY(tsr_config_size(config, "max_seq_len", 2048, TSR_MAX_POSITIONS, &m->max_positions));
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c.vocabulary, c.hidden, "transformer.wte.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c.layers; i++) TSR_TRY(layer(g, &c, i, &x));
    TSR_TRY(tsr_norm_load(m, "transformer.", "norm_f", c.hidden, TSR_NORM_LAYER, c.eps, 0, &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "lm_head", .tied = c.tied ? e.words : TSR_NONE});
}
