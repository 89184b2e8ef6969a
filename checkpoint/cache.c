/* cache.c: the folder of the cache, the rules for its files, and reading an entry. */
#include "checkpoint/cache.h"
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/cache_hdf5.h"
#include "checkpoint/cache_parts.h"
#include "checkpoint/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FRAME_CAP = 2 * TSR_CACHE_TEXT_CAP + (1 << 20), OTHERS = 0077, OTHERS_WRITE = 0022 };

/* --- The folder --- */

static tsr_status open_folder(tsr_cache *c, const char *dir, bool make)
{
    char plain[PATH_MAX];
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--; /* "link/" would be followed */
    if (n == 0 || n >= sizeof plain)
        return tsr_fail(TSR_ERR_USAGE, "the name of the cache folder is empty or too long");
    memcpy(plain, dir, n);
    plain[n] = '\0';
    if (make && mkdir(plain, 0700) != 0 && errno != EEXIST)
        return tsr_fail(TSR_ERR_IO, "%s: the cache folder cannot be made: %s", dir, strerror(errno));
    c->dir = open(plain, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->dir < 0)
        return tsr_fail(TSR_ERR_IO, "%s: not usable as a cache folder: %s", dir,
                        errno == ELOOP || errno == ENOTDIR ? "a link or no folder" : strerror(errno));
    if (!realpath(plain, c->path))
        return tsr_fail(TSR_ERR_IO, "%s: where it lies cannot be found out: %s", dir, strerror(errno));
    return TSR_OK;
}

static tsr_status check_folder(const tsr_cache *c, const char *dir)
{
    struct stat st;
    if (fstat(c->dir, &st) != 0)
        return tsr_fail(TSR_ERR_IO, "%s: its attributes cannot be read: %s", dir, strerror(errno));
    if (st.st_uid != geteuid())
        return tsr_fail(TSR_ERR_IO, "%s: the cache folder belongs to another user", dir);
    if (st.st_mode & OTHERS)
        return tsr_fail(
            TSR_ERR_IO,
            "%s: the cache folder is open to others (mode %03o, expected 700); chmod 700 would help", dir,
            (unsigned)(st.st_mode & 0777));
    return TSR_OK;
}

static tsr_status open_cache(const char *dir, bool make, tsr_cache **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_cache), "the cache", &p));
    tsr_cache *c = p;
    c->dir = -1;
    tsr_status s = open_folder(c, dir, make);
    if (s == TSR_OK) s = check_folder(c, dir);
    if (s != TSR_OK) tsr_cache_close(&c);
    *out = c;
    return s;
}

tsr_status tsr_cache_open(const char *dir, tsr_cache **out)
{
    return open_cache(dir, true, out);
}

tsr_status tsr_cache_open_existing(const char *dir, tsr_cache **out)
{
    return open_cache(dir, false, out);
}

void tsr_cache_close(tsr_cache **cache)
{
    if (!*cache) return;
    if ((*cache)->dir >= 0) close((*cache)->dir);
    tsr_free(*cache);
    *cache = NULL;
}

/* --- Its files --- */

const char *cache_file_name(char out[TSR_CACHE_NAME], const char *entry, const char *ending)
{
    snprintf(out, TSR_CACHE_NAME, "%.32s%s", entry, ending);
    return out;
}

tsr_status cache_file_path(const tsr_cache *c, const char *name, char out[PATH_MAX])
{
    if (snprintf(out, PATH_MAX, "%s/%s", c->path, name) < PATH_MAX) return TSR_OK;
    return tsr_fail(TSR_ERR_IO, "%s: the name of the cache folder is too long", c->path);
}

tsr_digest cache_key_digest(const tsr_cache_key *key)
{
    /* Lengths in front, so that no two pairs of texts run together to the same bytes. */
    tsr_digest parts[3] = {tsr_digest_of(key->origin, (int64_t)strlen(key->origin)),
                           tsr_digest_of(key->plan, (int64_t)strlen(key->plan)),
                           {TSR_CACHE_PART_BYTES, (uint64_t)key->bytes}};
    return tsr_digest_of(parts, sizeof parts);
}

