/* megatron_names.c: Megatron-LM's names of tensors, how they are cut, and what Hugging Face calls them. */
#include "checkpoint/megatron_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
    const char *names; /* the spellings of the years, separated by '|' */
    const char *gpt2, *bert;
    megatron_cut weight, bias;
    bool matrix; /* is the weight one? */
} row;

static const row in_layers[] = {
    {"input_layernorm|input_norm", "ln_1", "attention.ln", MEGATRON_WHOLE, MEGATRON_WHOLE, false},
    {"attention.query_key_value|self_attention.query_key_value|self_attention.linear_qkv|"
     "self_attention.layernorm_qkv",
     "attn.c_attn", "attention.self", MEGATRON_QKV, MEGATRON_QKV, true},
    {"attention.dense|self_attention.dense|self_attention.linear_proj|self_attention.proj", "attn.c_proj",
     "attention.output.dense", MEGATRON_COLUMNS, MEGATRON_WHOLE, true},
    {"post_attention_layernorm|post_attention_norm|pre_mlp_layernorm", "ln_2", "ln", MEGATRON_WHOLE,
     MEGATRON_WHOLE, false},
    {"mlp.dense_h_to_4h|mlp.linear_fc1", "mlp.c_fc", "intermediate.dense", MEGATRON_ROWS, MEGATRON_ROWS,
     true},
    {"mlp.dense_4h_to_h|mlp.linear_fc2", "mlp.c_proj", "output.dense", MEGATRON_COLUMNS, MEGATRON_WHOLE,
     true},
};

static const row outside[] = {
    {"word_embeddings", "transformer.wte", "bert.embeddings.word_embeddings", MEGATRON_VOCABULARY,
     MEGATRON_NONE, true},
    {"position_embeddings", "transformer.wpe", "bert.embeddings.position_embeddings", MEGATRON_WHOLE,
     MEGATRON_NONE, true},
    {"tokentype_embeddings", NULL, "bert.embeddings.token_type_embeddings", MEGATRON_WHOLE, MEGATRON_NONE,
     true},
    {"final_layernorm|final_norm", "transformer.ln_f", "bert.encoder.ln", MEGATRON_WHOLE, MEGATRON_WHOLE,
     false},
    {"output_layer", "lm_head", NULL, MEGATRON_VOCABULARY, MEGATRON_NONE, true},
    {"pooler.dense", NULL, "bert.pooler.dense", MEGATRON_WHOLE, MEGATRON_WHOLE, true},
    {"lm_head.dense", NULL, "cls.predictions.transform.dense", MEGATRON_WHOLE, MEGATRON_WHOLE, true},
    {"lm_head.layernorm|lm_head.norm|lm_head.layer_norm", NULL, "cls.predictions.transform.LayerNorm",
     MEGATRON_WHOLE, MEGATRON_WHOLE, false},
    {"lm_head", NULL, "cls.predictions", MEGATRON_NONE, MEGATRON_VOCABULARY, false},
    {"binary_head", NULL, "cls.seq_relationship", MEGATRON_WHOLE, MEGATRON_WHOLE, true},
    {"classification_head|multichoice_head", NULL, "classifier", MEGATRON_WHOLE, MEGATRON_WHOLE, true},
};

const char *megatron_plain_name(const char *name)
{
    static const char *const wraps[] = {"module.",  "model.",       "language_model.", "embedding.",
                                        "encoder.", "transformer.", "decoder."};
    for (size_t i = 0; i < sizeof wraps / sizeof *wraps;) {
        size_t n = strlen(wraps[i]);
        bool wrapped = strncmp(name, wraps[i], n) == 0;
        if (wrapped) name += n;
        i = wrapped ? 0 : i + 1;
    }
    return name;
}

static bool among(const char *names, const char *name, size_t n)
{
    for (;;) {
        size_t m = strcspn(names, "|");
        if (m == n && memcmp(names, name, n) == 0) return true;
        if (!names[m]) return false;
        names += m + 1;
    }
}

/* "layers.12.REST": the rest; NULL if it is not of that form. */
static const char *layer_of(const char *name, int64_t *layer)
{
    static const char head[] = "layers.";
    enum { DIGITS_CAP = 6 };
    char *end;
    *layer = -1;
    if (strncmp(name, head, sizeof head - 1) != 0) return NULL;
    const char *digits = name + sizeof head - 1;
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > DIGITS_CAP || digits[n] != '.' || (n > 1 && *digits == '0')) return NULL;
    *layer = strtoll(digits, &end, 10);
    return digits + n + 1;
}

/* What is fused with the linear behind it stands under that one's name. */
static const char *unfused(const char *name, char *copy, size_t size)
{
    static const char *const renamed[][2] = {{"self_attention.linear_qkv.layer_norm_", "input_layernorm."},
                                             {"self_attention.layernorm_qkv.layer_norm_", "input_layernorm."},
                                             {"mlp.linear_fc1.layer_norm_", "pre_mlp_layernorm."},
                                             {"layernorm_mlp.layer_norm_", "pre_mlp_layernorm."},
                                             {"layernorm_mlp.fc1_", "mlp.linear_fc1."},
                                             {"layernorm_mlp.fc2_", "mlp.linear_fc2."}};
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) {
        size_t n = strlen(renamed[i][0]);
        if (strncmp(name, renamed[i][0], n) == 0 &&
            snprintf(copy, size, "%s%s", renamed[i][1], name + n) < (int)size)
            return copy;
    }
    return name;
}

bool megatron_find_place(const char *name, megatron_place *out)
{
    char copy[128];
    *out = (megatron_place){.layer = -1};
    const char *rest = layer_of(name, &out->layer);
    const row *rows = rest ? in_layers : outside;
    size_t n = rest ? sizeof in_layers / sizeof *in_layers : sizeof outside / sizeof *outside;
    rest = rest ? unfused(rest, copy, sizeof copy) : name;
    const char *dot = strrchr(rest, '.');
    bool weight = dot && strcmp(dot, ".weight") == 0, bias = dot && strcmp(dot, ".bias") == 0;
    for (size_t i = 0; i < n && (weight || bias); i++) {
        if (!among(rows[i].names, rest, (size_t)(dot - rest))) continue;
        out->gpt2 = rows[i].gpt2;
        out->bert = rows[i].bert;
        out->leaf = weight ? "weight" : "bias";
        out->cut = weight ? rows[i].weight : rows[i].bias;
        out->matrix = weight && rows[i].matrix;
        return out->cut != MEGATRON_NONE;
    }
    return false;
}
