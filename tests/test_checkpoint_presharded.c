/* test_checkpoint_presharded.c: weights that DeepSpeed injected on two ranks, element by element: which number of which file
 * becomes which of the model's. A number tells where it comes from: 1000 * rank + its place in the piece. */
#include "base/memory.h"
#include "checkpoint/source.h"
#include "support_safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_memory.h"

enum { RANKS = 2, NUMBERS = 64 };

static const char json[] =
    "{\"type\":\"ds_model\",\"version\":1.0,\"parallelization\":\"tp\",\"tp_size\":2,"
    "\"checkpoints\":{\"non_tp\":[],\"tp\":[\"tp_00_00.safetensors\",\"tp_01_00.safetensors\"]}}";
static char folder[ST_PATH];
static float numbers[RANKS][NUMBERS];

static int set_up(void **state)
{
    (void)state;
    st_folder_create(folder);
    st_write_text(folder, "ds_inference_config.json", json);
    for (int r = 0; r < RANKS; r++)
        for (int i = 0; i < NUMBERS; i++) numbers[r][i] = (float)(1000 * r + i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    st_folder_remove(folder);
    return 0;
}

/* The file of a rank, its tensors all float32 and numbered. */
static void write_rank(int rank, const st_tensor *tensors, int n)
{
    st_tensor own[8];
    for (int i = 0; i < n; i++) {
        own[i] = tensors[i];
        own[i].dtype = "F32";
        own[i].data = numbers[rank];
    }
    st_write(folder, rank ? "tp_01_00.safetensors" : "tp_00_00.safetensors", own, n);
}

static void expect(const tsr_source *s, const char *name, int rows, int cols, const float *wanted)
{
    float got[NUMBERS];
    const tsr_tensor_info *t = tsr_source_find(s, name);
    if (!t) fail_msg("%s is not listed", name);
    assert_int_equal(t->rank, cols ? 2 : 1);
    assert_int_equal(t->shape[0], rows);
    if (cols) assert_int_equal(t->shape[1], cols);
    assert_int_equal(t->bytes, 4 * rows * (cols ? cols : 1));
    assert_int_equal(tsr_source_read(s, t, 0, t->bytes, got), TSR_OK);
    for (int i = 0; i < t->bytes / 4; i++)
        if (got[i] != wanted[i]) fail_msg("%s: element %d is %g, not %g", name, i, got[i], wanted[i]);
}

static tsr_source *open_folder(const char *config)
{
    tsr_source *s;
    st_write_text(folder, "config.json", config);
    if (tsr_source_open(folder, &s) != TSR_OK) fail_msg("%s", tsr_error_text());
    return s;
}

#define AT "model.layers.3."

/* 6 heads of one dimension for 3 of keys and values: rank 0 has 4 and 2, rank 1 has 2 and 1. Channels: 1 and 2. */
static void write_llama(void)
{
    const st_tensor first[] = {{.name = AT "attention.attn_qkvw", .rank = 2, .shape = {2, 8}},
                               {.name = AT "attention.attn_ow", .rank = 2, .shape = {4, 2}},
                               {.name = AT "mlp.inter_w", .rank = 2, .shape = {2, 2}},
                               {.name = AT "mlp.output_w", .rank = 2, .shape = {1, 2}},
                               {.name = AT "norm_w", .rank = 1, .shape = {2}},
                               {.name = AT "norm_b", .rank = 1, .shape = {2}},
                               {.name = "model.embed_tokens.weight", .rank = 2, .shape = {3, 2}},
                               {.name = "lm_head.weight", .rank = 2, .shape = {3, 1}}};
    const st_tensor second[] = {{.name = AT "attention.attn_qkvw", .rank = 2, .shape = {2, 4}},
                                {.name = AT "attention.attn_ow", .rank = 2, .shape = {2, 2}},
                                {.name = AT "mlp.inter_w", .rank = 2, .shape = {2, 4}},
                                {.name = AT "mlp.output_w", .rank = 2, .shape = {2, 2}},
                                {.name = AT "norm_w", .rank = 1, .shape = {2}},
                                {.name = AT "norm_b", .rank = 1, .shape = {2}},
                                {.name = "model.embed_tokens.weight", .rank = 2, .shape = {3, 2}},
                                {.name = "lm_head.weight", .rank = 2, .shape = {3, 1}}};
    write_rank(0, first, 8);
    write_rank(1, second, 8);
}

static const char llama[] = "{\"model_type\":\"llama\",\"num_attention_heads\":6,\"num_key_value_heads\":3}";

static void heads_and_channels_of_uneven_ranks_are_put_together(void **state)
{
    (void)state;
    write_llama();
    tsr_source *s = open_folder(llama);
    expect(s, AT "self_attn.q_proj.weight", 6, 2,
           (float[]){0, 8, 1, 9, 2, 10, 3, 11, 1000, 1004, 1001, 1005});
    expect(s, AT "self_attn.k_proj.weight", 3, 2, (float[]){4, 12, 5, 13, 1002, 1006});
    expect(s, AT "self_attn.v_proj.weight", 3, 2, (float[]){6, 14, 7, 15, 1003, 1007});
    expect(s, AT "self_attn.o_proj.weight", 2, 6, (float[]){0, 2, 4, 6, 1000, 1002, 1, 3, 5, 7, 1001, 1003});
    expect(s, AT "mlp.up_proj.weight", 3, 2, (float[]){0, 2, 1000, 1004, 1001, 1005});
    expect(s, AT "mlp.gate_proj.weight", 3, 2, (float[]){1, 3, 1002, 1006, 1003, 1007});
    expect(s, AT "mlp.down_proj.weight", 2, 3, (float[]){0, 1000, 1002, 1, 1001, 1003});
    expect(s, AT "input_layernorm.weight", 2, 0, (float[]){0, 1});
    expect(s, "model.embed_tokens.weight", 3, 2, (float[]){0, 1, 2, 3, 4, 5});
    expect(s, "lm_head.weight", 3, 2, (float[]){0, 1000, 1, 1001, 2, 1002});
    assert_int_equal(tsr_source_count(s), 10); /* norm_b means nothing */
    tsr_source_destroy(&s);
}

/* Two heads of two dimensions on rank 0, one on rank 1. */
static void write_qkv(const char *weight, const char *bias)
{
    const st_tensor first[] = {{.name = weight, .rank = 2, .shape = {1, 12}},
                               {.name = bias, .rank = 1, .shape = {12}}};
    const st_tensor second[] = {{.name = weight, .rank = 2, .shape = {1, 6}},
                                {.name = bias, .rank = 1, .shape = {6}}};
    write_rank(0, first, 2);
    write_rank(1, second, 2);
}

static void each_family_gets_its_own_order_of_q_k_and_v(void **state)
{
    (void)state;
    static const float by_head[] = {0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11, 1000, 1001, 1002, 1003, 1004, 1005};
    static const float together[] = {0, 1,    2,    3, 1000, 1001, 4,  5,    6,
                                     7, 1002, 1003, 8, 9,    10,   11, 1004, 1005};
    static const float kept[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1000, 1001, 1002, 1003, 1004, 1005};
    write_qkv("gpt_neox.layers.0.attention.attn_qkvw", "gpt_neox.layers.0.attention.attn_qkvb");
    tsr_source *s = open_folder("{\"model_type\":\"gpt_neox\",\"num_attention_heads\":3}");
    expect(s, "gpt_neox.layers.0.attention.query_key_value.weight", 18, 1, by_head);
    expect(s, "gpt_neox.layers.0.attention.query_key_value.bias", 18, 0, by_head);
    tsr_source_destroy(&s);
    write_qkv("h.11.attention.attn_qkvw", "h.11.attention.attn_qkvb");
    s = open_folder("{\"model_type\":\"gpt2\"}");
    expect(s, "h.11.attn.c_attn.weight", 1, 18, together);
    expect(s, "h.11.attn.c_attn.bias", 18, 0, together);
    tsr_source_destroy(&s);
    s = open_folder("{\"model_type\":\"bloom\"}");
    expect(s, "h.11.self_attention.query_key_value.weight", 18, 1, kept);
    expect(s, "h.11.self_attention.query_key_value.bias", 18, 0, kept);
    tsr_source_destroy(&s);
    s = open_folder("{\"model_type\":\"opt\"}");
    expect(s, "h.11.self_attn.k_proj.weight", 6, 1, &together[6]);
    expect(s, "h.11.self_attn.v_proj.bias", 6, 0, &together[12]);
    tsr_source_destroy(&s);
}

static void running_out_of_memory_is_an_error_at_every_allocation(void **state)
{
    (void)state;
    write_llama();
    st_write_text(folder, "config.json", llama);
    assert_true(failures_of_opening(folder) > 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(heads_and_channels_of_uneven_ranks_are_put_together),
        TEST(each_family_gets_its_own_order_of_q_k_and_v),
        TEST(running_out_of_memory_is_an_error_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
