/* cache_parts.h: what the cache_*.c files share: the folder, and how its files are named and opened. */
#ifndef TSR_CHECKPOINT_CACHE_PARTS_H
#define TSR_CHECKPOINT_CACHE_PARTS_H

#include "checkpoint/cache.h"
#include "checkpoint/cache_sidecar.h"

#include <limits.h>
#include <stdbool.h>

enum { TSR_CACHE_NAME = 64 }; /* a file name: 32 digits and an ending */

struct tsr_cache {
    int dir;
    char path[PATH_MAX]; /* absolute, without links */
};

static const char cache_block_ending[] = ".h5", cache_sidecar_ending[] = ".json",
                  cache_lock_ending[] = ".lock", cache_new_ending[] = ".new";

/* "<digits>.h5" */
const char *cache_file_name(char out[TSR_CACHE_NAME], const char *entry, const char *ending);
/* With the folder in front, for libhdf5. */
tsr_status cache_file_path(const tsr_cache *cache, const char *name, char out[PATH_MAX]);

tsr_digest cache_key_digest(const tsr_cache_key *key);

/* Opens for reading a file that nobody but the user could have written. *fd is -1 if there is none. */
tsr_status cache_open_file(const tsr_cache *cache, const char *name, int *fd, int64_t *bytes);
/* Reads the sidecar of an entry; `touch` marks it as used now. *found is false if there is none. */
tsr_status cache_read_sidecar(const tsr_cache *cache, const char *entry, bool touch, tsr_cache_sidecar *out,
                              bool *found);
/* The digest of all of an open file but its data. */
tsr_status cache_frame_digest(int fd, const char *name, int64_t file_bytes, int64_t data_offset,
                              int64_t data_bytes, tsr_digest *out);

/* The right to write or remove an entry. *fd is -1 if another process has it. A file system without locks
 * gives it to everybody: if two then disturb one another, the checksums tell. */
tsr_status cache_lock(const tsr_cache *cache, const char *entry, int *fd);
void cache_unlock(const tsr_cache *cache, const char *entry, int *fd);

#endif
