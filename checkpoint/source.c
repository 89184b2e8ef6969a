/* source.c: the table of formats, opening, finding tensors by name, reading their bytes. */
#include "checkpoint/source.h"
#include "base/checked.h"
#include "checkpoint/format.h"
#include "checkpoint/state.h"
#include "checkpoint/sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In the order of preference. */
static const tsr_source_format *const formats[] = {
    &tsr_format_safetensors,    &tsr_format_safetensors_index,  &tsr_format_torch,    &tsr_format_torch_index,
    &tsr_format_deepspeed_json, &tsr_format_deepspeed_training, &tsr_format_megatron,
};
/* By the ending of a file; what ends in nothing known is a torch file, as those end in anything. */
static const tsr_source_format *const by_suffix[] = {
    &tsr_format_safetensors_index,
    &tsr_format_safetensors,
    &tsr_format_torch_index,
    &tsr_format_deepspeed_json,
    &tsr_format_megatron,
    &tsr_format_megatron_states,
    &tsr_format_torch,
};
enum { FORMAT_COUNT = sizeof formats / sizeof formats[0], PATH_CAP = 4096 };

static tsr_status copy_name(const char *name, char **out)
{
    void *p;
    size_t bytes = strlen(name) + 1;
    TSR_TRY(tsr_alloc((int64_t)bytes, "a file name", &p));
    *out = memcpy(p, name, bytes);
    return TSR_OK;
}

static tsr_status open_folder(tsr_source *s, const char *dir)
{
    TSR_TRY(copy_name(dir, &s->dir_name));
    s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir < 0)
        return tsr_fail(TSR_ERR_IO, "%s: cannot be opened as a model folder: %s", dir, strerror(errno));
    return TSR_OK;
}

tsr_status tsr_source_create(const char *dir, tsr_source **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_source), "a checkpoint source", &p));
    tsr_source *s = p;
    s->dir = -1;
    s->trained_mp = 1;
    tsr_status status = tsr_arena_create("the list of tensors", &s->arena);
    if (status == TSR_OK && dir) status = open_folder(s, dir);
    if (status != TSR_OK) {
        tsr_source_destroy(&s);
        return status;
    }
    *out = s;
    return TSR_OK;
}

void tsr_source_destroy(tsr_source **source)
{
    tsr_source *s = *source;
    if (!s) return;
    tsr_source_forget_files(s);
    if (s->dir >= 0) close(s->dir);
    tsr_free(s->files);
    tsr_free(s->tensors);
    tsr_free(s->by_name);
    tsr_free(s->dir_name);
    tsr_free(s->model_dir);
    tsr_free(s->named);
    tsr_arena_destroy(&s->arena);
    tsr_free(s);
    *source = NULL;
}

static tsr_status no_format(const char *dir)
{
    char wanted[512] = "";
    size_t n = 0;
    for (int i = 0; i < FORMAT_COUNT && n < sizeof wanted; i++)
        n += (size_t)snprintf(wanted + n, sizeof wanted - n, "%s%s", i ? ", " : "", formats[i]->looks_for);
    return tsr_fail(TSR_ERR_IO, "%s: no checkpoint found; looked for: %s", dir, wanted);
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n >= m && strcmp(name + n - m, suffix) == 0;
}

void tsr_source_choose_format(tsr_source *s)
{
    s->format = NULL;
    if (s->named) {
        for (size_t i = 0; i < sizeof by_suffix / sizeof by_suffix[0] && !s->format; i++)
            if (ends_in(s->named, by_suffix[i]->suffix)) s->format = by_suffix[i];
        return;
    }
    for (int i = 0; i < FORMAT_COUNT && !s->format; i++)
        if (formats[i]->probe(s)) s->format = formats[i];
}

/* The folder at `path`, or the folder of the file at `path`, which is then the one named. */
static tsr_status create_at(const char *path, tsr_source **out)
{
    struct stat st;
    char folder[PATH_CAP];
    const char *slash = strrchr(path, '/');
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return tsr_source_create(path, out);
    int n = !slash ? snprintf(folder, sizeof folder, ".")
                   : snprintf(folder, sizeof folder, "%.*s", (int)tsr_max(slash - path, 1), path);
    if (n >= (int)sizeof folder) return tsr_fail(TSR_ERR_USAGE, "the name of the checkpoint is too long");
    TSR_TRY(tsr_source_create(folder, out));
    tsr_status status = copy_name(slash ? slash + 1 : path, &(*out)->named);
    if (status != TSR_OK) tsr_source_destroy(out);
    return status;
}

tsr_status tsr_source_open(const char *model_dir, tsr_source **out)
{
    return tsr_source_open_checkpoint(model_dir, NULL, out);
}

tsr_status tsr_source_open_checkpoint(const char *model_dir, const char *path, tsr_source **out)
{
    return tsr_source_open_request(&(tsr_source_request){model_dir, path, 0}, out);
}

/* The source of the request with its format chosen, not yet opened; the format is NULL if none is recognised. */
static tsr_status create_for(const tsr_source_request *r, tsr_source **out)
{
    char joined[PATH_CAP];
    *out = NULL;
    if (!r->path || !*r->path) {
        TSR_TRY(tsr_source_create(r->model_dir, out));
    } else {
        bool absolute = *r->path == '/';
        int n = snprintf(joined, sizeof joined, "%s%s%s", absolute ? "" : r->model_dir, absolute ? "" : "/",
                         r->path);
        if (n >= (int)sizeof joined) return tsr_fail(TSR_ERR_USAGE, "the name of the checkpoint is too long");
        TSR_TRY(create_at(joined, out));
    }
    (*out)->wanted_mp = r->training_mp_size;
    tsr_source_choose_format(*out);
    return copy_name(r->model_dir, &(*out)->model_dir);
}

