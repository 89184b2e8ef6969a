/* test_models.c: each family's graph: names and shapes, options, parameter counts of released models, hostile
 * configs; and every instance of tests/oracle, computed in float64 from the graph alone, against what the
 * reference computes.
 */
#include "base/checked.h"
#include "layers/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <dirent.h>
#include <string.h>
#include <cmocka.h>

#include "model_refusals.h"
#include "support_graph.h"

#define OK(expression)                                                                                       \
    do {                                                                                                     \
        tsr_status ok_ = (expression);                                                                       \
        if (ok_ != TSR_OK) fail_msg("%s: %s: %s", #expression, tsr_status_name(ok_), tsr_error_text());      \
    } while (0)

static tsr_status build(const char *text, tsr_model **out)
{
    tsr_json doc;
    *out = NULL;
    TSR_TRY(tsr_json_parse(text, (int64_t)strlen(text), "config.json", &doc));
    tsr_status status = tsr_model_from_config(&doc, out);
    tsr_json_free(&doc);
    return status;
}

static tsr_model *must_build(const char *text)
{
    tsr_model *m;
    if (build(text, &m) != TSR_OK) fail_msg("%s: %s", text, tsr_error_text());
    return m;
}

static int count_ops(const tsr_graph *g, tsr_op op)
{
    int n = 0;
    for (int64_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static const tsr_node *first_op(const tsr_graph *g, tsr_op op)
{
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == op) return &g->nodes[i];
    fail_msg("no %s in the graph", tsr_op_table[op].name);
    return NULL;
}

/* --- Names and shapes --- */

/* Each weight as "its view [rows, cols]\n", in the order of the graph's building. */
static void expect_weights(const tsr_model *m, const char *expected)
{
    tsr_text t;
    OK(tsr_text_init(&t, 1 << 20));
    for (int64_t i = 0; i < m->n_weights; i++) {
        OK(tsr_view_print(m->weights[i].view, &t));
        if (m->weights[i].is_vector)
            OK(tsr_text_format(&t, " [%lld]\n", (long long)m->weights[i].rows));
        else
            OK(tsr_text_format(&t, " [%lld, %lld]\n", (long long)m->weights[i].rows,
                               (long long)m->weights[i].cols));
    }
    assert_string_equal(t.data, expected);
    tsr_text_free(&t);
}

#define LLAMA_TINY                                                                                           \
    "\"hidden_size\": 32, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": "   \
    "64, "                                                                                                   \
    "\"vocab_size\": 99, \"num_hidden_layers\": 1"

static void llama_names_its_tensors(void **state)
{
    (void)state;
    tsr_model *m = must_build("{\"model_type\": \"llama\", " LLAMA_TINY "}");
    expect_weights(m, "model.embed_tokens.weight [99, 32]\n"
                      "model.layers.0.input_layernorm.weight [32]\n"
                      "model.layers.0.post_attention_layernorm.weight [32]\n"
                      "model.layers.0.self_attn.q_proj.weight [32, 32]\n"
                      "model.layers.0.self_attn.k_proj.weight [16, 32]\n"
                      "model.layers.0.self_attn.v_proj.weight [16, 32]\n"
                      "model.layers.0.self_attn.o_proj.weight [32, 32]\n"
                      "model.layers.0.mlp.gate_proj.weight [64, 32]\n"
                      "model.layers.0.mlp.up_proj.weight [64, 32]\n"
                      "model.layers.0.mlp.down_proj.weight [32, 64]\n"
                      "model.norm.weight [32]\n"
                      "lm_head.weight [99, 32]\n");
    assert_string_equal(m->family, "llama");
    assert_string_equal(m->name_prefix, "model.");
    tsr_model_destroy(&m);
}

static void llama_graph_has_the_nodes_it_should(void **state)
{
    (void)state;
    tsr_model *m =
        must_build("{\"model_type\": \"llama\", " LLAMA_TINY ", \"head_dim\": 10, \"attention_bias\": true, "
                   "\"mlp_bias\": true, \"hidden_act\": \"gelu\", \"rms_norm_eps\": 0.25}");
    const tsr_graph *g = tsr_model_graph(m, "decode");
    assert_int_equal(g->n_nodes, 1 + 15 + 3);
    assert_int_equal(count_ops(g, TSR_OP_LINEAR), 8);
    assert_int_equal(count_ops(g, TSR_OP_NORM), 3);
    assert_int_equal(count_ops(g, TSR_OP_ROPE), 2);
    assert_int_equal(count_ops(g, TSR_OP_ADD), 2);
    const tsr_node *attention = first_op(g, TSR_OP_ATTENTION);
    assert_int_equal(attention->attrs.attention.heads, 4);
    assert_int_equal(attention->attrs.attention.kv_heads, 2);
    assert_int_equal(attention->attrs.attention.head_dim, 10);
    assert_int_equal(attention->attrs.attention.window, 0);
    assert_float_equal(attention->attrs.attention.scale, 1 / sqrt(10), 1e-7);
    assert_int_equal(first_op(g, TSR_OP_ROPE)->attrs.rope.rotary_dim, 10);
    assert_int_equal(first_op(g, TSR_OP_GATED)->attrs.act.kind, TSR_ACT_GELU);
    assert_float_equal(first_op(g, TSR_OP_NORM)->attrs.norm.eps, 0.25, 0);
    for (int64_t i = 0; i < g->n_nodes - 1; i++)
        if (g->nodes[i].op == TSR_OP_LINEAR) assert_int_equal(g->nodes[i].n_weights, 2);
    assert_int_equal(g->values[g->output].rows, TSR_ROWS_SELECTED);
    assert_int_equal(g->values[g->output].cols, 99);
    assert_int_equal(g->nodes[g->n_nodes - 3].op, TSR_OP_SELECT_ROWS); /* before the final norm */
    assert_int_equal(m->max_positions, 2048);
    assert_false(m->positions_are_hard);
    tsr_model_destroy(&m);
}

static void tied_heads_share_the_weight(void **state)
{
    (void)state;
    static const char *const configs[] = {
        "{\"model_type\": \"llama\", " LLAMA_TINY ", \"tie_word_embeddings\": true}",
        "{\"model_type\": \"mistral\", " LLAMA_TINY ", \"tie_word_embeddings\": true}",
        "{\"model_type\": \"gpt2\"}",
        "{\"model_type\": \"gpt_neox\", \"num_hidden_layers\": 1, \"tie_word_embeddings\": true}"};
    for (int i = 0; i < 4; i++) {
        tsr_model *m = must_build(configs[i]);
        const tsr_graph *g = tsr_model_graph(m, "decode");
        assert_int_equal(g->nodes[g->n_nodes - 1].weight[0], g->nodes[0].weight[0]);
        assert_int_equal(g->nodes[g->n_nodes - 1].out[0], g->output);
        tsr_model_destroy(&m);
    }
}

static void mistral_has_its_own_defaults(void **state)
{
    (void)state;
    tsr_model *m =
        must_build("{\"model_type\": \"mistral\", \"num_hidden_layers\": 1, \"attention_bias\": true}");
    const tsr_node *a = first_op(tsr_model_graph(m, "decode"), TSR_OP_ATTENTION);
    assert_int_equal(a->attrs.attention.kv_heads, 8);
    assert_int_equal(a->attrs.attention.window, 4096);
    assert_int_equal(m->max_positions, 131072);
    assert_int_equal(m->n_weights, 12); /* no biases, whatever the config says */
    tsr_model_destroy(&m);
    m = must_build("{\"model_type\": \"mistral\", \"num_hidden_layers\": 1, \"sliding_window\": null, "
                   "\"num_key_value_heads\": null, \"head_dim\": null}");
    a = first_op(tsr_model_graph(m, "decode"), TSR_OP_ATTENTION);
    assert_int_equal(a->attrs.attention.kv_heads, 32);
    assert_int_equal(a->attrs.attention.window, 0);
    tsr_model_destroy(&m);
}

static void gpt2_takes_its_fused_tensors_apart(void **state)
{
    (void)state;
    tsr_model *m = must_build("{\"model_type\": \"gpt2\", \"n_embd\": 32, \"n_head\": 4, \"n_layer\": 1, "
                              "\"vocab_size\": 99, \"n_positions\": 64, \"n_inner\": null}");
    expect_weights(m, "transformer.wte.weight [99, 32]\n"
                      "transformer.wpe.weight [64, 32]\n"
                      "transformer.h.0.ln_1.weight [32]\n"
                      "transformer.h.0.ln_1.bias [32]\n"
                      "transformer.h.0.ln_2.weight [32]\n"
                      "transformer.h.0.ln_2.bias [32]\n"
                      "transformer.h.0.attn.c_attn.weight.T[0:32] [32, 32]\n"
                      "transformer.h.0.attn.c_attn.bias[0:32] [32]\n"
                      "transformer.h.0.attn.c_attn.weight.T[32:64] [32, 32]\n"
                      "transformer.h.0.attn.c_attn.bias[32:64] [32]\n"
                      "transformer.h.0.attn.c_attn.weight.T[64:96] [32, 32]\n"
                      "transformer.h.0.attn.c_attn.bias[64:96] [32]\n"
                      "transformer.h.0.attn.c_proj.weight.T [32, 32]\n"
                      "transformer.h.0.attn.c_proj.bias [32]\n"
                      "transformer.h.0.mlp.c_fc.weight.T [128, 32]\n"
                      "transformer.h.0.mlp.c_fc.bias [128]\n"
                      "transformer.h.0.mlp.c_proj.weight.T [32, 128]\n"
                      "transformer.h.0.mlp.c_proj.bias [32]\n"
                      "transformer.ln_f.weight [32]\n"
                      "transformer.ln_f.bias [32]\n");
    assert_true(m->positions_are_hard);
    assert_int_equal(m->max_positions, 64);
    assert_int_equal(m->n_ropes, 0);
    tsr_model_destroy(&m);
}

static void gpt2_scales_scores_as_told(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        double scale[2]; /* of the first two layers, times sqrt(16) */
    } rows[] = {{"", {1, 1}},
                {", \"scale_attn_weights\": false", {4, 4}},
                {", \"scale_attn_by_inverse_layer_idx\": true", {1, 0.5}},
                {", \"scale_attn_by_inverse_layer_idx\": true, \"scale_attn_weights\": false", {4, 2}}};
    for (int i = 0; i < 4; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"gpt2\", \"n_embd\": 32, \"n_head\": 2, \"n_layer\": 2%s}",
                 rows[i].options);
        tsr_model *m = must_build(text);
        const tsr_graph *g = tsr_model_graph(m, "decode");
        for (int64_t n = 0; n < g->n_nodes; n++)
            if (g->nodes[n].op == TSR_OP_ATTENTION)
                assert_float_equal(g->nodes[n].attrs.attention.scale * 4, rows[i].scale[g->nodes[n].layer],
                                   1e-7);
        tsr_model_destroy(&m);
    }
}

