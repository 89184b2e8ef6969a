/* fuzz_megatron.c: any bytes as the pickle of a Megatron-LM checkpoint, the same on two ranks, beside storages of a few
 * sizes: refused with a line, or every tensor listed can be read and the config that it tells is JSON. */
#include "../support_safetensors.h"
#include "../support_zip.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { READ_CAP = 1 << 16, PICKLE_CAP = 1 << 20 };

static char folder[ST_PATH];

static void need(bool ok)
{
    if (!ok) abort();
}

static void clean_up(void)
{
    st_folder_remove(folder);
}

static void write_files(const uint8_t *data, size_t size)
{
    static const size_t storages[] = {16, 64, 256, 1024};
    static const char numbers[16 + 64 + 256 + 1024];
    zip_out z;
    zip_torch(&z, data, size, 4, storages, numbers);
    st_write_bytes(folder, "mp_rank_00_model_states.pt", z.bytes, (int64_t)z.size);
    st_write_bytes(folder, "mp_rank_01_model_states.pt", z.bytes, (int64_t)z.size);
    zip_free(&z);
}

static void use(const tsr_source *source)
{
    static char read[READ_CAP];
    tsr_json config = {0};
    for (int64_t i = 0; i < tsr_source_count(source) && i < 64; i++) {
        const tsr_tensor_info *t = tsr_source_tensor(source, i);
        int64_t n = t->bytes < READ_CAP ? t->bytes : READ_CAP;
        need(tsr_source_read(source, t, 0, n, read) == TSR_OK);
        need(tsr_source_read(source, t, t->bytes - n, n, read) == TSR_OK);
    }
    if (!source->config) return;
    need(tsr_json_parse(source->config, (int64_t)strlen(source->config), source->config_name, &config) ==
         TSR_OK);
    tsr_json_free(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tsr_source *source;
    if (!*folder) {
        tsr_log_setup(TSR_LOG_ERROR, -1);
        st_folder_create(folder);
        atexit(clean_up);
    }
    if (size > PICKLE_CAP) return 0;
    write_files(data, size);
    tsr_error_clear();
    tsr_status status = tsr_source_open(folder, &source);
    if (status == TSR_OK)
        use(source);
    else
        need((status == TSR_ERR_FORMAT || status == TSR_ERR_IO) && *tsr_error_text());
    tsr_source_destroy(&source);
    return 0;
}
