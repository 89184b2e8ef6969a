/* fuzz_deepspeed_training.c: the files of a training checkpoint from any bytes: refused with a line, or every tensor
 * that is listed can be read.
 *
 * The input is a row of files: which one (a number into `names`), the bytes of its contents (2 bytes, the least first),
 * the number of its storages, the bytes of each, and the contents: a pickle, around which a torch file is made, or the
 * text of `latest` or config.json. Without `latest` the folder of the files is opened itself.
 */
#include "../support_safetensors.h"
#include "../support_zip.h"
#include "base/log.h"
#include "checkpoint/source.h"

#include <stdbool.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STORAGES = 16, READ_CAP = 1 << 16 };

static const char *const names[] = {
    "latest",
    "config.json",
    "mp_rank_00_model_states.pt",
    "mp_rank_01_model_states.pt",
    "zero_pp_rank_0_mp_rank_00_model_states.pt",
    "zero_pp_rank_1_mp_rank_00_model_states.pt",
    "zero_pp_rank_0_mp_rank_00_optim_states.pt",
    "zero_pp_rank_1_mp_rank_00_optim_states.pt",
    "layer_00-model_00-model_states.pt",
    "layer_00-model_01-model_states.pt",
    "layer_02-model_00-model_states.pt",
    "layer_02-model_01-model_states.pt",
    "layer_04-model_00-model_states.pt",
    "layer_04-model_01-model_states.pt",
};
enum { NAMES = sizeof names / sizeof names[0], TEXTS = 2 };

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

static void remove_files(void)
{
    char path[ST_PATH];
    for (int i = 0; i < NAMES; i++) {
        st_path(path, i < TEXTS ? folder : tag, names[i]);
        unlink(path);
    }
}

/* Takes one file off the input; false at its end. */
static bool take_file(const uint8_t **data, size_t *left, bool *latest)
{
    static const uint8_t numbers[STORAGES * 255];
    size_t bytes[STORAGES];
    const uint8_t *head = *data;
    if (*left < 4) return false;
    int name = head[0] % NAMES, storages = head[3] % STORAGES;
    size_t n = head[1] + 256u * head[2], header = 4 + (size_t)storages;
    if (*left < header) return false;
    for (int i = 0; i < storages; i++) bytes[i] = head[4 + i];
    if (n > *left - header) n = *left - header;
    zip_out z;
    zip_torch(&z, head + header, n, storages, bytes, numbers);
    if (name < TEXTS)
        st_write_bytes(folder, names[name], head + header, (int64_t)n);
    else
        st_write_bytes(tag, names[name], z.bytes, (int64_t)z.size);
    zip_free(&z);
    *latest |= name == 0;
    *data += header + n;
    *left -= header + n;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char bytes[READ_CAP];
    tsr_source *source;
    bool latest = false;
    if (!*folder) set_up();
    remove_files();
    for (int files = 0; files < NAMES && take_file(&data, &size, &latest); files++) continue;
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