static tsr_status check_file(int fd, const char *name, int64_t *bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return tsr_fail(TSR_ERR_IO, "%s: not a regular file", name);
    if (st.st_uid != geteuid() || st.st_mode & OTHERS_WRITE)
        return tsr_fail(TSR_ERR_IO, "%s: others than this user could have written it", name);
    *bytes = st.st_size;
    return TSR_OK;
}

tsr_status cache_open_file(const tsr_cache *c, const char *name, int *fd, int64_t *bytes)
{
    *fd = openat(c->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT) return TSR_OK;
    if (*fd < 0)
        return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", name,
                        errno == ELOOP ? "a symbolic link" : strerror(errno));
    tsr_status s = check_file(*fd, name, bytes);
    if (s != TSR_OK) {
        close(*fd);
        *fd = -1;
    }
    return s;
}

tsr_status cache_read_sidecar(const tsr_cache *c, const char *entry, bool touch, tsr_cache_sidecar *out,
                              bool *found)
{
    char name[TSR_CACHE_NAME];
    int fd;
    int64_t bytes = 0;
    void *text = NULL;
    *out = (tsr_cache_sidecar){0};
    cache_file_name(name, entry, cache_sidecar_ending);
    TSR_TRY(cache_open_file(c, name, &fd, &bytes));
    *found = fd >= 0;
    if (fd < 0) return TSR_OK;
    tsr_status s = bytes <= TSR_CACHE_SIDECAR_CAP
                       ? tsr_alloc(bytes, "a sidecar", &text)
                       : tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, at most %d are accepted", name,
                                  (long long)bytes, TSR_CACHE_SIDECAR_CAP);
    if (s == TSR_OK) s = tsr_file_read(fd, name, 0, text, bytes);
    if (s == TSR_OK) s = tsr_cache_sidecar_parse(text, bytes, name, out);
    if (s == TSR_OK && touch) futimens(fd, NULL); /* least recently used: a failure costs nothing */
    tsr_free(text);
    close(fd);
    return s;
}

tsr_status cache_frame_digest(int fd, const char *name, int64_t file_bytes, int64_t data_offset,
                              int64_t data_bytes, tsr_digest *out)
{
    void *frame;
    int64_t n = file_bytes - data_bytes;
    if (n > FRAME_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes beside its block, at most %d are accepted", name,
                        (long long)n, FRAME_CAP);
    TSR_TRY(tsr_alloc(n, "a cache file", &frame));
    tsr_status s = tsr_file_read(fd, name, 0, frame, data_offset);
    if (s == TSR_OK)
        s = tsr_file_read(fd, name, data_offset + data_bytes, (char *)frame + data_offset, n - data_offset);
    if (s == TSR_OK) *out = tsr_digest_of(frame, n);
    tsr_free(frame);
    return s;
}

/* --- Locks --- */

static bool no_locks_here(int error)
{
    return error == ENOLCK || error == ENOSYS || error == ENOTSUP || error == EINVAL;
}

