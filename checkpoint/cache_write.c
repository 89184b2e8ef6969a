/* cache_write.c: writing an entry: under other names, synced, then renamed; the sidecar last. */
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/cache_hdf5.h"
#include "checkpoint/cache_parts.h"
#include "checkpoint/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tsr_cache_writer {
    const tsr_cache *cache;
    char entry[TSR_DIGEST_TEXT];
    char block[TSR_CACHE_NAME], sidecar[TSR_CACHE_NAME];         /* the names they will have */
    char new_block[TSR_CACHE_NAME], new_sidecar[TSR_CACHE_NAME]; /* until then */
    int lock;
    tsr_cache_hdf5 *hdf5;
    tsr_digest_stream *digest;
    tsr_cache_sidecar sums;
    int64_t written;
};

static void name_files(tsr_cache_writer *w)
{
    char ending[32];
    cache_file_name(w->block, w->entry, cache_block_ending);
    cache_file_name(w->sidecar, w->entry, cache_sidecar_ending);
    snprintf(ending, sizeof ending, "%s%s", cache_block_ending, cache_new_ending);
    cache_file_name(w->new_block, w->entry, ending);
    snprintf(ending, sizeof ending, "%s%s", cache_sidecar_ending, cache_new_ending);
    cache_file_name(w->new_sidecar, w->entry, ending);
}

static tsr_status prepare_sums(tsr_cache_writer *w, const tsr_cache_key *key)
{
    tsr_cache_sidecar *s = &w->sums;
    void *p;
    int64_t n = (int64_t)strlen(key->origin) + 1;
    TSR_TRY(tsr_alloc(n, "a sidecar", &p));
    s->origin = memcpy(p, key->origin, (size_t)n);
    TSR_TRY(tsr_calloc(tsr_cache_parts(key->bytes), sizeof *s->parts, "a sidecar", &p));
    s->parts = p;
    s->n_parts = tsr_cache_parts(key->bytes);
    s->data_bytes = key->bytes;
    s->key = cache_key_digest(key);
    return tsr_digest_begin(&w->digest);
}

/* What a process that died has left is removed: the lock says that nobody is at work on it. */
static tsr_status start_file(tsr_cache_writer *w, const tsr_cache_key *key)
{
    char path[PATH_MAX];
    unlinkat(w->cache->dir, w->new_block, 0);
    unlinkat(w->cache->dir, w->new_sidecar, 0);
    TSR_TRY(tsr_file_make(w->cache->dir, w->new_block, 0600, NULL, 0));
    TSR_TRY(cache_file_path(w->cache, w->new_block, path));
    return tsr_cache_hdf5_create(path, key, &w->hdf5);
}

tsr_status tsr_cache_writer_open(const tsr_cache *cache, const tsr_cache_key *key, tsr_cache_writer **out)
{
    void *p;
    *out = NULL;
    if (key->bytes < 1 || strlen(key->origin) >= TSR_CACHE_TEXT_CAP ||
        strlen(key->plan) >= TSR_CACHE_TEXT_CAP)
        return tsr_fail(TSR_ERR_INTERNAL, "a block of %lld bytes cannot be described in the cache",
                        (long long)key->bytes);
    TSR_TRY(tsr_calloc(1, sizeof(tsr_cache_writer), "a cache writer", &p));
    tsr_cache_writer *w = p;
    w->cache = cache;
    tsr_digest_text(cache_key_digest(key), w->entry);
    name_files(w);
    tsr_status s = cache_lock(cache, w->entry, &w->lock);
    bool mine = s == TSR_OK && w->lock >= 0;
    if (mine) s = prepare_sums(w, key);
    if (mine && s == TSR_OK) s = start_file(w, key);
    if (!mine || s != TSR_OK) tsr_cache_writer_close(&w);
    *out = w;
    return s;
}

