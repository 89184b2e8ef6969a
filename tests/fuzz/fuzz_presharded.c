/* fuzz_presharded.c: the weights of two ranks as DeepSpeed injects them, of any names, formats and shapes: refused with
 * a line, or what they are put together to can be read. The input is, with NULs between them, the two files' headers
 * and config.json. */
#include "../support_safetensors.h"
#include "base/log.h"
#include "checkpoint/source.h"

#include <stdbool.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PART_CAP = 1 << 16, DATA_BYTES = 1024 };

static const char told[] = "{\"type\":\"ds_model\",\"version\":1,\"parallelization\":\"tp\",\"tp_size\":2,"
                           "\"checkpoints\":{\"tp\":[\"a.safetensors\",\"b.safetensors\"]}}";
static char folder[ST_PATH];

static void need(bool ok)
{
    if (!ok) abort();
}

static void clean_up(void)
{
    st_folder_remove(folder);
}

/* Takes what stands before the next NUL. */
static void take(const uint8_t **data, size_t *size, char part[PART_CAP])
{
    const uint8_t *nul = *size ? memchr(*data, 0, *size) : NULL;
    size_t n = nul ? (size_t)(nul - *data) : *size, kept = n < PART_CAP ? n : PART_CAP - 1;
    if (kept) memcpy(part, *data, kept);
    part[kept] = '\0';
    *data += n + (nul != NULL);
    *size -= n + (nul != NULL);
}

static void read_all(const tsr_source *source)
{
    static char bytes[8 * DATA_BYTES];
    for (int64_t i = 0; i < tsr_source_count(source); i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        need(t->bytes <= (int64_t)sizeof bytes && tsr_source_read(source, t, 0, t->bytes, bytes) == TSR_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char zeros[DATA_BYTES];
    static char part[PART_CAP];
    tsr_source *source;
    if (!*folder) {
        tsr_log_setup(TSR_LOG_ERROR, 0);
        st_folder_create(folder);
        st_write_text(folder, "ds_inference_config.json", told);
        atexit(clean_up);
    }
    take(&data, &size, part);
    st_write_header(folder, "a.safetensors", part, zeros, DATA_BYTES);
    take(&data, &size, part);
    st_write_header(folder, "b.safetensors", part, zeros, DATA_BYTES);
    take(&data, &size, part);
    st_write_text(folder, "config.json", part);
    tsr_error_clear();
    tsr_status status = tsr_source_open(folder, &source);
    if (status == TSR_OK)
        read_all(source);
    else
        need((status == TSR_ERR_FORMAT || status == TSR_ERR_IO) && *tsr_error_text());
    tsr_source_destroy(&source);
    return 0;
}