static void gpt_neox_takes_its_heads_apart(void **state)
{
    (void)state;
    tsr_model *m =
        must_build("{\"model_type\": \"gpt_neox\", \"hidden_size\": 32, \"num_attention_heads\": 4, "
                   "\"intermediate_size\": 64, \"vocab_size\": 99, \"num_hidden_layers\": 1}");
    expect_weights(
        m,
        "gpt_neox.embed_in.weight [99, 32]\n"
        "gpt_neox.layers.0.input_layernorm.weight [32]\n"
        "gpt_neox.layers.0.input_layernorm.bias [32]\n"
        "gpt_neox.layers.0.post_attention_layernorm.weight [32]\n"
        "gpt_neox.layers.0.post_attention_layernorm.bias [32]\n"
        "gpt_neox.layers.0.attention.query_key_value.weight.reshape[4,24,32][:,0:8].reshape[32,32] [32, 32]\n"
        "gpt_neox.layers.0.attention.query_key_value.bias.reshape[4,24][:,0:8].reshape[32] [32]\n"
        "gpt_neox.layers.0.attention.query_key_value.weight.reshape[4,24,32][:,8:16].reshape[32,32] [32, "
        "32]\n"
        "gpt_neox.layers.0.attention.query_key_value.bias.reshape[4,24][:,8:16].reshape[32] [32]\n"
        "gpt_neox.layers.0.attention.query_key_value.weight.reshape[4,24,32][:,16:24].reshape[32,32] [32, "
        "32]\n"
        "gpt_neox.layers.0.attention.query_key_value.bias.reshape[4,24][:,16:24].reshape[32] [32]\n"
        "gpt_neox.layers.0.attention.dense.weight [32, 32]\n"
        "gpt_neox.layers.0.attention.dense.bias [32]\n"
        "gpt_neox.layers.0.mlp.dense_h_to_4h.weight [64, 32]\n"
        "gpt_neox.layers.0.mlp.dense_h_to_4h.bias [64]\n"
        "gpt_neox.layers.0.mlp.dense_4h_to_h.weight [32, 64]\n"
        "gpt_neox.layers.0.mlp.dense_4h_to_h.bias [32]\n"
        "gpt_neox.final_layer_norm.weight [32]\n"
        "gpt_neox.final_layer_norm.bias [32]\n"
        "embed_out.weight [99, 32]\n");
    assert_int_equal(first_op(tsr_model_graph(m, "decode"), TSR_OP_ROPE)->attrs.rope.rotary_dim, 2);
    tsr_model_destroy(&m);
}

