/* out_folder.c: a folder under another name until it is complete. */
#include "checkpoint/out_folder.h"
#include "base/checked.h"
#include "base/memory.h"
#include "checkpoint/file_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tsr_out_folder {
    int fd;
    bool finished;
    char path[PATH_MAX], new_path[PATH_MAX];
};

static tsr_status take_path(tsr_out_folder *f, const char *path)
{
    static const char ending[] = ".incomplete";
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    if (n == 0 || n + sizeof ending > sizeof f->new_path)
        return tsr_fail(TSR_ERR_USAGE, "the name of the output folder is empty or too long");
    snprintf(f->path, sizeof f->path, "%.*s", (int)n, path);
    snprintf(f->new_path, sizeof f->new_path, "%.*s%s", (int)n, path, ending);
    return TSR_OK;
}

/* The rename at the end replaces an empty folder and fails for all else. */
static tsr_status check_free(const tsr_out_folder *f)
{
    struct stat st;
    if (lstat(f->path, &st) != 0) return TSR_OK;
    DIR *d = S_ISDIR(st.st_mode) ? opendir(f->path) : NULL;
    int entries = 0;
    while (d && readdir(d)) entries++;
    if (d) closedir(d);
    if (d && entries <= 2) return TSR_OK;
    return tsr_fail(TSR_ERR_USAGE, "%s: is there already; the output must be a new or an empty folder",
                    f->path);
}

static tsr_status make_folder(tsr_out_folder *f)
{
    TSR_TRY(check_free(f));
    if (mkdir(f->new_path, 0777) != 0 && errno == EEXIST)
        return tsr_fail(TSR_ERR_USAGE, "%s: in use, or left by a run that was stopped: remove it then",
                        f->new_path);
    f->fd = open(f->new_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be made: %s", f->new_path, strerror(errno));
    return TSR_OK;
}

tsr_status tsr_out_folder_create(const char *path, tsr_out_folder **out)
{
    void *p;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_out_folder), "the output folder", &p));
    tsr_out_folder *f = p;
    f->fd = -1;
    tsr_status s = take_path(f, path);
    if (s == TSR_OK) s = make_folder(f);
    if (s != TSR_OK) tsr_out_folder_close(&f);
    *out = f;
    return s;
}

int tsr_out_folder_fd(const tsr_out_folder *f)
{
    return f->fd;
}

const char *tsr_out_folder_path(const tsr_out_folder *f)
{
    return f->finished ? f->path : f->new_path;
}

tsr_status tsr_out_folder_write(tsr_out_folder *f, const char *name, const void *bytes, int64_t n)
{
    return tsr_file_make(f->fd, name, 0666, bytes, n);
}

static tsr_status copy_open(tsr_out_folder *f, int from, const char *name, int64_t cap)
{
    struct stat st;
    void *bytes = NULL;
    if (fstat(from, &st) != 0 || !S_ISREG(st.st_mode))
        return tsr_fail(TSR_ERR_IO, "%s: not a regular file", name);
    if (st.st_size > cap)
        return tsr_fail(TSR_ERR_FORMAT, "%s: %lld bytes, at most %lld are accepted", name,
                        (long long)st.st_size, (long long)cap);
    TSR_TRY(tsr_alloc(st.st_size, name, &bytes));
    tsr_status s = tsr_file_read(from, name, 0, bytes, st.st_size);
    if (s == TSR_OK) s = tsr_out_folder_write(f, name, bytes, st.st_size);
    tsr_free(bytes);
    return s;
}

tsr_status tsr_out_folder_copy(tsr_out_folder *f, int from, const char *name, int64_t cap)
{
    int fd = openat(from, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", name, strerror(errno));
    tsr_status s = copy_open(f, fd, name, cap);
    close(fd);
    return s;
}

/* Makes the rename itself outlive a loss of power. */
static tsr_status sync_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)tsr_max(slash - path, 1) : 1, slash ? path : ".");
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be opened: %s", parent, strerror(errno));
    tsr_status s = tsr_file_sync(fd, parent);
    close(fd);
    return s;
}

tsr_status tsr_out_folder_finish(tsr_out_folder *f)
{
    TSR_TRY(tsr_file_sync(f->fd, f->new_path));
    if (rename(f->new_path, f->path) != 0)
        return tsr_fail(TSR_ERR_IO, "%s: cannot be renamed to %s: %s", f->new_path, f->path, strerror(errno));
    f->finished = true;
    return sync_parent(f->path);
}

static void remove_all(const tsr_out_folder *f)
{
    DIR *d = fdopendir(dup(f->fd));
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlinkat(f->fd, e->d_name, 0);
    if (d) closedir(d);
    rmdir(f->new_path);
}

void tsr_out_folder_close(tsr_out_folder **folder)
{
    tsr_out_folder *f = *folder;
    if (!f) return;
    if (f->fd >= 0 && !f->finished) remove_all(f);
    if (f->fd >= 0) close(f->fd);
    tsr_free(f);
    *folder = NULL;
}
