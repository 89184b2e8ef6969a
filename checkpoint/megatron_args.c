/* megatron_args.c: what a Megatron-LM file says beside its weights: the version of its layout, and the arguments of the
 * training run, an argparse.Namespace, which here is a node with attributes and nothing more. */
#include "checkpoint/megatron_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct args_reader {
    const char *file;
    const tsr_pickle_node *args;
} args_reader;

/* NULL: absent, or None. */
static const tsr_pickle_node *find(const args_reader *r, const char *key)
{
    const tsr_pickle_node *n = tsr_pickle_get(r->args, key);
    return n && n->kind != TSR_PICKLE_NONE ? n : NULL;
}

static void describe(const tsr_pickle_node *n, char out[96])
{
    int64_t integer;
    double real;
    if (tsr_pickle_int(n, &integer))
        snprintf(out, 96, "%" PRId64, integer);
    else if (tsr_pickle_number(n, &real))
        snprintf(out, 96, "%g", real);
    else if (n->kind == TSR_PICKLE_STRING)
        snprintf(out, 96, "\"%.*s\"", (int)(n->length < 64 ? n->length : 64), n->text);
    else
        snprintf(out, 96, "%s",
                 n->kind == TSR_PICKLE_BIG_INT ? "an integer of more than 64 bits" : "something else");
}

static tsr_status bad(const args_reader *r, const char *key, const char *expected, const tsr_pickle_node *n)
{
    char found[96];
    describe(n, found);
    return tsr_fail(TSR_ERR_FORMAT, "%s: args.%s: expected %s, found %s", r->file, key, expected, found);
}

/* The first of several keys ('|' between them) that is there; 0: none is. */
static tsr_status read_size(const args_reader *r, const char *keys, int64_t *out)
{
    char key[64];
    *out = 0;
    for (const char *at = keys; *at;) {
        size_t n = strcspn(at, "|");
        snprintf(key, sizeof key, "%.*s", (int)n, at);
        const tsr_pickle_node *node = find(r, key);
        at += n + (at[n] == '|');
        if (!node) continue;
        if (node->kind != TSR_PICKLE_INT || node->integer < 1 || node->integer > INT32_MAX)
            return bad(r, key, "an integer of 1 to 2147483647", node);
        *out = node->integer;
        return TSR_OK;
    }
    return TSR_OK;
}

static tsr_status read_flag(const args_reader *r, const char *key, bool absent, bool *out)
{
    const tsr_pickle_node *n = find(r, key);
    *out = absent;
    if (!n) return TSR_OK;
    if (n->kind != TSR_PICKLE_BOOL) return bad(r, key, "True or False", n);
    *out = n->integer != 0;
    return TSR_OK;
}

/* --- What would be another model --- */

static tsr_status check_flags(const args_reader *r)
{
    static const struct {
        const char *key;
        bool needed;
    } flags[] = {{"swiglu", false},
                 {"squared_relu", false},
                 {"quick_geglu", false},
                 {"apply_layernorm_1p", false},
                 {"apply_residual_connection_post_layernorm", false},
                 {"use_rotary_position_embeddings", false},
                 {"multi_latent_attention", false},
                 {"add_position_embedding", true},
                 {"add_bias_linear", true}};
    bool on;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        TSR_TRY(read_flag(r, flags[i].key, flags[i].needed, &on));
        if (on != flags[i].needed)
            return tsr_fail(TSR_ERR_FORMAT,
                            "%s: args.%s: a model with this set to %s is not read, only GPT-2 and BERT are",
                            r->file, flags[i].key, on ? "True" : "False");
    }
    return TSR_OK;
}

static tsr_status check_texts(const args_reader *r)
{
    static const char *const texts[][2] = {{"position_embedding_type", "learned_absolute"},
                                           {"normalization", "LayerNorm"}};
    for (int i = 0; i < 2; i++) {
        const tsr_pickle_node *n = find(r, texts[i][0]);
        if (n && n->kind == TSR_PICKLE_STRING && !tsr_pickle_is_text(n, texts[i][1]))
            return bad(r, texts[i][0], texts[i][1], n);
    }
    return TSR_OK;
}