/* x + (attention + mlp): the two branches meet before the residual does. */
static void gpt_neox_adds_parallel_branches_first(void **state)
{
    (void)state;
    tsr_model *m = must_build("{\"model_type\": \"gpt_neox\", \"num_hidden_layers\": 1}");
    const tsr_graph *g = tsr_model_graph(m, "decode");
    const tsr_node *residual = NULL, *branches = first_op(g, TSR_OP_ADD);
    for (int64_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == TSR_OP_ADD) residual = &g->nodes[i];
    assert_int_equal(residual->in[0], g->nodes[0].out[0]);
    assert_int_equal(residual->in[1], branches->out[0]);
    assert_int_equal(count_ops(g, TSR_OP_ADD), 2);
    tsr_model_destroy(&m);
    m = must_build(
        "{\"model_type\": \"gpt_neox\", \"num_hidden_layers\": 1, \"use_parallel_residual\": false}");
    g = tsr_model_graph(m, "decode");
    assert_int_equal(first_op(g, TSR_OP_ADD)->in[0], g->nodes[0].out[0]);
    tsr_model_destroy(&m);
}

static void newer_rope_spelling_is_read(void **state)
{
    (void)state;
    tsr_model *m = must_build("{\"model_type\": \"gpt_neox\", \"num_hidden_layers\": 1, \"rotary_pct\": 0.5, "
                              "\"rope_parameters\": {\"partial_rotary_factor\": 0.75, \"rope_theta\": 300}}");
    assert_int_equal(m->ropes[0].dims, 72);
    assert_float_equal(m->ropes[0].theta, 300, 0);
    tsr_model_destroy(&m);
    m = must_build("{\"model_type\": \"gpt_neox\", \"num_hidden_layers\": 1, \"rotary_emb_base\": 500}");
    assert_int_equal(m->ropes[0].dims, 24);
    assert_float_equal(m->ropes[0].theta, 500, 0);
    tsr_model_destroy(&m);
}

