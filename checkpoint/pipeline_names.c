/* pipeline_names.c: names within the layers of a pipeline, how they are cut, and what Hugging Face calls them. */
#include "checkpoint/pipeline.h"

#include <string.h>

typedef struct row {
    const char *names; /* spellings, separated by '|' */
    const char *neox, *bloom;
    tsr_pipeline_cut weight, bias; /* DROPPED: there is none */
} row;

static const row in_layers[] = {
    {"input_layernorm", "input_layernorm", "input_layernorm", TSR_PIPELINE_NORM, TSR_PIPELINE_NORM},
    {"attention.query_key_value|self_attention.query_key_value", "attention.query_key_value",
     "self_attention.query_key_value", TSR_PIPELINE_ROWS, TSR_PIPELINE_ROWS},
    {"attention.dense|self_attention.dense", "attention.dense", "self_attention.dense", TSR_PIPELINE_COLUMNS,
     TSR_PIPELINE_BIAS},
    {"post_attention_layernorm", "post_attention_layernorm", "post_attention_layernorm", TSR_PIPELINE_NORM,
     TSR_PIPELINE_NORM},
    {"mlp.dense_h_to_4h|mlp.linear1", "mlp.dense_h_to_4h", "mlp.dense_h_to_4h", TSR_PIPELINE_ROWS,
     TSR_PIPELINE_ROWS},
    {"mlp.dense_4h_to_h|mlp.linear2", "mlp.dense_4h_to_h", "mlp.dense_4h_to_h", TSR_PIPELINE_COLUMNS,
     TSR_PIPELINE_BIAS},
};

static const row outside[] = {
    {"word_embeddings", "gpt_neox.embed_in", "transformer.word_embeddings", TSR_PIPELINE_VOCABULARY,
     TSR_PIPELINE_DROPPED},
    {"word_embeddings.norm", NULL, "transformer.word_embeddings_layernorm", TSR_PIPELINE_NORM,
     TSR_PIPELINE_NORM},
    {"norm|", "gpt_neox.final_layer_norm", "transformer.ln_f", TSR_PIPELINE_NORM, TSR_PIPELINE_NORM},
    {"final_linear", "embed_out", "lm_head", TSR_PIPELINE_VOCABULARY, TSR_PIPELINE_DROPPED},
};

/* Tables of angles and masks. */
static const char *const buffers[] = {"attention.rotary_emb.inv_freq", "attention.bias",
                                      "attention.masked_bias"};

static bool among(const char *names, const char *name, size_t n)
{
    for (;;) {
        size_t m = strcspn(names, "|");
        if (m == n && memcmp(names, name, n) == 0) return true;
        if (!names[m]) return false;
        names += m + 1;
    }
}

bool tsr_pipeline_find(const char *name, bool transformer, tsr_pipeline_place *out)
{
    const row *rows = transformer ? in_layers : outside;
    size_t count = transformer ? sizeof in_layers / sizeof *rows : sizeof outside / sizeof *rows;
    const char *dot = strrchr(name, '.'), *leaf = dot ? dot + 1 : name;
    bool weight = strcmp(leaf, "weight") == 0, bias = strcmp(leaf, "bias") == 0;
    *out = (tsr_pipeline_place){.cut = TSR_PIPELINE_DROPPED};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (transformer && strcmp(name, buffers[i]) == 0) return true;
    for (size_t i = 0; i < count && (weight || bias); i++) {
        if (!among(rows[i].names, name, dot ? (size_t)(dot - name) : 0)) continue;
        tsr_pipeline_cut cut = weight ? rows[i].weight : rows[i].bias;
        *out = (tsr_pipeline_place){rows[i].neox, rows[i].bloom, weight ? "weight" : "bias", cut};
        return cut != TSR_PIPELINE_DROPPED;
    }
    return false;
}
