/* file_io.h: whole reads and writes at an offset, for files that checkpoint/ makes itself. Private to
 * checkpoint/ and its tests. Interrupted and short transfers are continued; `name` is for messages.
 * TSR_ERR_IO. Local, thread-safe, blocking.
 */
#ifndef TSR_CHECKPOINT_FILE_IO_H
#define TSR_CHECKPOINT_FILE_IO_H

#include "base/status.h"

#include <stdint.h>

tsr_status tsr_file_read(int fd, const char *name, int64_t offset, void *dst, int64_t n);
tsr_status tsr_file_write(int fd, const char *name, int64_t offset, const void *bytes, int64_t n);
/* fsync: what was written outlives a loss of power. */
tsr_status tsr_file_sync(int fd, const char *name);

/* A new file of mode `mode` with these contents, synced; nothing of that name may exist. */
tsr_status tsr_file_make(int dir, const char *name, int mode, const void *bytes, int64_t n);

#endif
