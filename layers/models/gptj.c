/* gptj.c: GPT-J, and CodeGen, which differs in how q, k and v are stored: one norm in front of attention and MLP in
 * parallel, pairs of neighbours rotated, a head with a bias. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

typedef struct gptj_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions, rotary;
    int rope; /* table of the model */
    float eps;
    tsr_activation activation;
    bool tied, sharded; /* sharded: CodeGen's q, v and k */
} gptj_config;

enum { SHARDS = 4 }; /* CodeGen was trained on as many devices */

static tsr_status read_config(tsr_object config, gptj_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 50400, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "n_embd|hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "n_inner", 4 * c->hidden, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "n_layer|num_hidden_layers", 28, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "n_head|num_attention_heads", 16, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "n_positions|max_position_embeddings", 2048, TSR_MAX_POSITIONS,
                            &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    int64_t rotary = tsr_config_is_null(config, "rotary_dim") ? c->head_dim : 64;
    TSR_TRY(tsr_config_size(config, "rotary_dim", rotary, TSR_MAX_HEAD_DIM, &c->rotary));
    TSR_TRY(tsr_config_epsilon(config, "layer_norm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_config_activation(config, "activation_function", "gelu_new", &c->activation));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", false, &c->tied));
    if (!c->sharded || c->heads % SHARDS == 0) return TSR_OK;
    return tsr_fail(
        TSR_ERR_FORMAT,
        "%s: the number of heads (%lld) is not a multiple of %d, as the layout of q, k and v asks",
        config.where, (long long)c->heads, SHARDS);
}

/* CodeGen: SHARDS times [q | v | k]. */
static tsr_status load_qkv(tsr_model *m, const gptj_config *c, const char *at, tsr_attention_block *a)
{
    int64_t e = c->hidden, part = e / SHARDS;
    tsr_fused fused;
    if (c->sharded) {
        TSR_TRY(tsr_fused_open(m, at, "attn.qkv_proj", 3 * e, e, 0, &fused));
        TSR_TRY(tsr_fused_part(m, &fused, SHARDS, 0, part, "q", &a->q));
        TSR_TRY(tsr_fused_part(m, &fused, SHARDS, part, part, "v", &a->v));
        return tsr_fused_part(m, &fused, SHARDS, 2 * part, part, "k", &a->k);
    }
    TSR_TRY(tsr_projection_load(m, at, "attn.q_proj", e, e, 0, &a->q));
    TSR_TRY(tsr_projection_load(m, at, "attn.k_proj", e, e, 0, &a->k));
    return tsr_projection_load(m, at, "attn.v_proj", e, e, 0, &a->v);
}

static tsr_status layer(tsr_graph *g, const gptj_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    int64_t e = c->hidden;
    tsr_layer_block l = {.order = TSR_LAYER_PARALLEL_ONE_NORM, .mlp.activation = c->activation};
    g->current_layer = index;
    l.attention = tsr_attention_sized(c->heads, c->heads, c->head_dim);
    l.attention.rope = c->rope;
    l.attention.rope_style = TSR_ROPE_INTERLEAVED;
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.h.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "ln_1", e, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l.norm[0]));
    TSR_TRY(load_qkv(m, c, at, &l.attention));
    TSR_TRY(tsr_projection_load(m, at, "attn.out_proj", e, e, 0, &l.attention.out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.fc_in", c->ffn, e, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.fc_out", e, c->ffn, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

static tsr_status build(tsr_object config, tsr_model *m, bool sharded)
{
    gptj_config c = {.sharded = sharded};
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    TSR_TRY(tsr_config_rope(config, m, c.rotary, c.head_dim, "rope_theta", &c.rope));
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c.vocabulary, c.hidden, "transformer.wte.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c.layers; i++) TSR_TRY(layer(g, &c, i, &x));
    TSR_TRY(tsr_norm_load(m, "transformer.", "ln_f", c.hidden, TSR_NORM_LAYER, c.eps, TSR_BIAS, &norm));
    return tsr_model_head(
        g, x,
        &(tsr_head_block){
            .norm = &norm, .name = "lm_head", .tied = c.tied ? e.words : TSR_NONE, .flags = TSR_BIAS});
}

tsr_status tsr_build_gptj(tsr_object config, tsr_model *m)
{
    return build(config, m, false);
}

tsr_status tsr_build_codegen(tsr_object config, tsr_model *m)
{
    return build(config, m, true);
}
