/* files.c: reading the files of a model directory. */
#include "runtime/tokenizer/formats.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

tsr_status tsr_tokenizer_path(const char *dir, const char *file, char **out)
{
    void *p;
    *out = NULL;
    size_t bytes = strlen(dir) + strlen(file) + 2;
    TSR_TRY(tsr_alloc((int64_t)bytes, "a path", &p));
    *out = p;
    snprintf(*out, bytes, "%s/%s", dir, file);
    return TSR_OK;
}

tsr_status tsr_tokenizer_read_json(const char *dir, const char *file, tsr_json *out)
{
    char *path;
    *out = (tsr_json){0};
    TSR_TRY(tsr_tokenizer_path(dir, file, &path));
    tsr_status status = tsr_json_read(path, TSR_TOKENIZER_FILE_CAP, out);
    tsr_free(path);
    return status;
}

tsr_status tsr_tokenizer_read_config(const char *dir, tsr_json *out)
{
    char *path;
    *out = (tsr_json){0};
    TSR_TRY(tsr_tokenizer_path(dir, "tokenizer_config.json", &path));
    struct stat st;
    tsr_status status = lstat(path, &st) == 0 ? tsr_json_read(path, TSR_JSON_CONFIG_CAP, out) : TSR_OK;
    tsr_free(path);
    return status;
}

static tsr_status read_file(int fd, const char *path, char **data, int64_t *n)
{
    struct stat st;
    void *p;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return tsr_fail(TSR_ERR_IO, "%s: not a regular file", path);
    if (st.st_size > TSR_TOKENIZER_FILE_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, at most %d are accepted", path,
                        (long long)st.st_size, TSR_TOKENIZER_FILE_CAP);
    TSR_TRY(tsr_alloc(st.st_size, path, &p));
    *data = p;
    while (*n < st.st_size) {
        ssize_t got = read(fd, *data + *n, (size_t)(st.st_size - *n));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0) break;
        *n += got;
    }
    return TSR_OK;
}

tsr_status tsr_tokenizer_read_bytes(const char *dir, const char *file, char **data, int64_t *n)
{
    char *path;
    *data = NULL;
    *n = 0;
    TSR_TRY(tsr_tokenizer_path(dir, file, &path));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    tsr_status status = fd < 0 ? tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno))
                               : read_file(fd, path, data, n);
    if (fd >= 0) close(fd);
    tsr_free(path);
    if (status == TSR_OK) return TSR_OK;
    tsr_free(*data);
    *data = NULL;
    return status;
}