bool tsr_source_recognised(const tsr_source_request *request)
{
    tsr_source *s;
    bool known = create_for(request, &s) == TSR_OK && s->format;
    tsr_source_destroy(&s);
    return known;
}

static tsr_status check_trained_mp(const tsr_source *s)
{
    if (s->wanted_mp == 0 || s->wanted_mp == s->trained_mp) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "%s: training-mp-size %d was stated, found a checkpoint of %d%s",
                    s->dir_name, s->wanted_mp, s->trained_mp, s->trained_mp == 1 ? " (whole tensors)" : "");
}

tsr_status tsr_source_open_request(const tsr_source_request *request, tsr_source **out)
{
    tsr_source *s;
    *out = NULL;
    tsr_status status = create_for(request, &s);
    if (status == TSR_OK) status = s->format ? s->format->open(s) : no_format(s->dir_name);
    if (status == TSR_OK) status = check_trained_mp(s);
    if (status == TSR_OK) status = tsr_source_finish(s);
    if (status != TSR_OK) {
        tsr_source_destroy(&s);
        return status;
    }
    *out = s;
    return TSR_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const tsr_tensor_info *const *)a)->name, (*(const tsr_tensor_info *const *)b)->name);
}

tsr_status tsr_source_finish(tsr_source *s)
{
    void *p;
    if (s->by_name) return TSR_OK;
    TSR_TRY(tsr_calloc(s->tensor_count, sizeof *s->by_name, "the index of tensor names", &p));
    s->by_name = p;
    for (int64_t i = 0; i < s->tensor_count; i++) s->by_name[i] = &s->tensors[i];
    qsort(s->by_name, (size_t)s->tensor_count, sizeof *s->by_name, compare_names);
    for (int64_t i = 1; i < s->tensor_count; i++) {
        const tsr_tensor_info *a = s->by_name[i - 1], *b = s->by_name[i];
        if (strcmp(a->name, b->name) == 0)
            return tsr_fail(TSR_ERR_FORMAT, "%s: tensor \"%.200s\" is also in %s; each must be stored once",
                            s->files[b->file].name, b->name, s->files[a->file].name);
    }
    return TSR_OK;
}

const char *tsr_source_format_name(const tsr_source *s)
{
    return s->format ? s->format->name : "none";
}

const char *tsr_source_folder(const tsr_source *s)
{
    return s->dir_name ? s->dir_name : "";
}

int64_t tsr_source_count(const tsr_source *s)
{
    return s->tensor_count;
}

const tsr_tensor_info *tsr_source_tensor(const tsr_source *s, int64_t i)
{
    return &s->tensors[i];
}

const char *tsr_source_file_name(const tsr_source *s, int file)
{
    return s->files[file].name;
}

/* The tensor called head followed by tail. */
static const tsr_tensor_info *find_joined(const tsr_source *s, const char *head, size_t head_bytes,
                                          const char *tail)
{
    for (int64_t low = 0, high = s->tensor_count; low < high;) {
        int64_t middle = low + (high - low) / 2;
        const char *name = s->by_name[middle]->name;
        int order = strncmp(name, head, head_bytes);
        if (order == 0) order = strcmp(name + head_bytes, tail);
        if (order == 0) return s->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const tsr_tensor_info *tsr_source_find(const tsr_source *s, const char *name)
{
    return find_joined(s, "", 0, name);
}

const tsr_tensor_info *tsr_source_find_prefixed(const tsr_source *s, const char *name, const char *prefix)
{
    const tsr_tensor_info *t = tsr_source_find(s, name);
    if (t || !prefix || !*prefix) return t;
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) == 0) t = tsr_source_find(s, name + n);
    return t ? t : find_joined(s, prefix, n, name);
}

tsr_status tsr_source_read(const tsr_source *s, const tsr_tensor_info *t, int64_t byte_offset, int64_t n,
                           void *dst)
{
    if (byte_offset < 0 || n < 0 || byte_offset > t->bytes || n > t->bytes - byte_offset)
        return tsr_fail(TSR_ERR_INTERNAL, "%s: bytes %lld+%lld asked of tensor \"%.200s\", which has %lld",
                        s->files[t->file].name, (long long)byte_offset, (long long)n, t->name,
                        (long long)t->bytes);
    if (t->made_of) return tsr_source_read_made(s, t, byte_offset, n, dst);
    if (t->sum_of) return tsr_sum_read(s, t, byte_offset, n, dst);
    atomic_fetch_add_explicit((atomic_llong *)&s->bytes_read, n, memory_order_relaxed);
    if (s->read) return s->read(s, t, byte_offset, n, dst);
    tsr_status status = tsr_source_pread(s, t->file, t->offset + byte_offset, n, dst);
    return status == TSR_OK ? status : tsr_fail_in(status, "tensor \"%.200s\"", t->name);
}

int64_t tsr_source_bytes_read(const tsr_source *s)
{
    return atomic_load_explicit((atomic_llong *)&s->bytes_read, memory_order_relaxed);
}
