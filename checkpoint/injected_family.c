/* injected_family.c: the families whose layers DeepSpeed injects, one row each. */
#include "base/checked.h"
#include "checkpoint/injected_family.h"

#include <string.h>

enum { HEADS_CAP = 1 << 16 };

#define GATED_LLAMA                                                                                          \
    .layout = TSR_QKV_APART, .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},            \
    .attention_out = "self_attn.o_proj", .inter = {"mlp.up_proj", "mlp.gate_proj"},                          \
    .mlp_out = "mlp.down_proj", .attention_norm = "input_layernorm", .mlp_norm = "post_attention_layernorm", \
    .plain_norms = true, .default_heads = 32, .embedding = "model.embed_tokens.weight",                      \
    .head = "lm_head.weight"

static const tsr_injected_family families[] = {
    {.model_type = "gpt2",
     .layout = TSR_QKV_TOGETHER,
     .qkv = {"attn.c_attn"},
     .attention_out = "attn.c_proj",
     .inter = {"mlp.c_fc"},
     .mlp_out = "mlp.c_proj",
     .attention_norm = "ln_1",
     .mlp_norm = "ln_2",
     .in_out = true,
     .embedding = "transformer.wte.weight",
     .head = "lm_head.weight"},
    {.model_type = "gpt_neo",
     .layout = TSR_QKV_APART,
     .qkv = {"attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"},
     .attention_out = "attn.attention.out_proj",
     .inter = {"mlp.c_fc"},
     .mlp_out = "mlp.c_proj",
     .attention_norm = "ln_1",
     .mlp_norm = "ln_2",
     .embedding = "transformer.wte.weight",
     .head = "lm_head.weight"},
    {.model_type = "gptj",
     .layout = TSR_QKV_APART,
     .qkv = {"attn.q_proj", "attn.k_proj", "attn.v_proj"},
     .attention_out = "attn.out_proj",
     .inter = {"mlp.fc_in"},
     .mlp_out = "mlp.fc_out",
     .attention_norm = "ln_1",
     .embedding = "transformer.wte.weight",
     .head = "lm_head.weight"},
    {.model_type = "gpt_neox",
     .layout = TSR_QKV_BY_HEAD,
     .qkv = {"attention.query_key_value"},
     .attention_out = "attention.dense",
     .inter = {"mlp.dense_h_to_4h"},
     .mlp_out = "mlp.dense_4h_to_h",
     .attention_norm = "input_layernorm",
     .mlp_norm = "post_attention_layernorm",
     .default_heads = 64,
     .embedding = "gpt_neox.embed_in.weight",
     .head = "embed_out.weight"},
    {.model_type = "bloom",
     .layout = TSR_QKV_KEPT,
     .qkv = {"self_attention.query_key_value"},
     .attention_out = "self_attention.dense",
     .inter = {"mlp.dense_h_to_4h"},
     .mlp_out = "mlp.dense_4h_to_h",
     .attention_norm = "input_layernorm",
     .mlp_norm = "post_attention_layernorm",
     .embedding = "transformer.word_embeddings.weight",
     .head = "lm_head.weight"},
    {.model_type = "opt",
     .layout = TSR_QKV_APART,
     .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
     .attention_out = "self_attn.out_proj",
     .inter = {"fc1"},
     .mlp_out = "fc2",
     .attention_norm = "self_attn_layer_norm",
     .mlp_norm = "final_layer_norm",
     .embedding = "model.decoder.embed_tokens.weight",
     .head = "lm_head.weight"},
    {.model_type = "llama", GATED_LLAMA},
    {.model_type = "internlm", GATED_LLAMA},
};
enum { FAMILY_COUNT = sizeof families / sizeof families[0] };

tsr_status tsr_injected_from_config(tsr_object config, tsr_injected *out)
{
    const char *type;
    *out = (tsr_injected){0};
    TSR_TRY(tsr_object_string(config, "model_type", "", &type));
    for (int i = 0; i < FAMILY_COUNT && !out->family; i++)
        if (strcmp(families[i].model_type, type) == 0) out->family = &families[i];
    if (!out->family)
        return tsr_fail(
            TSR_ERR_FORMAT,
            "%s: model_type \"%.64s\" is none whose layers DeepSpeed injects, but the checkpoint holds "
            "injected layers",
            config.where, type);
    TSR_TRY(tsr_object_int(config, "num_attention_heads", tsr_max(out->family->default_heads, 1), 1,
                           HEADS_CAP, &out->heads));
    TSR_TRY(tsr_object_int(config, "num_key_value_heads", out->heads, 1, HEADS_CAP, &out->kv_heads));
    if (out->heads % out->kv_heads == 0) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT,
                    "%s: the number of heads (%lld) is not a multiple of that of kv heads (%lld)",
                    config.where, (long long)out->heads, (long long)out->kv_heads);
}

const char *tsr_injected_embedding(const tsr_injected *j)
{
    return j->family->embedding;
}

const char *tsr_injected_head(const tsr_injected *j)
{
    return j->family->head;
}
