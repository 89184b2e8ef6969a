/* fuzz_megatron.c: any bytes as the pickle of a Megatron-LM checkpoint, the same on two ranks, beside storages of a few
 * sizes: refused with a line, or every tensor listed can be read and the config that it tells is JSON. */
#include "../support_safetensors.h"
#include "base/json.h"
#include "checkpoint/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STORAGES = 4, FIRST_BYTES = 16, PICKLE_CAP = 1 << 20, READ_CAP = 1 << 16, DIRECTORY_CAP = 1 << 10 };

static char folder[ST_PATH];

static void need(bool ok)
{
    if (!ok) abort();
}

static void clean_up(void)
{
    st_folder_remove(folder);
}

/* --- A zip archive of stored entries --- */

typedef struct archive {
    unsigned char *bytes, directory[DIRECTORY_CAP];
    size_t n, directory_bytes;
    int entries;
} archive;

static void put(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> 8 * i);
}

/* What the local header and the directory have in common begins with the version, at byte 4 or 6. */
static void put_sizes(unsigned char *common, size_t bytes, size_t name)
{
    put(common + 14, bytes, 4);
    put(common + 18, bytes, 4);
    put(common + 22, name, 2);
}

static void add_entry(archive *a, const char *name, const void *data, size_t bytes)
{
    unsigned char local[30] = "PK\3\4", central[46] = "PK\1\2";
    size_t length = strlen(name);
    put_sizes(local + 4, bytes, length);
    put_sizes(central + 6, bytes, length);
    put(central + 42, a->n, 4);
    memcpy(a->bytes + a->n, local, sizeof local);
    memcpy(a->bytes + a->n + sizeof local, name, length);
    memcpy(a->bytes + a->n + sizeof local + length, data, bytes);
    a->n += sizeof local + length + bytes;
    memcpy(a->directory + a->directory_bytes, central, sizeof central);
    memcpy(a->directory + a->directory_bytes + sizeof central, name, length);
    a->directory_bytes += sizeof central + length;
    a->entries++;
}

static void end(archive *a)
{
    unsigned char record[22] = "PK\5\6";
    put(record + 8, (uint64_t)a->entries, 2);
    put(record + 10, (uint64_t)a->entries, 2);
    put(record + 12, a->directory_bytes, 4);
    put(record + 16, a->n, 4);
    memcpy(a->bytes + a->n, a->directory, a->directory_bytes);
    memcpy(a->bytes + a->n + a->directory_bytes, record, sizeof record);
    a->n += a->directory_bytes + sizeof record;
}

/* Storages "0" to "3" of 16, 64, 256 and 1024 bytes. */
static void write_files(const uint8_t *data, size_t size)
{
    static unsigned char bytes[PICKLE_CAP + 8192], storage[FIRST_BYTES << 2 * STORAGES];
    archive a = {.bytes = bytes};
    add_entry(&a, "a/data.pkl", data, size);
    for (int i = 0; i < STORAGES; i++) {
        char name[] = "a/data/0";
        name[sizeof name - 2] = (char)('0' + i);
        add_entry(&a, name, storage, (size_t)FIRST_BYTES << 2 * i);
    }
    end(&a);
    st_write_bytes(folder, "mp_rank_00_model_states.pt", a.bytes, (int64_t)a.n);
    st_write_bytes(folder, "mp_rank_01_model_states.pt", a.bytes, (int64_t)a.n);
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
