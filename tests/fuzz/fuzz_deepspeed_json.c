/* fuzz_deepspeed_json.c: any bytes as ds_inference_checkpoint.json, and behind a NUL as config.json, beside files of
 * whole tensors, the pieces of two ranks, and a folder: refused with a line, or what it lists can be read. */
#include "../support_safetensors.h"
#include "base/log.h"
#include "checkpoint/source.h"

#include <stdbool.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char llama[] = "{\"model_type\":\"llama\",\"num_attention_heads\":2}";
static char folder[ST_PATH], below[ST_PATH];

static void need(bool ok)
{
    if (!ok) abort();
}

static void clean_up(void)
{
    st_folder_remove(below);
    st_folder_remove(folder);
}

/* Two heads of one dimension, two channels; each rank has one. */
static void write_pieces(void)
{
    static const float numbers[6] = {1, 2, 3, 4, 5, 6};
    static const st_tensor piece[] = {
        {"model.layers.0.attention.attn_qkvw", "F32", 2, {2, 3}, numbers},
        {"model.layers.0.attention.attn_qkvb", "F32", 1, {3}, numbers},
        {"model.layers.0.attention.attn_ow", "F32", 2, {1, 2}, numbers},
        {"model.layers.0.mlp.inter_w", "F32", 2, {2, 2}, numbers},
        {"model.layers.0.mlp.output_w", "F32", 2, {1, 2}, numbers},
        {"model.layers.0.norm_w", "F32", 1, {2}, numbers},
        {"model.embed_tokens.weight", "F32", 2, {3, 2}, numbers},
        {"lm_head.weight", "F32", 2, {3, 1}, numbers},
    };
    for (int i = 0; i < 2; i++)
        st_write(folder, i ? "tp_01_00.safetensors" : "tp_00_00.safetensors", piece,
                 sizeof piece / sizeof piece[0]);
}

static void set_up(void)
{
    static const float six[6] = {1, 2, 3, 4, 5, 6};
    const st_tensor one[] = {{"a", "F32", 1, {2}, six}, {"b", "BF16", 2, {2, 3}, six}};
    const st_tensor two = {"c", "F16", 1, {4}, six};
    tsr_log_setup(TSR_LOG_ERROR, 0);
    st_folder_create(folder);
    st_path(below, folder, "sub");
    need(mkdir(below, 0700) == 0);
    atexit(clean_up);
    st_write(folder, "one.safetensors", one, 2);
    st_write(folder, "two.safetensors", &two, 1);
    st_write(below, "three.safetensors", &two, 1);
    write_pieces();
}

static void read_all(const tsr_source *source)
{
    char bytes[64];
    need(tsr_source_count(source) >= 1 && tsr_source_count(source) <= 16);
    for (int64_t i = 0; i < tsr_source_count(source); i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        need(t->bytes <= (int64_t)sizeof bytes && tsr_source_read(source, t, 0, t->bytes, bytes) == TSR_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_source *source;
    if (!*folder) set_up();
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t json = nul ? (size_t)(nul - data) : size;
    st_write_bytes(folder, "ds_inference_checkpoint.json", data, (int64_t)json);
    if (nul)
        st_write_bytes(folder, "config.json", nul + 1, (int64_t)(size - json - 1));
    else
        st_write_text(folder, "config.json", llama);
    tsr_error_clear();
    tsr_status status = tsr_source_open(folder, &source);
    if (status == TSR_OK)
        read_all(source);
    else
        need((status == TSR_ERR_FORMAT || status == TSR_ERR_IO) && *tsr_error_text());
    tsr_source_destroy(&source);
    return 0;
}
