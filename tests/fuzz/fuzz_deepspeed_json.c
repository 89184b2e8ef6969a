/* fuzz_deepspeed_json.c: any bytes as ds_inference_checkpoint.json beside two well-formed files, one.safetensors and
 * two.safetensors: refused with a line, or what it lists can be read. */
#include "../support_safetensors.h"
#include "checkpoint/source.h"

#include <stdbool.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[ST_PATH];

static void need(bool ok)
{
    if (!ok) abort();
}

static void clean_up(void)
{
    st_folder_remove(folder);
}

static void set_up(void)
{
    static const float six[6] = {1, 2, 3, 4, 5, 6};
    const st_tensor one[] = {{"a", "F32", 1, {2}, six}, {"b", "BF16", 2, {2, 3}, six}};
    const st_tensor two = {"c", "F16", 1, {4}, six};
    st_folder_create(folder);
    atexit(clean_up);
    st_write(folder, "one.safetensors", one, 2);
    st_write(folder, "two.safetensors", &two, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_source *source;
    char bytes[64];
    if (!*folder) set_up();
    st_write_bytes(folder, "ds_inference_checkpoint.json", data, (int64_t)size);
    tsr_error_clear();
    tsr_status status = tsr_source_open(folder, &source);
    if (status == TSR_OK) {
        need(tsr_source_count(source) >= 1 && tsr_source_count(source) <= 3);
        for (int64_t i = 0; i < tsr_source_count(source); i++) {
            const tsr_tensor_info *t = tsr_source_tensor(source, i);
            need(tsr_source_read(source, t, 0, t->bytes, bytes) == TSR_OK);
        }
    } else {
        need((status == TSR_ERR_FORMAT || status == TSR_ERR_IO) && *tsr_error_text());
    }
    tsr_source_destroy(&source);
    return 0;
}
