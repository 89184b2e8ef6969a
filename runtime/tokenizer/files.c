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

/* {"content": id, ..} as the entries of an added_tokens_decoder. */
static tsr_status add_entries(const json_t *added, json_t *decoder)
{
    const char *content;
    json_t *id;
    json_object_foreach((json_t *)added, content, id)
    {
        char key[24];
        if (!json_is_integer(id))
            return tsr_fail(TSR_ERR_FORMAT, "added_tokens.json: token \"%.40s\" has %s for its id", content,
                            tsr_json_type_name(id));
        snprintf(key, sizeof key, "%lld", (long long)json_integer_value(id));
        json_t *entry = json_pack("{s:s}", "content", content);
        if (!entry || json_object_set_new(decoder, key, entry) != 0)
            return tsr_fail(TSR_ERR_MEMORY, "added_tokens.json: out of memory");
    }
    return TSR_OK;
}

static tsr_status merge_added(const char *dir, tsr_json *config)
{
    tsr_json added, empty;
    if (!config->root) {
        TSR_TRY(tsr_json_parse("{}", 2, "tokenizer_config.json", &empty));
        *config = empty;
    }
    if (json_object_get(config->root, "added_tokens_decoder")) return TSR_OK;
    TSR_TRY(tsr_tokenizer_read_json(dir, "added_tokens.json", &added));
    json_t *decoder = json_object();
    tsr_status status = decoder ? add_entries(added.root, decoder) : TSR_ERR_MEMORY;
    tsr_json_free(&added);
    if (status == TSR_OK && json_object_set(config->root, "added_tokens_decoder", decoder) != 0)
        status = tsr_fail(TSR_ERR_MEMORY, "added_tokens.json: out of memory");
    json_decref(decoder);
    return status;
}

tsr_status tsr_tokenizer_read_config_and_added(const char *dir, tsr_json *out)
{
    char *path;
    struct stat st;
    TSR_TRY(tsr_tokenizer_read_config(dir, out));
    tsr_status status = tsr_tokenizer_path(dir, "added_tokens.json", &path);
    if (status == TSR_OK && lstat(path, &st) == 0) status = merge_added(dir, out);
    tsr_free(path);
    if (status != TSR_OK) tsr_json_free(out);
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