/* --- Released models: the sum of all weights is the published number of parameters --- */

static int64_t parameters(const tsr_model *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].view) n += m->weights[i].rows * m->weights[i].cols; /* the others are computed */
    return n;
}

static void released_models_have_their_published_size(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int64_t parameters;
    } rows[] = {
        {"{\"model_type\": \"gpt2\"}", 124439808},
        {"{\"model_type\": \"gpt2\", \"n_embd\": 1600, \"n_head\": 25, \"n_layer\": 48}", 1557611200},
        {"{\"model_type\": \"llama\"}", 6738415616},
        {"{\"model_type\": \"llama\", \"hidden_size\": 8192, \"intermediate_size\": 28672, "
         "\"num_hidden_layers\": 80, "
         "\"num_attention_heads\": 64, \"num_key_value_heads\": 8}",
         68976648192},
        {"{\"model_type\": \"llama\", \"hidden_size\": 2048, \"intermediate_size\": 8192, "
         "\"num_hidden_layers\": 16, "
         "\"num_key_value_heads\": 8, \"vocab_size\": 128256, \"tie_word_embeddings\": true, \"head_dim\": "
         "64}",
         1235814400},
        {"{\"model_type\": \"mistral\"}", 7241732096},
        {"{\"model_type\": \"gpt_neox\"}", 20554567680},
        {"{\"model_type\": \"bloom\", \"hidden_size\": 1024, \"n_layer\": 24, \"n_head\": 16}", 559214592},
        {"{\"model_type\": \"bloom\", \"n_embed\": 14336, \"num_hidden_layers\": 70, "
         "\"num_attention_heads\": 112}",
         176247271424},
        {"{\"model_type\": \"opt\", \"hidden_size\": 1024, \"num_hidden_layers\": 24, "
         "\"num_attention_heads\": 16, \"ffn_dim\": 4096, \"word_embed_proj_dim\": 512, "
         "\"do_layer_norm_before\": false}",
         331196416},
        {"{\"model_type\": \"opt\", \"hidden_size\": 4096, \"num_hidden_layers\": 32, "
         "\"num_attention_heads\": 32, \"ffn_dim\": 16384}",
         6658473984},
        {"{\"model_type\": \"gptj\", \"n_embd\": 4096}", 6050882784},
        {"{\"model_type\": \"codegen\", \"n_embd\": 1024, \"n_layer\": 20, \"n_head\": 16, \"rotary_dim\": "
         "32, \"vocab_size\": 51200}",
         356712448},
        {"{\"model_type\": \"falcon\", \"hidden_size\": 4544}", 6921720704},
        {"{\"model_type\": \"RefinedWebModel\", \"n_head\": 71, \"n_layer\": 32, \"hidden_size\": 4544}",
         6921720704},
        {"{\"model_type\": \"RefinedWeb\", \"n_head\": 128, \"n_head_kv\": 8, \"n_layer\": 60, "
         "\"hidden_size\": 8192}",
         41303293952},
        {"{\"model_type\": \"mpt\", \"d_model\": 7168, \"n_heads\": 64, \"n_layers\": 48, \"vocab_size\": "
         "50432}",
         29957200896},
        {"{\"model_type\": \"gpt_neo\", \"hidden_size\": 2560, \"num_layers\": 32, \"num_heads\": 20, "
         "\"attention_types\": [[[\"global\", \"local\"], 16]]}",
         2651307520},
        {"{\"model_type\": \"gpt_bigcode\", \"n_embd\": 6144, \"n_layer\": 40, \"n_head\": 48, \"n_inner\": "
         "24576, \"n_positions\": 8192, \"vocab_size\": 49152}",
         15517456384},
        {"{\"model_type\": \"qwen2\", \"hidden_size\": 3584, \"intermediate_size\": 18944, "
         "\"num_hidden_layers\": 28, \"num_attention_heads\": 28, \"num_key_value_heads\": 4, "
         "\"vocab_size\": 152064}",
         7615616512},
        {"{\"model_type\": \"glm\", \"vocab_size\": 151552}", 9399951360},
        {"{\"model_type\": \"xglm\", \"d_model\": 1024}", 564463616},
        {"{\"model_type\": \"openai-gpt\", \"n_embd\": 768}", 116534784},
        {"{\"model_type\": \"stablelm\"}", 2795443200},
        {"{\"model_type\": \"phi\", \"hidden_size\": 2560, \"intermediate_size\": 10240, "
         "\"num_hidden_layers\": 32}",
         2779683840},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tsr_model *m = must_build(rows[i].config);
        if (parameters(m) != rows[i].parameters)
            fail_msg("%s: %lld parameters, expected %lld", rows[i].config, (long long)parameters(m),
                     (long long)rows[i].parameters);
        tsr_model_destroy(&m);
    }
}

