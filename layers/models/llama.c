/* llama.c: Llama 1 to 3, Code Llama and all that ships as "llama"; Mistral, which adds a sliding window; Qwen2, with
 * biases on q, k and v alone and, if told so, a window in some layers.
 *
 * Pre-norm RMS, rotary positions on whole heads, grouped-query attention, gated MLP.
 */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <math.h>
#include <string.h>

typedef struct llama_config {
    int64_t vocabulary, hidden, ffn, layers, heads, kv_heads, head_dim, positions, window;
    int64_t window_from;       /* the first layer with the window */
    const json_t *layer_types; /* says of each layer whether it has the window; NULL: window_from does */
    int rope;                  /* table of the model */
    float eps;
    tsr_activation activation;
    bool qkv_bias, out_bias, mlp_bias, tied;
} llama_config;

/* The sizes of both; `c` comes with the class's own defaults for ffn, kv_heads (0: as heads) and positions.
 */
static tsr_status read_sizes(tsr_object config, llama_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", c->vocabulary, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", c->ffn, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 32, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(
        tsr_config_size(config, "max_position_embeddings", c->positions, TSR_MAX_POSITIONS, &c->positions));
    if (c->kv_heads == 0 || tsr_config_is_null(config, "num_key_value_heads")) c->kv_heads = c->heads;
    TSR_TRY(tsr_config_size(config, "num_key_value_heads", c->kv_heads, TSR_MAX_HEADS, &c->kv_heads));
    TSR_TRY(tsr_config_check_kv_heads(config, c->heads, c->kv_heads));
    if (!tsr_object_has(config, "head_dim"))
        return tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim);
    return tsr_config_size(config, "head_dim", 0, TSR_MAX_HEAD_DIM, &c->head_dim);
}

static tsr_status read_options(tsr_object config, llama_config *c)
{
    TSR_TRY(tsr_config_epsilon(config, "rms_norm_eps", 1e-6, &c->eps));
    TSR_TRY(tsr_config_activation(config, "hidden_act", "silu", &c->activation));
    return tsr_object_bool(config, "tie_word_embeddings", false, &c->tied);
}

static bool has_window(const llama_config *c, int index)
{
    const char *type = json_string_value(json_array_get(c->layer_types, (size_t)index));
    return c->layer_types ? type && strcmp(type, "sliding_attention") == 0 : index >= c->window_from;
}

static tsr_status attention(tsr_model *m, const char *at, const llama_config *c, int index,
                            tsr_attention_block *a)
{
    unsigned bias = c->qkv_bias ? TSR_BIAS : 0, out_bias = c->out_bias ? TSR_BIAS : 0;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    *a = (tsr_attention_block){.rope = c->rope, .rope_style = TSR_ROPE_HALF};
    a->spec.heads = (int)c->heads;
    a->spec.kv_heads = (int)c->kv_heads;
    a->spec.head_dim = (int)c->head_dim;
    a->spec.scale = (float)(1 / sqrt((double)c->head_dim));
    a->spec.window = has_window(c, index) ? (long)c->window : 0;
    TSR_TRY(tsr_projection_load(m, at, "self_attn.q_proj", q, c->hidden, bias, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.k_proj", kv, c->hidden, bias, &a->k));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.v_proj", kv, c->hidden, bias, &a->v));
    return tsr_projection_load(m, at, "self_attn.o_proj", c->hidden, q, out_bias, &a->out);
}

static tsr_status mlp(tsr_model *m, const char *at, const llama_config *c, tsr_mlp_block *b)
{
    unsigned bias = c->mlp_bias ? TSR_BIAS : 0;
    *b = (tsr_mlp_block){.gated = true, .activation = c->activation};
    TSR_TRY(tsr_projection_load(m, at, "mlp.gate_proj", c->ffn, c->hidden, bias, &b->gate));
    TSR_TRY(tsr_projection_load(m, at, "mlp.up_proj", c->ffn, c->hidden, bias, &b->up));
    return tsr_projection_load(m, at, "mlp.down_proj", c->hidden, c->ffn, bias, &b->down);
}

