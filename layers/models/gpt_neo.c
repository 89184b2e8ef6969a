/* gpt_neo.c: GPT-Neo: GPT-2's shape with layers that see everything and layers that see a window by turns, and scores
 * that are not divided by anything. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <string.h>

typedef struct gpt_neo_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions, window;
    bool local[TSR_MAX_LAYERS]; /* which layers have the window */
    float eps;
    tsr_activation activation;
    bool tied;
} gpt_neo_config;

static tsr_status add_kind(tsr_object config, const char *kind, gpt_neo_config *c, int64_t *n)
{
    bool local = kind && strcmp(kind, "local") == 0;
    if (!local && (!kind || strcmp(kind, "global") != 0))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: kinds of attention are \"global\" and \"local\", found \"%.64s\"", config.where,
                        kind ? kind : "no string");
    if (*n == c->layers)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"attention_types\" names more than the %lld layers there are",
                        config.where, (long long)c->layers);
    c->local[(*n)++] = local;
    return TSR_OK;
}

/* One of "attention_types": [["global", "local"], 12] stands for 24 layers by turns. */
static tsr_status expand(tsr_object config, const json_t *type, gpt_neo_config *c, int64_t *n)
{
    const json_t *pattern = json_array_get(type, 0), *times = json_array_get(type, 1);
    if (json_array_size(type) != 2 || json_array_size(pattern) < 1 || !json_is_integer(times))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"attention_types\" must be pairs of a list of kinds and a number",
                        config.where);
    for (json_int_t k = 0; k < json_integer_value(times); k++)
        for (size_t i = 0; i < json_array_size(pattern); i++)
            TSR_TRY(add_kind(config, json_string_value(json_array_get(pattern, i)), c, n));
    return TSR_OK;
}

static tsr_status read_kinds(tsr_object config, gpt_neo_config *c)
{
    const json_t *types;
    int64_t n = 0;
    TSR_TRY(tsr_object_array(config, "attention_types", TSR_MAX_LAYERS, &types));
    for (size_t i = 0; i < json_array_size(types); i++)
        TSR_TRY(expand(config, json_array_get(types, i), c, &n));
    if (!types)
        for (; n < c->layers; n++) c->local[n] = n % 2 == 1;
    if (n == c->layers) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: \"attention_types\" names %lld layers, but there are %lld",
                    config.where, (long long)n, (long long)c->layers);
}

static tsr_status read_config(tsr_object config, gpt_neo_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 50257, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 2048, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 4 * c->hidden, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_layers|num_hidden_layers", 24, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_heads|num_attention_heads", 16, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(
        tsr_config_size(config, "max_position_embeddings", 2048, TSR_MAX_LEARNED_POSITIONS, &c->positions));
    TSR_TRY(tsr_config_size(config, "window_size", 256, TSR_MAX_POSITIONS, &c->window));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "activation_function", "gelu_new", &c->activation));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", true, &c->tied));
    return read_kinds(config, c);
}

static tsr_status layer(tsr_graph *g, const gpt_neo_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    tsr_layer_block l = {.order = TSR_LAYER_PRE, .mlp.activation = c->activation};
    tsr_attention_block *a = &l.attention;
    g->current_layer = index;
    *a = tsr_attention_sized(c->heads, c->heads, c->head_dim);
    a->spec.scale = 1;
    a->spec.window = c->local[index] ? (long)c->window : 0;
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.h.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "ln_1", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(tsr_norm_load(m, at, "ln_2", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[1]));
    TSR_TRY(tsr_projection_load(m, at, "attn.attention.q_proj", e, e, 0, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "attn.attention.k_proj", e, e, 0, &a->k));
    TSR_TRY(tsr_projection_load(m, at, "attn.attention.v_proj", e, e, 0, &a->v));
    TSR_TRY(tsr_projection_load(m, at, "attn.attention.out_proj", e, e, TSR_BIAS, &a->out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_fc", c->ffn, e, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.c_proj", e, c->ffn, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

tsr_status tsr_build_gpt_neo(tsr_object config, tsr_model *m)
{
    gpt_neo_config c;
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
