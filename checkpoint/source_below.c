/* source_below.c: a checkpoint in a folder that a file named, and the config that it may need. */
#include "base/checked.h"
#include "checkpoint/deepspeed.h"
#include "checkpoint/torch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES_CAP = 1 << 16 };

typedef struct names {
    const char **list; /* in the source's arena */
    int64_t count, capacity;
} names;

static bool holds_weights(const char *name)
{
    static const char *const endings[] = {".safetensors", ".bin", ".pt"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t m = strlen(endings[i]);
        if (n > m && strcmp(name + n - m, endings[i]) == 0) return true;
    }
    return false;
}

static tsr_status add_name(tsr_source *s, names *all, const char *name)
{
    void *array = all->list;
    if (!holds_weights(name)) return TSR_OK;
    if (all->count == FILES_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: more than %d files", s->dir_name, FILES_CAP);
    TSR_TRY(tsr_grow(&array, &all->capacity, all->count + 1, sizeof *all->list, "a list of files"));
    all->list = array;
    return tsr_arena_strdup(s->arena, name, &all->list[all->count++]);
}

static tsr_status read_names(tsr_source *s, names *all)
{
    int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    tsr_status status = TSR_OK;
    if (!dir) {
        if (fd >= 0) close(fd);
        return tsr_fail(TSR_ERR_IO, "%s: cannot be listed: %s", s->dir_name, strerror(errno));
    }
    for (struct dirent *e; status == TSR_OK && (e = readdir(dir));) status = add_name(s, all, e->d_name);
    closedir(dir);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tsr_status list_names(tsr_source *s, const names *all)
{
    int file;
    if (all->count == 0)
        return tsr_fail(TSR_ERR_IO, "%s: no checkpoint found, and no file of weights", s->dir_name);
    qsort(all->list, (size_t)all->count, sizeof *all->list, by_name);
    for (int64_t i = 0; i < all->count; i++) {
        TSR_TRY(tsr_source_add_file(s, all->list[i], &file));
        TSR_TRY(tsr_is_safetensors(s, file) ? tsr_safetensors_list(s, file) : tsr_torch_list(s, file));
    }
    return TSR_OK;
}

static tsr_status list_all(tsr_source *s)
{
    names all = {0};
    tsr_status status = read_names(s, &all);
    if (status == TSR_OK) status = list_names(s, &all);
    tsr_free(all.list);
    return status;
}

static tsr_status go_below(tsr_source *s, const char *path)
{
    void *name;
    int64_t bytes = (int64_t)(strlen(s->dir_name) + strlen(path)) + 2;
    int fd = openat(s->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened as a folder: %s", path, strerror(errno));
    tsr_status status = tsr_alloc(bytes, "a folder name", &name);
    if (status != TSR_OK) {
        close(fd);
        return status;
    }
    snprintf(name, (size_t)bytes, "%s/%s", s->dir_name, path);
    tsr_free(s->dir_name);
    s->dir_name = name;
    close(s->dir);
    s->dir = fd;
    tsr_free(s->named);
    s->named = NULL;
    s->below = true;
    tsr_source_forget_files(s);
    return TSR_OK;
}

tsr_status tsr_source_open_below(tsr_source *s, const char *path)
{
    const tsr_source_format *outer = s->format;
    bool found;
    TSR_TRY(tsr_source_has_folder(s, path, "a folder", &found));
    if (s->below)
        return tsr_fail(TSR_ERR_FORMAT,
                        "\"%.200s\": a folder, named by a file in a folder that was named itself", path);
    TSR_TRY(go_below(s, path));
    tsr_source_choose_format(s);
    if (s->format) return s->format->open(s);
    s->format = outer;
    return list_all(s);
}

tsr_status tsr_source_read_config(const tsr_source *s, tsr_json *out)
{
    char path[PATH_MAX];
    *out = (tsr_json){0};
    int n = snprintf(path, sizeof path, "%s/config.json", s->model_dir ? s->model_dir : "");
    if (!s->model_dir || n >= (int)sizeof path)
        return tsr_fail(TSR_ERR_IO, "config.json: the model's folder is not known, or its name too long");
    return tsr_json_read(path, TSR_JSON_CONFIG_CAP, out);
}