static tsr_status layer(tsr_graph *g, const llama_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    tsr_layer_block l = {.order = TSR_LAYER_PRE};
    g->current_layer = index;
    TSR_TRY(tsr_arena_format(m->arena, &at, "model.layers.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "input_layernorm", c->hidden, TSR_NORM_RMS, c->eps, 0, &l.norm[0]));
    TSR_TRY(tsr_norm_load(m, at, "post_attention_layernorm", c->hidden, TSR_NORM_RMS, c->eps, 0, &l.norm[1]));
    TSR_TRY(attention(m, at, c, index, &l.attention));
    TSR_TRY(mlp(m, at, c, &l.mlp));
    return tsr_transformer_layer(g, *x, &l, x);
}

static tsr_status decode_graph(tsr_model *m, const llama_config *c)
{
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c->vocabulary, c->hidden, "model.embed_tokens.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c->layers; i++) TSR_TRY(layer(g, c, i, &x));
    TSR_TRY(tsr_norm_load(m, "model.", "norm", c->hidden, TSR_NORM_RMS, c->eps, 0, &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "lm_head", .tied = c->tied ? e.words : TSR_NONE});
}

static tsr_status build(tsr_object config, tsr_model *m, llama_config *c)
{
    double rotated;
    m->vocabulary = c->vocabulary;
    m->max_positions = c->positions;
    TSR_TRY(tsr_config_rotary_fraction(config, "partial_rotary_factor", 1, &rotated));
    if (rotated != 1)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: \"partial_rotary_factor\" must be 1 for model_type \"%s\", found %g",
                        config.where, m->family, rotated);
    TSR_TRY(tsr_config_rope(config, m, c->head_dim, c->head_dim, "rope_theta", &c->rope));
    return decode_graph(m, c);
}

tsr_status tsr_build_llama(tsr_object config, tsr_model *m)
{
    llama_config c = {.vocabulary = 32000, .ffn = 11008, .positions = 2048};
    TSR_TRY(read_sizes(config, &c));
    TSR_TRY(read_options(config, &c));
    TSR_TRY(tsr_object_bool(config, "attention_bias", false, &c.qkv_bias));
    c.out_bias = c.qkv_bias;
    TSR_TRY(tsr_object_bool(config, "mlp_bias", false, &c.mlp_bias));
    return build(config, m, &c);
}

/* An absent window means that of the first release; null means none. */
tsr_status tsr_build_mistral(tsr_object config, tsr_model *m)
{
    llama_config c = {.vocabulary = 32000, .ffn = 14336, .positions = 131072, .kv_heads = 8};
    int64_t window = tsr_config_is_null(config, "sliding_window") ? 0 : 4096;
    TSR_TRY(read_sizes(config, &c));
    TSR_TRY(read_options(config, &c));
    TSR_TRY(tsr_object_int(config, "sliding_window", window, 0, TSR_MAX_POSITIONS, &c.window));
    return build(config, m, &c);
}

static tsr_status read_layer_types(tsr_object config, llama_config *c)
{
    TSR_TRY(tsr_object_array(config, "layer_types", TSR_MAX_LAYERS, &c->layer_types));
    if (!c->layer_types) return TSR_OK;
    if ((int64_t)json_array_size(c->layer_types) != c->layers)
        return tsr_fail(TSR_ERR_FORMAT, "%s: \"layer_types\" names %zu layers, but there are %lld",
                        config.where, json_array_size(c->layer_types), (long long)c->layers);
    for (int i = 0; i < c->layers; i++) {
        const char *type = json_string_value(json_array_get(c->layer_types, (size_t)i));
        if (!type || (strcmp(type, "sliding_attention") != 0 && strcmp(type, "full_attention") != 0))
            return tsr_fail(
                TSR_ERR_FORMAT,
                "%s: \"layer_types\" must be \"full_attention\" or \"sliding_attention\", found \"%.64s\"",
                config.where, type ? type : "no string");
    }
    return TSR_OK;
}

tsr_status tsr_build_qwen2(tsr_object config, tsr_model *m)
{
    llama_config c = {
        .vocabulary = 151936, .ffn = 22016, .positions = 32768, .kv_heads = 32, .qkv_bias = true};
    int64_t window = tsr_config_is_null(config, "sliding_window") ? 0 : 4096;
    bool windowed;
    TSR_TRY(read_sizes(config, &c));
    TSR_TRY(read_options(config, &c));
    TSR_TRY(tsr_object_bool(config, "use_sliding_window", false, &windowed));
    TSR_TRY(tsr_object_int(config, "sliding_window", window, 0, TSR_MAX_POSITIONS, &c.window));
    TSR_TRY(tsr_object_int(config, "max_window_layers", 28, 0, TSR_MAX_LAYERS, &c.window_from));
    TSR_TRY(read_layer_types(config, &c));
    if (!windowed) c.window = 0;
    return build(config, m, &c);
}
