/* support_torch.h: for tests: a torch file around a given pickle, beside storages "0" to "3" of 16, 64, 256 and 1024
 * bytes, which are zero. */
#ifndef TSR_TESTS_SUPPORT_TORCH_H
#define TSR_TESTS_SUPPORT_TORCH_H

#include "support_safetensors.h"

enum {
    TORCH_STORAGES = 4,
    TORCH_FIRST_BYTES = 16,
    TORCH_PICKLE_CAP = 1 << 20,
    TORCH_DIRECTORY_CAP = 1 << 10
};

typedef struct torch_archive {
    unsigned char *bytes, directory[TORCH_DIRECTORY_CAP];
    size_t n, directory_bytes;
    int entries;
} torch_archive;

static inline void torch_put(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> 8 * i);
}

/* What the local header and the directory have in common begins at byte 4, or 6. */
static inline void torch_put_sizes(unsigned char *common, size_t bytes, size_t name)
{
    torch_put(common + 14, bytes, 4);
    torch_put(common + 18, bytes, 4);
    torch_put(common + 22, name, 2);
}

static inline void torch_add_entry(torch_archive *a, const char *name, const void *data, size_t bytes)
{
    unsigned char local[30] = "PK\3\4", central[46] = "PK\1\2";
    size_t length = strlen(name);
    torch_put_sizes(local + 4, bytes, length);
    torch_put_sizes(central + 6, bytes, length);
    torch_put(central + 42, a->n, 4);
    memcpy(a->bytes + a->n, local, sizeof local);
    memcpy(a->bytes + a->n + sizeof local, name, length);
    if (bytes) memcpy(a->bytes + a->n + sizeof local + length, data, bytes);
    a->n += sizeof local + length + bytes;
    memcpy(a->directory + a->directory_bytes, central, sizeof central);
    memcpy(a->directory + a->directory_bytes + sizeof central, name, length);
    a->directory_bytes += sizeof central + length;
    a->entries++;
}

static inline void torch_end(torch_archive *a)
{
    unsigned char record[22] = "PK\5\6";
    torch_put(record + 8, (uint64_t)a->entries, 2);
    torch_put(record + 10, (uint64_t)a->entries, 2);
    torch_put(record + 12, a->directory_bytes, 4);
    torch_put(record + 16, a->n, 4);
    memcpy(a->bytes + a->n, a->directory, a->directory_bytes);
    memcpy(a->bytes + a->n + a->directory_bytes, record, sizeof record);
    a->n += a->directory_bytes + sizeof record;
}

/* n: at most TORCH_PICKLE_CAP. */
static inline void torch_write(const char *folder, const char *file, const void *pickle, size_t n)
{
    static unsigned char bytes[TORCH_PICKLE_CAP + 8192], storage[TORCH_FIRST_BYTES << 2 * TORCH_STORAGES];
    torch_archive a = {.bytes = bytes};
    torch_add_entry(&a, "a/data.pkl", pickle, n);
    for (int i = 0; i < TORCH_STORAGES; i++) {
        char name[] = "a/data/0";
        name[sizeof name - 2] = (char)('0' + i);
        torch_add_entry(&a, name, storage, (size_t)TORCH_FIRST_BYTES << 2 * i);
    }
    torch_end(&a);
    st_write_bytes(folder, file, a.bytes, (int64_t)a.n);
}

#endif