static tsr_status check_counts(const args_reader *r, const tsr_megatron_facts *f)
{
    int64_t stages, groups = 0;
    bool grouped;
    TSR_TRY(read_size(r, "pipeline_model_parallel_size", &stages));
    if (stages > 1)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: args.pipeline_model_parallel_size is %" PRId64
                        ": layers spread over stages of a pipeline are not read",
                        r->file, stages);
    TSR_TRY(read_flag(r, "group_query_attention", false, &grouped));
    if (grouped) TSR_TRY(read_size(r, "num_query_groups", &groups));
    if (groups && groups != f->heads)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: args.num_query_groups is %" PRId64
                        ": grouped queries are not read, only GPT-2 and BERT are",
                        r->file, groups);
    const tsr_pickle_node *experts = find(r, "num_experts");
    if (experts && experts->kind == TSR_PICKLE_LIST) experts = tsr_pickle_at(experts, 0);
    if (experts && (experts->kind != TSR_PICKLE_INT || experts->integer > 1))
        return bad(r, "num_experts", "none (a dense model)", experts);
    return TSR_OK;
}

/* --- What is needed --- */

static tsr_status read_activation(const args_reader *r, tsr_megatron_facts *f)
{
    bool fused, openai;
    TSR_TRY(read_flag(r, "bias_gelu_fusion", false, &fused));
    TSR_TRY(read_flag(r, "openai_gelu", false, &openai));
    f->activation = "gelu";
    if (openai || !tsr_pickle_get(r->args, "bias_gelu_fusion")) f->activation = "gelu_new";
    if (fused) f->activation = "gelu_fast";
    return TSR_OK;
}

static tsr_status read_args(const args_reader *r, tsr_megatron_facts *f)
{
    f->args = true;
    TSR_TRY(read_size(r, "tensor_model_parallel_size|model_parallel_size", &f->mp_size));
    TSR_TRY(read_size(r, "hidden_size", &f->hidden));
    TSR_TRY(read_size(r, "num_layers|encoder_num_layers", &f->layers));
    TSR_TRY(read_size(r, "num_attention_heads", &f->heads));
    TSR_TRY(read_size(r, "ffn_hidden_size", &f->ffn));
    TSR_TRY(read_size(r, "max_position_embeddings|seq_length", &f->positions));
    TSR_TRY(read_size(r, "orig_vocab_size|vocab_size", &f->vocabulary));
    TSR_TRY(read_size(r, "padded_vocab_size", &f->padded_vocabulary));
    TSR_TRY(read_size(r, "make_vocab_size_divisible_by", &f->divisible_by));
    const tsr_pickle_node *eps = find(r, "layernorm_epsilon");
    if (!eps) eps = find(r, "norm_epsilon");
    if (eps && (!tsr_pickle_number(eps, &f->epsilon) || !(f->epsilon > 0 && f->epsilon < 1)))
        return bad(r, "layernorm_epsilon", "a number between 0 and 1", eps);
    f->gpt2_tokenizer = tsr_pickle_is_text(find(r, "tokenizer_type"), "GPT2BPETokenizer");
    TSR_TRY(read_activation(r, f));
    TSR_TRY(check_flags(r));
    TSR_TRY(check_texts(r));
    return check_counts(r, f);
}

static tsr_status read_version(const tsr_torch_file *file, tsr_megatron_facts *f)
{
    const tsr_pickle_node *n = tsr_pickle_get(file->object, "checkpoint_version");
    if (!n || n->kind == TSR_PICKLE_NONE) return TSR_OK;
    f->versioned = tsr_pickle_number(n, &f->version);
    if (f->versioned && (f->version == 0 || f->version == 1 || f->version == 2 || f->version == 3))
        return TSR_OK;
    char found[96];
    describe(n, found);
    return tsr_fail(TSR_ERR_FORMAT, "%s: checkpoint_version: expected 0, 1.0, 2.0 or 3.0, found %s",
                    file->name, found);
}

tsr_status tsr_megatron_read_facts(const tsr_torch_file *file, tsr_megatron_facts *out)
{
    args_reader top = {file->name, file->object};
    const tsr_pickle_node *world = tsr_pickle_get(file->object, "mp_world_size");
    int64_t mp = 0;
    *out = (tsr_megatron_facts){0};
    TSR_TRY(read_version(file, out));
    if (world && tsr_pickle_int(world, &mp) && (mp < 1 || mp > TSR_MEGATRON_MAX_RANKS))
        return tsr_fail(TSR_ERR_FORMAT, "%s: mp_world_size: expected 1 to %d, found %" PRId64, file->name,
                        TSR_MEGATRON_MAX_RANKS, mp);
    top.args = find(&top, "args");
    if (top.args) TSR_TRY(read_args(&top, out));
    if (mp && out->mp_size && mp != out->mp_size)
        return tsr_fail(TSR_ERR_FORMAT,
                        "%s: mp_world_size is %" PRId64 ", but args.tensor_model_parallel_size is %" PRId64,
                        file->name, mp, out->mp_size);
    if (mp) out->mp_size = mp;
    return TSR_OK;
}
