/* chatglm_6b.c: the first ChatGLM: a prefix read in both directions, rotary positions in two dimensions, and layers
 * whose residuals are their normed inputs times sqrt(2 * 28).
 *
 * The first half of a head turns by the first row of positions, the second by the second row; within each, channels i
 * and i + D/4 turn together. Read through a view that puts the four quarters into the order 0 2 1 3, that is one
 * rotation of the whole head, whose second half of frequencies turns by the second row. Queries and keys are permuted
 * alike, so their products are what they were.
 */
#include "base/dtype.h"
#include "layers/blocks/language_model.h"
#include "layers/blocks/transformer_layer.h"
#include "layers/models/config.h"
#include "layers/models/models.h"

#include <math.h>

enum { RELEASED_LAYERS = 28 }; /* what residuals are scaled by, however many layers there are */

typedef struct chatglm_6b_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions;
    int rope; /* table of the model */
    float eps, alpha;
    bool tied;
} chatglm_6b_config;

static tsr_status read_config(tsr_object config, chatglm_6b_config *c)
{
    bool two_rows;
    TSR_TRY(tsr_config_size(config, "vocab_size", 150528, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "inner_hidden_size", 4 * c->hidden, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_layers", 28, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "max_sequence_length", 2048, TSR_MAX_POSITIONS, &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "layernorm_epsilon", 1e-5, &c->eps));
    TSR_TRY(tsr_object_bool(config, "tie_word_embeddings", false, &c->tied));
    TSR_TRY(tsr_object_bool(config, "position_encoding_2d", true, &two_rows));
    c->alpha = (float)sqrt(2 * (double)RELEASED_LAYERS);
    if (!two_rows || tsr_object_has(config, "pre_seq_len"))
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: only \"position_encoding_2d\": true without \"pre_seq_len\" is supported",
                        config.where);
    if (c->head_dim % 4 != 0)
        return tsr_fail(TSR_ERR_FORMAT, "%s: heads of %lld channels: two rotations need a multiple of 4",
                        config.where, (long long)c->head_dim);
    return TSR_OK;
}

/* [MASK] and [gMASK] stand four and three ids before the start token, unless the config says otherwise. */
static tsr_status read_prefix(tsr_object config, tsr_model *m)
{
    int64_t start, mask, gmask, most = m->vocabulary - 1;
    TSR_TRY(tsr_object_int(config, "bos_token_id", 150004, 4, INT32_MAX, &start));
    TSR_TRY(tsr_object_int(config, "mask_token_id", start - 4, 0, INT32_MAX, &mask));
    TSR_TRY(tsr_object_int(config, "gmask_token_id", start - 3, 0, INT32_MAX, &gmask));
    if (start > most || mask > most || gmask > most)
        return tsr_fail(TSR_ERR_FORMAT, "%s: bos, mask and gmask tokens %lld, %lld, %lld: ids end at %lld",
                        config.where, (long long)start, (long long)mask, (long long)gmask, (long long)most);
    m->prefix = (tsr_prefix_ids){.enabled = true, .required = true, .start = (int32_t)start, .n_masks = 2};
    m->prefix.mask[0] = (int32_t)gmask;
    m->prefix.mask[1] = (int32_t)mask;
    return TSR_OK;
}

/* The frequencies of half a head, twice; in float16, as the model was trained with them. */
static tsr_status add_rope(tsr_model *m, chatglm_6b_config *c)
{
    tsr_rope half, both;
    int n = (int)c->head_dim / 4;
    void *p;
    TSR_TRY(tsr_rope_plain(m->arena, 2 * n, 10000, &half));
    TSR_TRY(tsr_arena_alloc(m->arena, 2 * n * (int64_t)sizeof(float), &p));
    float *f = p;
    for (int i = 0; i < 2 * n; i++) {
        uint16_t narrow;
        tsr_from_f32(TSR_F16, &half.inv_freq[i % n], &narrow, 1);
        tsr_to_f32(TSR_F16, &narrow, &f[i], 1);
    }
    both = half;
    both.dims = both.exponent_dims = 4 * n;
    both.inv_freq = f;
    both.two_rows = true;
    return tsr_model_add_rope(m, &both, &c->rope);
}

/* v [heads * D, ...] with the quarters of each head in the order 0 2 1 3; rank 1 or 2. */
static tsr_status reorder(tsr_model *m, const chatglm_6b_config *c, const tsr_view **v)
{
    static const int order[] = {0, 2, 1, 3, 4};
    int rank = tsr_view_rank(*v);
    int64_t rows = tsr_view_rows(*v), cols = tsr_view_cols(*v);
    int64_t quarters[] = {rows / c->head_dim, 2, 2, c->head_dim / 4, cols}, flat[] = {rows, cols};
    TSR_TRY(tsr_view_reshape(m->arena, *v, rank + 3, quarters, v));
    TSR_TRY(tsr_view_permute(m->arena, *v, order, v));
    return tsr_view_reshape(m->arena, *v, rank, flat, v);
}

/* Part `index` (q, k) of the fused tensor [heads, 3, D], reordered. */
static tsr_status turned_part(tsr_model *m, const chatglm_6b_config *c, const tsr_fused *qkv, int64_t index,
                              const char *part, tsr_projection *out)
{
    TSR_TRY(tsr_fused_part(m, qkv, c->heads, index * c->head_dim, c->head_dim, part, out));
    TSR_TRY(reorder(m, c, &m->weights[out->w].view));
    return reorder(m, c, &m->weights[out->b].view);
}

static tsr_status attention(tsr_model *m, const char *at, const chatglm_6b_config *c, tsr_attention_block *a)
{
    int64_t e = c->hidden, d = c->head_dim;
    tsr_fused qkv; /* [heads, 3, D] */
    *a = (tsr_attention_block){.rope = c->rope, .rope_style = TSR_ROPE_HALF};
    a->spec.heads = a->spec.kv_heads = (int)c->heads;
    a->spec.head_dim = (int)d;
    a->spec.scale = (float)(1 / sqrt((double)d));
    TSR_TRY(tsr_fused_open(m, at, "attention.query_key_value", 3 * e, e, TSR_BIAS, &qkv));
    TSR_TRY(turned_part(m, c, &qkv, 0, "q", &a->q));
    TSR_TRY(turned_part(m, c, &qkv, 1, "k", &a->k));
    TSR_TRY(tsr_fused_part(m, &qkv, c->heads, 2 * d, d, "v", &a->v));
    return tsr_projection_load(m, at, "attention.dense", e, e, TSR_BIAS, &a->out);
}

/* The norm, and the same with weights times alpha, which makes the residual. */
static tsr_status load_norms(tsr_model *m, const char *at, const chatglm_6b_config *c, int index,
                             tsr_layer_block *l)
{
    static const char *const names[] = {"input_layernorm", "post_attention_layernorm"};
    const char *name = names[index];
    TSR_TRY(tsr_norm_load(m, at, name, c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l->norm[index]));
    TSR_TRY(tsr_norm_load(m, at, name, c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS, &l->residual[index]));
    m->weights[l->residual[index].w].scale = c->alpha;
    m->weights[l->residual[index].b].scale = c->alpha;
    return TSR_OK;
}

static tsr_status layer(tsr_graph *g, const chatglm_6b_config *c, int index, tsr_value *x)
{
    tsr_model *m = g->model;
    const char *at;
    tsr_layer_block l = {.order = TSR_LAYER_PRE, .normed_residual = true, .own_residual_norms = true};
    g->current_layer = index;
    TSR_TRY(tsr_arena_format(m->arena, &at, "transformer.layers.%d.", index));
    for (int i = 0; i < 2; i++) TSR_TRY(load_norms(m, at, c, i, &l));
    TSR_TRY(attention(m, at, c, &l.attention));
    l.mlp.activation = TSR_ACT_GELU_TANH;
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_h_to_4h", c->ffn, c->hidden, TSR_BIAS, &l.mlp.up));
    TSR_TRY(tsr_projection_load(m, at, "mlp.dense_4h_to_h", c->hidden, c->ffn, TSR_BIAS, &l.mlp.down));
    return tsr_transformer_layer(g, *x, &l, x);
}

static tsr_status decode_graph(tsr_model *m, const chatglm_6b_config *c)
{
    tsr_embedding_block e = {.positions = TSR_NONE, .scale = 1};
    tsr_norm_weights norm;
    tsr_graph *g;
    tsr_value x;
    TSR_TRY(tsr_model_add_graph(m, "decode", &g));
    TSR_TRY(tsr_model_matrix(m, &e.words, c->vocabulary, c->hidden, "transformer.word_embeddings.weight"));
    TSR_TRY(tsr_embed_tokens(g, &e, &x));
    for (int i = 0; i < c->layers; i++) TSR_TRY(layer(g, c, i, &x));
    TSR_TRY(tsr_norm_load(m, "transformer.", "final_layernorm", c->hidden, TSR_NORM_LAYER, c->eps, TSR_BIAS,
                          &norm));
    return tsr_model_head(
        g, x, &(tsr_head_block){.norm = &norm, .name = "lm_head", .tied = c->tied ? e.words : TSR_NONE});
}

tsr_status tsr_build_chatglm_6b(tsr_object config, tsr_model *m)
{
    chatglm_6b_config c;
    TSR_TRY(read_config(config, &c));
    m->vocabulary = c.vocabulary;
    m->max_positions = c.positions;
    TSR_TRY(read_prefix(config, m));
    TSR_TRY(add_rope(m, &c));
    return decode_graph(m, &c);
}
