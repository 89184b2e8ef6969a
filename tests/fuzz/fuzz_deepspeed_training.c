/* fuzz_deepspeed_training.c: the files of a training checkpoint from any bytes (support_training.h says how): refused
 * with a line, or every tensor that is listed can be read. Without `latest` the folder of the files is opened itself. */
#include "../support_training.h"
#include "base/log.h"
#include "checkpoint/source.h"

#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READ_CAP = 1 << 16 };

static char folder[ST_PATH], tag[ST_PATH];

static void need(bool ok)
{
    if (!ok) abort();
}

static void clean_up(void)
{
    st_folder_remove(tag);
    st_folder_remove(folder);
}

static void set_up(void)
{
    tsr_log_setup(TSR_LOG_ERROR, 0);
    st_folder_create(folder);
    st_path(tag, folder, "tag");
    need(mkdir(tag, 0700) == 0);
    atexit(clean_up);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t numbers[TRAINING_STORAGES * 255];
    static char bytes[READ_CAP];
    tsr_source *source;
    if (!*folder) set_up();
    bool latest = training_unpack(data, size, numbers, folder, tag);
    tsr_error_clear();
    tsr_status status = tsr_source_open_checkpoint(folder, latest ? NULL : "tag", &source);
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
