/* glm_v1.c: GLM of 2022 (GLM-2B, GLM-10B, ...), which ships under the same model_type as a later family: pre-norm
 * layers with biases everywhere, learned positions in two rows, a prefix read in both directions. */
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <math.h>

static const float EPSILON = 1e-5f; /* no config states it */

typedef struct glm_config {
    int64_t vocabulary, hidden, layers, heads, head_dim, positions;
    bool blocks; /* a second row of positions */
} glm_config;

static tsr_status read_config(tsr_object config, glm_config *c)
{
    bool relative;
    TSR_TRY(tsr_config_size(config, "vocab_size", 30592, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 1024, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "num_layers|num_hidden_layers", 24, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 16, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(
        tsr_config_size(config, "max_sequence_length", 512, TSR_MAX_LEARNED_POSITIONS - 1, &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_object_bool(config, "block_position_encoding", true, &c->blocks));
    TSR_TRY(tsr_object_bool(config, "relative_encoding", false, &relative));
    if (relative) return tsr_fail(TSR_ERR_FORMAT, "%s: \"relative_encoding\" is not supported", config.where);
    return TSR_OK;
}

/* Configs state no ids as a rule; then the tokenizer knows them by name. */
static tsr_status read_prefix(tsr_object config, tsr_model *m)
{
    static const char *const keys[] = {"mask_token_id", "smask_token_id", "gmask_token_id"};
    int64_t id;
    m->prefix = (tsr_prefix_ids){.enabled = true, .first_mask = true, .n_masks = 3};
    TSR_TRY(tsr_object_int(config, "sop_token_id", -1, 0, m->vocabulary - 1, &id));
    m->prefix.start = (int32_t)id;
    for (int i = 0; i < 3; i++) {
        TSR_TRY(tsr_object_int(config, keys[i], -1, 0, m->vocabulary - 1, &id));
        m->prefix.mask[i] = (int32_t)id;
    }
    return TSR_OK;
}

static tsr_status layer(tsr_graph *g, const glm_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    int64_t e = c->hidden;
    const char *at;
    tsr_fused qkv; /* [q | k | v] */
    tsr_layer_block l = {.order = TSR_LAYER_PRE, .mlp.activation = TSR_ACT_GELU};
    tsr_attention_block *a = &l.attention;
    g->current_layer = index;
    *a = (tsr_attention_block){.rope = TSR_NONE};
    a->spec.heads = a->spec.kv_heads = (int)c->heads;
    a->spec.head_dim = (int)c->head_dim;
    a->spec.scale = (float)(1 / sqrt((double)c->head_dim));
    TSR_TRY(tsr_arena_format(m->arena, &at, "glm.transformer.layers.%d.", index));
    TSR_TRY(tsr_norm_load(m, at, "input_layernorm", e, TSR_NORM_LAYER, EPSILON, TSR_BIAS, &l.norm[0]));
    TSR_TRY(
        tsr_norm_load(m, at, "post_attention_layernorm", e, TSR_NORM_LAYER, EPSILON, TSR_BIAS, &l.norm[1]));
    TSR_TRY(tsr_fused_open(m, at, "attention.query_key_value", 3 * e, e, TSR_BIAS, &qkv));
    TSR_TRY(tsr_fused_part(m, &qkv, 1, 0, e, "q", &a->q));
    TSR_TRY(tsr_fused_part(m, &qkv, 1, e, e, "k", &a->k));
    TSR_TRY(tsr_fused_part(m, &qkv, 1, 2 * e, e, "v", &a->v));
    TSR_TRY(tsr_projection_load(m, at, "attention.dense", e, e, TSR_BIAS, &a->out));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_h_to_4h", 4 * e, e, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_4h_to_h", e, 4 * e, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

/* words[id] + positions[first row] + blocks[second row] */
static tsr_status embed(tsr_graph *g, const glm_config *c, tsr_weight *words, tsr_value *x)
{
    tsr_model *m = g->model;
    tsr_weight table;
    tsr_value row;
    int64_t rows = c->positions + c->blocks;
    TSR_TRY(tsr_model_matrix(m, words, c->vocabulary, c->hidden, "glm.word_embeddings.weight"));
    TSR_TRY(tsr_graph_embed(g, *words, TSR_EMBED_IDS, 0, 1, x));
    TSR_TRY(tsr_model_matrix(m, &table, rows, c->hidden, "glm.transformer.position_embeddings.weight"));
    TSR_TRY(tsr_graph_embed(g, table, TSR_EMBED_FIRST_ROW, 0, 1, &row));
    TSR_TRY(tsr_graph_add(g, *x, row, x));
    if (!c->blocks) return TSR_OK;
    TSR_TRY(tsr_model_matrix(m, &table, rows, c->hidden, "glm.transformer.block_position_embeddings.weight"));
    TSR_TRY(tsr_graph_embed(g, table, TSR_EMBED_SECOND_ROW, 0, 1, &row));
    return tsr_graph_add(g, *x, row, x);
}

bool tsr_is_glm_v1(tsr_object config)
{
    return tsr_object_has(config, "max_sequence_length|block_position_encoding|spell_func");
}

tsr_status tsr_build_glm_v1(tsr_object config, tsr_model *m)
{
    glm_config c;
    tsr_norm_weights norm;
    tsr_weight words;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    m->positions_are_hard = true;
    TSR_TRY(read_prefix(config, m));
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(embed(g, &c, &words, &x));
    for (int i = 0; i < c.layers; i++) TSR_TRY(layer(g, &c, i, &x));
    TSR_TRY(tsr_norm_load(m, "glm.transformer.", "final_layernorm", c.hidden, TSR_NORM_LAYER, EPSILON,
                          TSR_BIAS, &norm));
    return tsr_model_head(g, x, &(tsr_head_block){.norm = &norm, .tied = words});
}