/* --- Hostile configs --- */

static void hostile_configs_are_one_clear_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        tsr_model *m;
        if (build(refusals[i].config, &m) != TSR_ERR_FORMAT) fail_msg("accepted: %s", refusals[i].config);
        assert_null(m);
        if (!strstr(tsr_error_text(), refusals[i].line))
            fail_msg("%s: says \"%s\", expected \"%s\"", refusals[i].config, tsr_error_text(),
                     refusals[i].line);
    }
}

static void deepest_models_are_built(void **state)
{
    (void)state;
    tsr_model *m = must_build("{\"model_type\": \"gpt_neox\", \"num_hidden_layers\": 4096}");
    assert_int_equal(m->n_cache_layers, 4096);
    tsr_model_destroy(&m);
}

/* Every allocation of a build fails once: an error each time, and (under the sanitizers) nothing is lost. */
static void running_out_of_memory_is_an_error(void **state)
{
    (void)state;
    static const char text[] = "{\"model_type\": \"gpt_neox\", \"num_hidden_layers\": 9}";
    tsr_json doc;
    tsr_model *m;
    OK(tsr_json_parse(text, sizeof text - 1, "config.json", &doc));
    int failures = 0;
    for (;; failures++) {
        tsr_memory_fail_after(failures + 1);
        tsr_status status = tsr_model_from_config(&doc, &m);
        tsr_memory_fail_after(0);
        if (status == TSR_OK) break;
        assert_int_equal(status, TSR_ERR_MEMORY);
        assert_null(m);
    }
    assert_in_range(failures, 10, 10000);
    tsr_model_destroy(&m);
    tsr_json_free(&doc);
}

