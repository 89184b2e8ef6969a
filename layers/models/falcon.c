/* falcon.c: Falcon in its three forms, which are a matter of options: the 7B (one key-value head, attention and MLP in
 * parallel behind one norm), the 40B, 180B and 11B (key-value groups, parallel behind two norms or one), and the RW
 * models (ALiBi, sequential). Before it had a class of its own, it shipped as "RefinedWebModel" and "RefinedWeb".
 */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

typedef struct falcon_config {
    int64_t vocabulary, hidden, ffn, layers, heads, kv_heads, head_dim;
    int rope; /* table of the model, or TSR_NONE with ALiBi */
    float eps;
    tsr_activation activation;
    tsr_layer_order order;
    bool alibi, bias, tied;
} falcon_config;

/* The fused q, k and v are one group of rows for each kv head, (q.., k, v), however many there are. */
static tsr_status read_heads(tsr_object config, bool grouped, falcon_config *c)
{
    bool multi_query;
    TSR_TRY(tsr_config_size(config, "num_attention_heads|n_head", 71, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_object_bool(config, "multi_query", true, &multi_query));
    TSR_TRY(tsr_config_size(config, "num_kv_heads|n_head_kv", c->heads, TSR_MAX_HEADS, &c->kv_heads));
    if (!grouped) c->kv_heads = multi_query ? 1 : c->heads;
    return tsr_config_check_kv_heads(config, c->heads, c->kv_heads);
}

static tsr_status read_order(tsr_object config, bool grouped, falcon_config *c)
{
    bool parallel;
    int64_t norms;
    TSR_TRY(tsr_object_bool(config, "parallel_attn", true, &parallel));
    TSR_TRY(tsr_object_int(config, "num_ln_in_parallel_attn", grouped ? 2 : 1, 1, 2, &norms));
    if (grouped && !parallel)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"new_decoder_architecture\" asks for \"parallel_attn\": true, found false",
                        config.where);
    if (!grouped && norms == 2 && parallel)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"num_ln_in_parallel_attn\": 2 needs \"new_decoder_architecture\": true",
                        config.where);
    c->order = !parallel    ? TSR_LAYER_PRE
               : norms == 2 ? TSR_LAYER_PARALLEL_TWO_NORM
                            : TSR_LAYER_PARALLEL_ONE_NORM;
    return TSR_OK;
}

static tsr_status read_config(tsr_object config, bool grouped, falcon_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 65024, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "n_embed|hidden_size", 4544, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "ffn_hidden_size", 4 * c->hidden, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers|n_layer", 32, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "activation", "gelu", &c->activation));
    TSR_TRY(tsr_object_bool(config, "alibi", false, &c->alibi));
    TSR_TRY(tsr_object_bool(config, "bias", false, &c->bias));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", true, &c->tied));
    TSR_TRY(tsr_object_bool(config, "new_decoder_architecture", grouped, &grouped));
    TSR_TRY(read_heads(config, grouped, c));
    return read_order(config, grouped, c);
}

/* The biases were added before the scores were scaled, and in bfloat16. */
static void size_attention(const falcon_config *c, tsr_attention_block *a)
{
    *a = tsr_attention_sized(c->heads, c->kv_heads, c->head_dim);
    a->rope = c->rope;
    a->rope_style = TSR_ROPE_HALF;
    if (!c->alibi) return;
    a->spec.alibi = a->spec.scale;
    a->spec.alibi_max = 8;
    a->spec.alibi_bf16 = true;
}

static tsr_status load_norms(tsr_model *m, const char *at, const falcon_config *c, tsr_norm_weights *norm)
{
    bool two = c->order == TSR_LAYER_PARALLEL_TWO_NORM;
    const char *first = two ? "ln_attn" : "input_layernorm",
               *second = two ? "ln_mlp" : "post_attention_layernorm";
    TSR_TRY(tsr_norm_load(m, at, first, c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &norm[0]));
    if (c->order == TSR_LAYER_PARALLEL_ONE_NORM) return TSR_OK;
    return tsr_norm_load(m, at, second, c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &norm[1]);
}

static tsr_status layer(tsr_graph *g, const falcon_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    unsigned bias = c->bias ? TSR_BIAS : 0;
    tsr_layer_block l = {.order = c->order, .mlp.activation = c->activation};
    g->current_layer = index;
    size_attention(c, &l.attention);
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.h.%d.", index));
    TSR_TRY(load_norms(m, at, c, l.norm));
    TSR_TRY(tsr_attention_load_fused(m, at, "self_attention.query_key_value", c->kv_heads, e, bias,
                                     &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "self_attention.dense", e, e, bias, &l.attention.out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_h_to_4h", c->ffn, e, bias, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_4h_to_h", e, c->ffn, bias, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

static tsr_status decode_graph(tsr_model *m, const falcon_config *c)
{
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c->vocabulary, c->hidden, "transformer.word_embeddings.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c->layers; i++) TSR_TRY(layer(g, c, i, &x));
    TSR_TRY(tsr_norm_load(m, "transformer.", "ln_f", c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "lm_head", .tied = c->tied ? e.words : TSR_NONE});
}

/* `grouped`: what the config leaves open about the architecture. */
static tsr_status build(tsr_object config, tsr_model *m, bool grouped)
{
    falcon_config c = {.rope = TSR_NONE};
    TSR_TRY(read_config(config, grouped, &c));
    m->vocabulary = c.vocabulary;
    TSR_TRY(tsr_config_size(config, "max_position_embeddings", 2048, TSR_MAX_POSITIONS, &m->max_positions));
    if (!c.alibi) TSR_TRY(tsr_config_rope(config, m, c.head_dim, c.head_dim, "rope_theta", &c.rope));
    return decode_graph(m, &c);
}

tsr_status tsr_build_falcon(tsr_object config, tsr_model *m)
{
    return build(config, m, false);
}

tsr_status tsr_build_refined_web(tsr_object config, tsr_model *m)
{
    return build(config, m, true);
}
