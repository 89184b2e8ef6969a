/* fuzz_torch.c: any bytes as pytorch_model.bin, zip archive and all: refused with a line, or every tensor listed can
 * be read to its last byte. */
#include "../support_safetensors.h"
#include "checkpoint/source.h"

#include <stdbool.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READ_CAP = 1 << 16 };

static char folder[ST_PATH];

static void need(bool ok)
{
    if (!ok) abort();
}

static void clean_up(void)
{
    st_folder_remove(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[READ_CAP];
    tsr_source *source;
    if (!*folder) {
        st_folder_create(folder);
        atexit(clean_up);
    }
    st_write_bytes(folder, "pytorch_model.bin", data, (int64_t)size);
    tsr_error_clear();
    tsr_status status = tsr_source_open(folder, &source);
    if (status != TSR_OK) need((status == TSR_ERR_FORMAT || status == TSR_ERR_IO) && *tsr_error_text());
    for (int64_t i = 0; status == TSR_OK && i < tsr_source_count(source) && i < 64; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        int64_t n = t->bytes < READ_CAP ? t->bytes : READ_CAP;
        need(tsr_source_read(source, t, 0, n, bytes) == TSR_OK);
        need(tsr_source_read(source, t, t->bytes - n, n, bytes) == TSR_OK);
    }
    tsr_source_destroy(&source);
    return 0;
}
