/* source_below.c: a checkpoint in a folder that a file named, and the config that it may need. */
#include "base/checked.h"
#include "checkpoint/inference_files.h"
#include "checkpoint/torch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES_CAP = 1 << 16 };

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

static tsr_status list_all(tsr_source *s)
{
    const char *const *names;
    int64_t count;
    int file;
    TSR_TRY(tsr_source_list_folder(s, NULL, ENTRIES_CAP, s->arena, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        if (!holds_weights(names[i])) continue;
        TSR_TRY(tsr_source_add_file(s, names[i], &file));
        TSR_TRY(tsr_is_safetensors(s, file) ? tsr_safetensors_list(s, file) : tsr_torch_list(s, file));
    }
    if (s->file_count > 0) return TSR_OK;
    return tsr_fail(TSR_ERR_IO, "%s: no checkpoint found, and no file of weights", s->dir_name);
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
    TSR_TRY(tsr_source_has_folder(s, path, &found));
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