static void missing_files_are_named(void **state)
{
    (void)state;
    tsr_model *m;
    assert_int_equal(tsr_model_from_dir("/nonexistent", &m), TSR_ERR_IO);
    assert_non_null(strstr(tsr_error_text(), "/nonexistent/config.json"));
}

/* --- The oracle's instances --- */

/* Constant tables that old releases saved beside the weights. */
static bool is_junk(const char *name)
{
    static const char *const endings[] = {".attn.bias", ".attn.masked_bias", ".attention.bias",
                                          ".attention.masked_bias", ".rotary_emb.inv_freq"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(name), k = strlen(endings[i]);
        if (n >= k && strcmp(name + n - k, endings[i]) == 0) return true;
    }
    return false;
}

static bool uses(const tsr_model *m, const tsr_source *source, const tsr_tensor_info *tensor)
{
    for (int64_t i = 0; i < m->n_weights; i++)
        for (int k = 0; m->weights[i].view && k < tsr_view_leaf_count(m->weights[i].view); k++) {
            const char *leaf = tsr_view_leaf_name(m->weights[i].view, k);
            if (tsr_source_find_prefixed(source, leaf, m->name_prefix) == tensor) return true;
        }
    return false;
}

/* Every view finds its tensor, and every tensor has a view, but for junk and the copy of a tied head. */
static void check_tensors(const char *name, const tsr_model *m, const tsr_source *source)
{
    const tsr_graph *g = &m->graphs[0];
    bool tied = g->nodes[g->n_nodes - 1].weight[0] == g->nodes[0].weight[0];
    for (int64_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].view && tsr_view_check(m->weights[i].view, source, m->name_prefix) != TSR_OK)
            fail_msg("%s: %s", name, tsr_error_text());
    for (int64_t i = 0; i < tsr_source_count(source); i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        bool copy = tied && strcmp(t->name, "lm_head.weight") == 0;
        if (!is_junk(t->name) && !copy && !uses(m, source, t))
            fail_msg("%s: tensor %s is not used", name, t->name);
    }
}

