/* cache_list.c: what lies in the cache, and removing it. Files whose names are not ours are left alone. */
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/cache_parts.h"
#include "checkpoint/source_identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct found_entry {
    char name[TSR_DIGEST_TEXT];
    int64_t bytes, used;
} found_entry;

typedef struct found_list {
    found_entry *entries;
    int64_t count, capacity;
} found_list;

enum { ENTRIES_CAP = 1 << 20 };

/* The files of an entry are its 32 digits, a '.' and one of our endings. */
static bool ours(const char *file, char entry[TSR_DIGEST_TEXT])
{
    static const char *const endings[] = {".h5", ".json", ".lock", ".h5.new", ".json.new"};
    tsr_digest d;
    if (strlen(file) < 33 || file[32] != '.') return false;
    memcpy(entry, file, 32);
    entry[32] = '\0';
    if (!tsr_digest_parse(entry, &d)) return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcmp(file + 32, endings[i]) == 0) return true;
    return false;
}

static tsr_status add_file(const tsr_cache *c, found_list *list, const char *file)
{
    char entry[TSR_DIGEST_TEXT];
    struct stat st;
    if (!ours(file, entry) || fstatat(c->dir, file, &st, AT_SYMLINK_NOFOLLOW) != 0) return TSR_OK;
    int64_t i = 0;
    while (i < list->count && strcmp(list->entries[i].name, entry) != 0) i++;
    if (i == list->count) {
        if (i == ENTRIES_CAP) return tsr_fail(TSR_ERR_IO, "%s: too many entries", c->path);
        void *array = list->entries;
        TSR_TRY(tsr_grow(&array, &list->capacity, i + 1, sizeof *list->entries, "the list of entries"));
        list->entries = array;
        memcpy(list->entries[list->count++].name, entry, sizeof entry);
    }
    list->entries[i].bytes += st.st_size;
    list->entries[i].used = tsr_max(list->entries[i].used, st.st_mtim.tv_sec);
    return TSR_OK;
}

static int by_use(const void *a, const void *b)
{
    const found_entry *x = a, *y = b;
    if (x->used != y->used) return x->used < y->used ? -1 : 1;
    return strcmp(x->name, y->name);
}

static tsr_status find_entries(const tsr_cache *c, found_list *list)
{
    int fd = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        if (fd >= 0) close(fd);
        return tsr_fail(TSR_ERR_IO, "%s: cannot be listed: %s", c->path, strerror(errno));
    }
    tsr_status s = TSR_OK;
    for (struct dirent *e; s == TSR_OK && (e = readdir(folder));) s = add_file(c, list, e->d_name);
    closedir(folder);
    if (list->count > 1) qsort(list->entries, (size_t)list->count, sizeof *list->entries, by_use);
    return s;
}

/* Whether the block is there and as long as its sidecar says. */
static bool block_fits(const tsr_cache *c, const char *entry, const tsr_cache_sidecar *s)
{
    char name[TSR_CACHE_NAME];
    int fd;
    int64_t bytes = 0;
    bool fits = cache_open_file(c, cache_file_name(name, entry, cache_block_ending), &fd, &bytes) == TSR_OK &&
                fd >= 0 && bytes == s->file_bytes;
    if (fd >= 0) close(fd);
    return fits;
}

static tsr_status describe(const tsr_cache *c, const found_entry *f, tsr_cache_visit *visit, void *context)
{
    tsr_cache_entry e = {f->name, TSR_CACHE_BROKEN, "", f->bytes, f->used};
    tsr_cache_sidecar sidecar = {0};
    bool found = false;
    int lock = -1;
    if (cache_read_sidecar(c, f->name, false, &sidecar, &found) == TSR_OK && found) {
        e.origin = sidecar.origin;
        if (block_fits(c, f->name, &sidecar))
            e.state = tsr_source_identity_current(sidecar.origin) ? TSR_CACHE_GOOD : TSR_CACHE_STALE;
    }
    if (e.state == TSR_CACHE_BROKEN) {
        if (cache_lock(c, f->name, &lock) == TSR_OK && lock < 0) e.state = TSR_CACHE_BUSY;
        cache_unlock(c, f->name, &lock);
    }
    tsr_status s = visit(context, &e);
    tsr_cache_sidecar_free(&sidecar);
    return s;
}

tsr_status tsr_cache_list(const tsr_cache *c, tsr_cache_visit *visit, void *context)
{
    found_list list = {0};
    tsr_status s = find_entries(c, &list);
    for (int64_t i = 0; i < list.count && s == TSR_OK; i++) s = describe(c, &list.entries[i], visit, context);
    tsr_free(list.entries);
    return s;
}

tsr_status tsr_cache_remove(const tsr_cache *c, const char *entry)
{
    static const char *const endings[] = {".json", ".h5", ".json.new", ".h5.new"}; /* sidecar first */
    char name[TSR_CACHE_NAME];
    int lock;
    TSR_TRY(cache_lock(c, entry, &lock));
    if (lock < 0) return TSR_OK;
    tsr_status s = TSR_OK;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && s == TSR_OK; i++)
        if (unlinkat(c->dir, cache_file_name(name, entry, endings[i]), 0) != 0 && errno != ENOENT)
            s = tsr_fail(TSR_ERR_IO, "%s: cannot be removed: %s", name, strerror(errno));
    cache_unlock(c, entry, &lock);
    return s;
}
