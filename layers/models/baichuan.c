/* baichuan.c: Baichuan 1 and 2: a Llama with q, k and v in one tensor.
 *
 * The 7B models rotate, the 13B models use ALiBi; the head of the second generation has rows of length 1. Nothing
 * in config.json says either outright: a config that states no "max_position_embeddings" is of the kind without
 * rotary positions, as is the released width of 5120; and the second generation is told by its vocabulary or by
 * "z_loss_weight", which only its configs have.
 */
#include "layers/models/config.h"
#include "layers/models/gated_decoder.h"
#include "layers/models/models.h"

enum { WIDTH_OF_13B = 5120, VOCABULARY_OF_2 = 125696 };

typedef struct baichuan_config {
    int64_t vocabulary, hidden, ffn, layers, heads, head_dim, positions;
    int rope; /* table of the model, or TSR_NONE */
    float eps;
    tsr_activation activation;
    bool alibi, unit_head, tied;
} baichuan_config;

static tsr_status read_config(tsr_object config, baichuan_config *c)
{
    TSR_TRY(tsr_config_size(config, "vocab_size", 64000, TSR_MAX_VOCABULARY, &c->vocabulary));
    TSR_TRY(tsr_config_size(config, "hidden_size", 4096, TSR_MAX_HIDDEN, &c->hidden));
    TSR_TRY(tsr_config_size(config, "intermediate_size", 11008, TSR_MAX_FFN, &c->ffn));
    TSR_TRY(tsr_config_size(config, "num_hidden_layers", 32, TSR_MAX_LAYERS, &c->layers));
    TSR_TRY(tsr_config_size(config, "num_attention_heads", 32, TSR_MAX_HEADS, &c->heads));
    TSR_TRY(tsr_config_size(config, "max_position_embeddings|model_max_length", 4096, TSR_MAX_POSITIONS,
                            &c->positions));
    TSR_TRY(tsr_config_even_head_dim(config, c->hidden, c->heads, &c->head_dim));
    TSR_TRY(tsr_config_epsilon(config, "rms_norm_eps", 1e-6, &c->eps));
    TSR_TRY(tsr_config_activation(config, "hidden_act", "silu", &c->activation));
    c->alibi = c->hidden == WIDTH_OF_13B || !tsr_object_has(config, "max_position_embeddings");
    c->unit_head = c->vocabulary == VOCABULARY_OF_2 || tsr_object_has(config, "z_loss_weight");
    return tsr_object_bool(config, "tie_word_embeddings", false, &c->tied);
}

static tsr_status add_rope(tsr_object config, tsr_model *m, baichuan_config *c)
{
    tsr_rope rope;
    c->rope = TSR_NONE;
    if (c->alibi) return TSR_OK;
    TSR_TRY(tsr_config_check_rotary_dims(config, c->head_dim, c->head_dim, 2));
    TSR_TRY(tsr_rope_plain(m->arena, (int)c->head_dim, 10000, &rope));
    return tsr_model_add_rope(m, &rope, &c->rope);
}

static tsr_status load_layer(tsr_model *m, const char *at, const void *config, tsr_layer_block *l)
{
    static const char *const names[3] = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};
    const baichuan_config *c = config;
    l->attention = (tsr_attention_block){.rope = c->rope, .rope_style = TSR_ROPE_HALF};
    l->attention.spec = tsr_attention_sized(c->heads, c->heads, c->head_dim).spec;
    if (c->alibi) {
        l->attention.spec.alibi = 1;
        l->attention.spec.alibi_max = 8;
    }
    l->mlp.activation = c->activation;
    TSR_TRY(tsr_attention_load_fused(m, at, "self_attn.W_pack", 1, c->hidden, 0, &l->attention));
    TSR_TRY(tsr_projection_load(m, at, "self_attn.o_proj", c->hidden, c->hidden, 0, &l->attention.out));
    return tsr_gated_mlp_load(m, at, names, c->hidden, c->ffn, 0, &l->mlp);
}

tsr_status tsr_build_baichuan(tsr_object config, tsr_model *m)
{
    baichuan_config c;
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
                           .unit_head = c.unit_head,
                           .embedding = "model.embed_tokens",
                           .layer_scope = "model.layers.",
                           .norm = {"input_layernorm", "post_attention_layernorm"},
                           .final_norm = "model.norm",
                           .head = "lm_head",
                           .config = &c,
                           .load = load_layer};
    return tsr_gated_decoder_build(m, &d);
}