/* log softmax(logits of row t)[id] */
static double log_probability(const plain_run *run, const tsr_graph *g, int row, int id)
{
    double top = -INFINITY, total = 0;
    for (int64_t c = 0; c < g->values[g->output].cols; c++)
        top = fmax(top, plain_at(run, 0, g->output, row, c));
    for (int64_t c = 0; c < g->values[g->output].cols; c++)
        total += exp(plain_at(run, 0, g->output, row, c) - top);
    return plain_at(run, 0, g->output, row, id) - top - log(total);
}

static double check_prompt(const char *name, tsr_graph *g, const tsr_source *source, const json_t *prompt)
{
    enum { MAX_IDS = 512 };
    int ids[MAX_IDS], n = (int)json_array_size(json_object_get(prompt, "ids"));
    const json_t *expected = json_object_get(prompt, "logprobs");
    plain_run run;
    double worst = 0;
    assert_in_range(n, 1, MAX_IDS);
    for (int i = 0; i < n; i++)
        ids[i] = (int)json_integer_value(json_array_get(json_object_get(prompt, "ids"), (size_t)i));
    plain_run_graphs(&run, &g, 1, source, ids, n);
    for (int i = 1; i < n; i++) {
        double found = log_probability(&run, g, i - 1, ids[i]);
        double wanted = json_number_value(json_array_get(expected, (size_t)i));
        worst = fmax(worst, fabs(found - wanted));
        if (!(fabs(found - wanted) < 5e-5))
            fail_msg("%s: token %d of %d: log-probability %.7f, expected %.7f", name, i, n, found, wanted);
    }
    plain_run_free(&run);
    return worst;
}

static void check_instance(const char *name)
{
    char folder[512], path[600];
    tsr_model *m;
    tsr_source *source;
    tsr_json expected;
    snprintf(folder, sizeof folder, "%s/oracle/%s", TSR_TEST_DATA, name);
    snprintf(path, sizeof path, "%s/expected.json", folder);
    OK(tsr_model_from_dir(folder, &m));
    OK(tsr_source_open(folder, &source));
    OK(tsr_json_read(path, 64 << 20, &expected));
    check_tensors(name, m, source);
    const json_t *prompts = json_object_get(expected.root, "prompts");
    double worst = 0;
    assert_true(json_array_size(prompts) > 0);
    for (size_t i = 0; i < json_array_size(prompts); i++)
        worst = fmax(worst, check_prompt(name, &m->graphs[0], source, json_array_get(prompts, i)));
    print_message("  %-24s largest difference %.1e\n", name, worst);
    tsr_json_free(&expected);
    tsr_source_destroy(&source);
    tsr_model_destroy(&m);
}

static int is_instance(const struct dirent *entry)
{
    char path[600];
    snprintf(path, sizeof path, "%s/oracle/%s/expected.json", TSR_TEST_DATA, entry->d_name);
    FILE *f = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
    if (f) fclose(f);
    return f != NULL;
}

static void instances_compute_what_the_reference_does(void **state)
{
    (void)state;
    struct dirent **entries;
    int n = scandir(TSR_TEST_DATA "/oracle", &entries, is_instance, alphasort);
    assert_true(n >= 24);
    for (int i = 0; i < n; i++) {
        check_instance(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_names_its_tensors),
        cmocka_unit_test(llama_graph_has_the_nodes_it_should),
        cmocka_unit_test(tied_heads_share_the_weight),
        cmocka_unit_test(mistral_has_its_own_defaults),
        cmocka_unit_test(gpt2_takes_its_fused_tensors_apart),
        cmocka_unit_test(gpt2_scales_scores_as_told),
        cmocka_unit_test(gpt_neox_takes_its_heads_apart),
        cmocka_unit_test(gpt_neox_adds_parallel_branches_first),
        cmocka_unit_test(newer_rope_spelling_is_read),
        cmocka_unit_test(released_models_have_their_published_size),
        cmocka_unit_test(hostile_configs_are_one_clear_line),
        cmocka_unit_test(deepest_models_are_built),
        cmocka_unit_test(running_out_of_memory_is_an_error),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(instances_compute_what_the_reference_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
