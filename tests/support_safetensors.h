/* support_safetensors.h: for tests: writes checkpoints in the safetensors format into temporary folders (in
 * $TMPDIR, or in memory where /dev/shm is there).
 *
 *     char folder[ST_PATH];
 *     st_folder_create(folder);
 *     float w[2][3] = {...};
 *     st_tensor t = {"wte.weight", "F32", 2, {2, 3}, w};
 *     st_write(folder, "model.safetensors", &t, 1);
 *     ...
 *     st_folder_remove(folder);
 *
 * Everything here ends the test program with a message when the machine fails it (no space, no permission): a
 * test cannot go on without its files.
 */
#ifndef TSR_TESTS_SUPPORT_SAFETENSORS_H
#define TSR_TESTS_SUPPORT_SAFETENSORS_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ST_PATH = 512, ST_RANK = 8 };

typedef struct st_tensor {
    const char *name, *dtype; /* "F32", "BF16", ... */
    int rank;
    int64_t shape[ST_RANK];
    const void *data; /* dense, row-major */
} st_tensor;

static inline void st_need(int ok, const char *what)
{
    if (ok) return;
    perror(what);
    exit(99);
}

static inline void st_folder_create(char folder[ST_PATH])
{
    const char *base = getenv("TMPDIR");
    if (!base || strlen(base) > ST_PATH / 2) base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, ST_PATH, "%s/tessera-test-XXXXXX", base);
    st_need(mkdtemp(folder) != NULL, folder);
}

static inline void st_path(char path[ST_PATH], const char *folder, const char *file)
{
    st_need(snprintf(path, ST_PATH, "%s/%s", folder, file) < ST_PATH, file);
}

/* Removes the files of the folder and the folder; it has no subfolders. */
static inline void st_folder_remove(const char *folder)
{
    DIR *d = opendir(folder);
    char path[ST_PATH];
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        st_path(path, folder, e->d_name);
        unlink(path);
    }
    if (d) closedir(d);
    rmdir(folder);
}

static inline void st_write_bytes(const char *folder, const char *file, const void *bytes, int64_t n)
{
    char path[ST_PATH];
    st_path(path, folder, file);
    FILE *f = fopen(path, "wb");
    st_need(f != NULL, path);
    st_need(n == 0 || fwrite(bytes, 1, (size_t)n, f) == (size_t)n, path);
    st_need(fclose(f) == 0, path);
}

static inline void st_write_text(const char *folder, const char *file, const char *text)
{
    st_write_bytes(folder, file, text, (int64_t)strlen(text));
}

/* A file with this very header text, well-formed or not, and data behind it. */
static inline void st_write_header(const char *folder, const char *file, const char *header, const void *data,
                                   int64_t data_bytes)
{
    int64_t n = (int64_t)strlen(header);
    unsigned char *all = malloc((size_t)(8 + n + data_bytes));
    st_need(all != NULL, "malloc");
    for (int i = 0; i < 8; i++) all[i] = (unsigned char)((uint64_t)n >> 8 * i);
    memcpy(all + 8, header, (size_t)n);
    if (data_bytes) memcpy(all + 8 + n, data, (size_t)data_bytes);
    st_write_bytes(folder, file, all, 8 + n + data_bytes);
    free(all);
}

static inline int64_t st_dtype_bytes(const char *dtype)
{
    static const struct {
        const char *name;
        int bytes;
    } table[] = {{"F64", 8}, {"I64", 8}, {"F32", 4}, {"I32", 4},  {"F16", 2},    {"BF16", 2},
                 {"I16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(dtype, table[i].name) == 0) return table[i].bytes;
    fprintf(stderr, "support_safetensors.h: dtype %s\n", dtype);
    exit(99);
}

static inline int64_t st_tensor_bytes(const st_tensor *t)
{
    int64_t n = st_dtype_bytes(t->dtype);
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

/* A well-formed file of n tensors, in the given order. Names are written as they are: no quotes, no
 * backslashes. */
static inline void st_write(const char *folder, const char *file, const st_tensor *tensors, int n)
{
    int64_t room = 64, data = 0, at = 0;
    for (int i = 0; i < n; i++) {
        room += (int64_t)strlen(tensors[i].name) + 320;
        data += st_tensor_bytes(&tensors[i]);
    }
    char *header = malloc((size_t)room), *bytes = malloc((size_t)data + 1), *h = header;
    st_need(header && bytes, "malloc");
    h += sprintf(h, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < n; i++) {
        const st_tensor *t = &tensors[i];
        int64_t size = st_tensor_bytes(t);
        h += sprintf(h, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, t->dtype);
        for (int a = 0; a < t->rank; a++) h += sprintf(h, "%s%lld", a ? "," : "", (long long)t->shape[a]);
        h += sprintf(h, "],\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)(at + size));
        if (size) memcpy(bytes + at, t->data, (size_t)size);
        at += size;
    }
    h += sprintf(h, "}");
    while ((h - header) % 8) h += sprintf(h, " ");
    st_write_header(folder, file, header, bytes, data);
    free(header);
    free(bytes);
}

#endif