tsr_status tsr_cache_writer_put(tsr_cache_writer *w, const void *bytes, int64_t n)
{
    if (n < 0 || n > w->sums.data_bytes - w->written)
        return tsr_fail(TSR_ERR_INTERNAL, "%lld more bytes for a block of %lld, which has %lld already",
                        (long long)n, (long long)w->sums.data_bytes, (long long)w->written);
    for (const char *p = bytes; n > 0;) {
        int64_t part = w->written / TSR_CACHE_PART_BYTES;
        int64_t take = tsr_min(n, (part + 1) * (int64_t)TSR_CACHE_PART_BYTES - w->written);
        tsr_digest_add(w->digest, p, take);
        TSR_TRY(tsr_cache_hdf5_write(w->hdf5, w->written, p, take));
        w->written += take;
        p += take;
        n -= take;
        if (w->written % TSR_CACHE_PART_BYTES == 0 || w->written == w->sums.data_bytes)
            w->sums.parts[part] = tsr_digest_take(w->digest);
    }
    return TSR_OK;
}

/* The sums of the finished file, and its bytes on the disk. */
static tsr_status complete_file(tsr_cache_writer *w)
{
    int fd;
    TSR_TRY(tsr_cache_hdf5_finish(&w->hdf5, &w->sums.data_offset));
    TSR_TRY(cache_open_file(w->cache, w->new_block, &fd, &w->sums.file_bytes));
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: gone while it was written", w->new_block);
    tsr_status s = TSR_OK;
    if (w->sums.file_bytes - w->sums.data_offset < w->sums.data_bytes)
        s = tsr_fail(TSR_ERR_INTERNAL, "%s: shorter than its block", w->new_block);
    if (s == TSR_OK)
        s = cache_frame_digest(fd, w->new_block, w->sums.file_bytes, w->sums.data_offset, w->sums.data_bytes,
                               &w->sums.frame);
    if (s == TSR_OK) s = tsr_file_sync(fd, w->new_block);
    close(fd);
    return s;
}

static tsr_status write_sidecar(tsr_cache_writer *w)
{
    tsr_text text;
    TSR_TRY(tsr_text_init(&text, TSR_CACHE_SIDECAR_CAP));
    tsr_status s = tsr_cache_sidecar_print(&w->sums, &text);
    if (s == TSR_OK) s = tsr_file_make(w->cache->dir, w->new_sidecar, 0600, text.data, text.length);
    tsr_text_free(&text);
    return s;
}

static tsr_status rename_to(const tsr_cache_writer *w, const char *from, const char *to)
{
    if (renameat(w->cache->dir, from, w->cache->dir, to) == 0) return TSR_OK;
    return tsr_fail(TSR_ERR_IO, "%s: cannot be renamed: %s", from, strerror(errno));
}

tsr_status tsr_cache_writer_finish(tsr_cache_writer *w)
{
    if (w->written != w->sums.data_bytes)
        return tsr_fail(TSR_ERR_INTERNAL, "%lld bytes of a block of %lld", (long long)w->written,
                        (long long)w->sums.data_bytes);
    TSR_TRY(complete_file(w));
    TSR_TRY(write_sidecar(w));
    /* Without a sidecar there is no entry: the old one goes first, the new one comes last. */
    if (unlinkat(w->cache->dir, w->sidecar, 0) != 0 && errno != ENOENT)
        return tsr_fail(TSR_ERR_IO, "%s: cannot be replaced: %s", w->sidecar, strerror(errno));
    TSR_TRY(rename_to(w, w->new_block, w->block));
    TSR_TRY(tsr_file_sync(w->cache->dir, w->cache->path));
    TSR_TRY(rename_to(w, w->new_sidecar, w->sidecar));
    return tsr_file_sync(w->cache->dir, w->cache->path);
}

void tsr_cache_writer_close(tsr_cache_writer **writer)
{
    tsr_cache_writer *w = *writer;
    if (!w) return;
    tsr_cache_hdf5_destroy(&w->hdf5);
    if (w->lock >= 0) { /* gone already if they were renamed */
        unlinkat(w->cache->dir, w->new_block, 0);
        unlinkat(w->cache->dir, w->new_sidecar, 0);
    }
    cache_unlock(w->cache, w->entry, &w->lock);
    tsr_digest_end(&w->digest);
    tsr_cache_sidecar_free(&w->sums);
    tsr_free(w);
    *writer = NULL;
}
