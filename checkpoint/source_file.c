/* source_file.c: how a source opens the files of its folder, reads them, and collects their tensors. */
#include "base/checked.h"
#include "checkpoint/file_io.h"
#include "checkpoint/format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool tsr_source_has_file(const tsr_source *s, const char *name)
{
    struct stat st;
    /* A dangling link counts as present: opening it then says what is wrong, instead of another format being
     * tried. */
    return fstatat(s->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A name that can only mean an entry of the folder itself. */
static bool plain_name(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return false;
    for (const char *c = name; *c; c++)
        if (*c == '/' || (unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return true;
}

tsr_status tsr_source_add_file(tsr_source *s, const char *name, int *file)
{
    if (!plain_name(name))
        return tsr_fail(TSR_ERR_FORMAT,
                        "\"%.200s\" is not accepted as a file name: expected a plain name without '/'", name);
    int fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", name, strerror(errno));
    return tsr_source_add_fd(s, fd, name, file);
}

/* Every component a plain name. */
static bool plain_path(const char *path)
{
    char name[NAME_MAX + 1];
    for (int depth = 0; depth < 16; depth++) {
        size_t n = strcspn(path, "/");
        if (n > NAME_MAX) return false;
        memcpy(name, path, n);
        name[n] = '\0';
        if (!plain_name(name)) return false;
        if (!path[n]) return true;
        path += n + 1;
    }
    return false;
}

tsr_status tsr_source_add_path(tsr_source *s, const char *path, int *file)
{
    if (!plain_path(path))
        return tsr_fail(
            TSR_ERR_FORMAT,
            "\"%.200s\" is not accepted as a file name: expected one below the folder, without \"..\"", path);
    int fd = openat(s->dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    return tsr_source_add_fd(s, fd, path, file);
}

tsr_status tsr_source_has_folder(const tsr_source *s, const char *path, bool *out)
{
    struct stat st;
    if (!plain_path(path))
        return tsr_fail(TSR_ERR_FORMAT,
                        "\"%.200s\" is not accepted as a folder: expected one below this, without \"..\"",
                        path);
    *out = fstatat(s->dir, path, &st, 0) == 0 && S_ISDIR(st.st_mode);
    return TSR_OK;
}

void tsr_source_forget_files(tsr_source *s)
{
    for (int64_t i = 0; i < s->file_count; i++) {
        close(s->files[i].fd);
        tsr_free(s->files[i].name);
    }
    s->file_count = 0;
}

tsr_status tsr_source_read_json(const tsr_source *s, int file, int64_t cap, tsr_json *out)
{
    const tsr_source_file *f = &s->files[file];
    void *text;
    *out = (tsr_json){0};
    if (f->bytes > cap)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, at most %lld are accepted", f->name,
                        (long long)f->bytes, (long long)cap);
    TSR_TRY(tsr_alloc(f->bytes, f->name, &text));
    tsr_status status = tsr_source_pread(s, file, 0, f->bytes, text);
    if (status == TSR_OK) status = tsr_json_parse(text, f->bytes, f->name, out);
    tsr_free(text);
    return status;
}

tsr_status tsr_source_read_small(const tsr_source *s, const char *name, int64_t cap, void *dst,
                                 int64_t *bytes)
{
    struct stat st;
    int fd = openat(s->dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", name, strerror(errno));
    tsr_status status = TSR_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        status = tsr_fail(TSR_ERR_IO, "%s: not a regular file", name);
    else if (st.st_size > cap)
        status = tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, at most %lld are accepted", name,
                          (long long)st.st_size, (long long)cap);
    *bytes = st.st_size;
    if (status == TSR_OK) status = tsr_file_read(fd, name, 0, dst, *bytes);
    close(fd);
    return status;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Reads the entries to the end; the array may move while it grows. */
static tsr_status read_entries(DIR *dir, const char *name, int64_t cap, tsr_arena *arena, void **array,
                               int64_t *count)
{
    int64_t capacity = 0;
    for (const struct dirent *e; errno = 0, (e = readdir(dir));) {
        if (*count >= cap)
            return tsr_fail(TSR_ERR_FORMAT, "%s: more than %lld entries in the folder", name, (long long)cap);
        TSR_TRY(tsr_grow(array, &capacity, *count + 1, sizeof(char *), "the names in a folder"));
        TSR_TRY(tsr_arena_strdup(arena, e->d_name, &((const char **)*array)[(*count)++]));
    }
    return errno ? tsr_fail(TSR_ERR_IO, "%s: cannot be listed: %s", name, strerror(errno)) : TSR_OK;
}

tsr_status tsr_source_list_folder(const tsr_source *s, const char *name, int64_t cap, tsr_arena *arena,
                                  const char *const **names, int64_t *count)
{
    void *array = NULL, *kept = NULL;
    const char *shown = name ? name : s->dir_name;
    *count = 0;
    if (name && !plain_name(name))
        return tsr_fail(
            TSR_ERR_FORMAT,
            "\"%.200s\" is not accepted as the name of a folder: expected a plain name without '/'", name);
    int fd = openat(s->dir, name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        tsr_status status =
            tsr_fail(TSR_ERR_IO, "%s: cannot be opened as a folder: %s", shown, strerror(errno));
        if (fd >= 0) close(fd);
        return status;
    }
    tsr_status status = read_entries(dir, shown, cap, arena, &array, count);
    closedir(dir);
    if (status == TSR_OK) status = tsr_arena_alloc(arena, *count * (int64_t)sizeof(char *), &kept);
    if (status == TSR_OK && *count > 0) {
        memcpy(kept, array, (size_t)*count * sizeof(char *));
        qsort(kept, (size_t)*count, sizeof(char *), compare_text);
    }
    tsr_free(array);
    *names = kept;
    return status;
}

static tsr_status add_open_file(tsr_source *s, int fd, const char *name, int *file)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return tsr_fail(TSR_ERR_IO, "%s: not a regular file", name);
    if (s->file_count >= INT_MAX) return tsr_fail(TSR_ERR_FORMAT, "%s: too many files", name);
    void *array = s->files, *copy;
    TSR_TRY(
        tsr_grow(&array, &s->file_capacity, s->file_count + 1, sizeof *s->files, "the list of weight files"));
    s->files = array;
    size_t bytes = strlen(name) + 1;
    TSR_TRY(tsr_alloc((int64_t)bytes, "a file name", &copy));
    *file = (int)s->file_count++;
    s->files[*file] = (tsr_source_file){memcpy(copy, name, bytes), fd, st.st_size};
    return TSR_OK;
}

tsr_status tsr_source_add_fd(tsr_source *s, int fd, const char *name, int *file)
{
    tsr_status status = add_open_file(s, fd, name, file);
    if (status != TSR_OK) close(fd);
    return status;
}

tsr_status tsr_source_add_tensor(tsr_source *s, const tsr_tensor_info *tensor)
{
    void *array = s->tensors;
    TSR_TRY(tsr_grow(&array, &s->tensor_capacity, s->tensor_count + 1, sizeof *s->tensors,
                     "the list of tensors"));
    s->tensors = array;
    tsr_tensor_info t = *tensor;
    TSR_TRY(tsr_arena_strdup(s->arena, tensor->name, &t.name));
    TSR_TRY(tsr_arena_strdup(s->arena, tensor->dtype_label, &t.dtype_label));
    s->tensors[s->tensor_count++] = t;
    return TSR_OK;
}

tsr_status tsr_source_pread(const tsr_source *s, int file, int64_t offset, int64_t n, void *dst)
{
    const tsr_source_file *f = &s->files[file];
    char *p = dst;
    while (n > 0) {
        ssize_t got = pread(f->fd, p, (size_t)n, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be read: %s", f->name, strerror(errno));
        if (got == 0)
            return tsr_fail(TSR_ERR_IO,
                            "%s: ends at byte %lld, %lld more expected; it was changed while in use", f->name,
                            (long long)offset, (long long)n);
        p += got;
        offset += got;
        n -= got;
    }
    return TSR_OK;
}