tsr_status cache_lock(const tsr_cache *c, const char *entry, int *fd)
{
    char name[TSR_CACHE_NAME];
    struct stat st;
    cache_file_name(name, entry, cache_lock_ending);
    *fd = openat(c->dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (*fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be created: %s", name, strerror(errno));
    bool mine = flock(*fd, LOCK_EX | LOCK_NB) == 0 || no_locks_here(errno);
    /* Whoever had it before may have removed the file between our two steps. */
    if (mine && fstat(*fd, &st) == 0 && st.st_nlink > 0) return TSR_OK;
    close(*fd);
    *fd = -1;
    return TSR_OK;
}

void cache_unlock(const tsr_cache *c, const char *entry, int *fd)
{
    char name[TSR_CACHE_NAME];
    if (*fd < 0) return;
    unlinkat(c->dir, cache_file_name(name, entry, cache_lock_ending), 0);
    close(*fd);
    *fd = -1;
}

/* --- Reading --- */

struct tsr_cache_reader {
    int fd;
    char name[TSR_CACHE_NAME];
    tsr_cache_sidecar sidecar;
};

int64_t tsr_cache_parts(int64_t block_bytes)
{
    return block_bytes > 0 ? (block_bytes - 1) / TSR_CACHE_PART_BYTES + 1 : 0;
}

int64_t tsr_cache_part_bytes(int64_t block_bytes, int64_t part)
{
    return tsr_min(TSR_CACHE_PART_BYTES, block_bytes - part * TSR_CACHE_PART_BYTES);
}

/* Everything but the block itself, before anything but our own eyes sees the file. */
static tsr_status check_entry(const tsr_cache *c, const tsr_cache_key *key, tsr_cache_reader *r)
{
    const tsr_cache_sidecar *s = &r->sidecar;
    char path[PATH_MAX];
    int64_t bytes = 0;
    tsr_digest frame;
    TSR_TRY(cache_open_file(c, r->name, &r->fd, &bytes));
    if (r->fd < 0) return tsr_fail(TSR_ERR_IO, "%s: missing, though its sidecar is there", r->name);
    if (!tsr_digest_equal(s->key, cache_key_digest(key)) || s->data_bytes != key->bytes)
        return tsr_fail(TSR_ERR_FORMAT, "%s: its sidecar is that of another entry", r->name);
    if (bytes != s->file_bytes)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, %lld expected", r->name, (long long)bytes,
                        (long long)s->file_bytes);
    TSR_TRY(cache_frame_digest(r->fd, r->name, bytes, s->data_offset, s->data_bytes, &frame));
    if (!tsr_digest_equal(frame, s->frame))
        return tsr_fail(TSR_ERR_FORMAT, "%s: damaged: its head differs from what was written", r->name);
    TSR_TRY(cache_file_path(c, r->name, path));
    return tsr_cache_hdf5_check(path, r->name, key, s->data_offset);
}

tsr_status tsr_cache_reader_open(const tsr_cache *c, const tsr_cache_key *key, tsr_cache_reader **out)
{
    char entry[TSR_DIGEST_TEXT];
    bool found = false;
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_cache_reader), "a cache reader", &p));
    tsr_cache_reader *r = p;
    r->fd = -1;
    tsr_digest_text(cache_key_digest(key), entry);
    cache_file_name(r->name, entry, cache_block_ending);
    tsr_status s = cache_read_sidecar(c, entry, true, &r->sidecar, &found);
    if (s == TSR_OK && found) s = check_entry(c, key, r);
    if (s != TSR_OK || !found) tsr_cache_reader_close(&r);
    *out = r;
    return s;
}

tsr_status tsr_cache_reader_part(const tsr_cache_reader *r, int64_t part, void *dst)
{
    int64_t n = tsr_cache_part_bytes(r->sidecar.data_bytes, part);
    int64_t at = r->sidecar.data_offset + part * TSR_CACHE_PART_BYTES;
    TSR_TRY(tsr_file_read(r->fd, r->name, at, dst, n));
    if (!tsr_digest_equal(tsr_digest_of(dst, n), r->sidecar.parts[part]))
        return tsr_fail(TSR_ERR_FORMAT, "%s: damaged: the %lld bytes at %lld differ from what was written",
                        r->name, (long long)n, (long long)at);
    return TSR_OK;
}

void tsr_cache_reader_close(tsr_cache_reader **reader)
{
    tsr_cache_reader *r = *reader;
    if (!r) return;
    if (r->fd >= 0) close(r->fd);
    tsr_cache_sidecar_free(&r->sidecar);
    tsr_free(r);
    *reader = NULL;
}
