/* file_io.c: loops around pread and pwrite. */
#include "checkpoint/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

tsr_status tsr_file_read(int fd, const char *name, int64_t offset, void *dst, int64_t n)
{
    for (char *p = dst; n > 0;) {
        ssize_t got = pread(fd, p, (size_t)n, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be read: %s", name, strerror(errno));
        if (got == 0)
            return tsr_fail(TSR_ERR_IO, "%s: ends at byte %lld, %lld more expected", name, (long long)offset,
                            (long long)n);
        p += got;
        offset += got;
        n -= got;
    }
    return TSR_OK;
}

tsr_status tsr_file_write(int fd, const char *name, int64_t offset, const void *bytes, int64_t n)
{
    for (const char *p = bytes; n > 0;) {
        ssize_t put = pwrite(fd, p, (size_t)n, offset);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0)
            return tsr_fail(TSR_ERR_IO, "%s: cannot be written: %s", name,
                            strerror(put < 0 ? errno : ENOSPC));
        p += put;
        offset += put;
        n -= put;
    }
    return TSR_OK;
}

tsr_status tsr_file_sync(int fd, const char *name)
{
    while (fsync(fd) != 0)
        if (errno != EINTR)
            return tsr_fail(TSR_ERR_IO, "%s: cannot be written to disk: %s", name, strerror(errno));
    return TSR_OK;
}

tsr_status tsr_file_make(int dir, const char *name, int mode, const void *bytes, int64_t n)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) return tsr_fail(TSR_ERR_IO, "%s: cannot be created: %s", name, strerror(errno));
    tsr_status s = tsr_file_write(fd, name, 0, bytes, n);
    if (s == TSR_OK) s = tsr_file_sync(fd, name);
    if (close(fd) != 0 && s == TSR_OK)
        s = tsr_fail(TSR_ERR_IO, "%s: cannot be written: %s", name, strerror(errno));
    if (s != TSR_OK) unlinkat(dir, name, 0);
    return s;
}
