/* cache.h: blocks of bytes that took work to make, kept in a folder for the next start.
 *
 * A rank's weights, sliced, converted and packed, are one block. An entry of the cache is such a block and the
 * two texts that say what it is: the `origin` (which files it was made of, for which rank, by which version)
 * and the `plan` (what lies where in it). Together they are its key: whatever shaped the block must be in one
 * of them, and the cache knows nothing else about it, neither models nor processors.
 *
 *     TSR_TRY(tsr_cache_open(dir, &cache));
 *     tsr_cache_key key = {origin, plan, bytes};
 *     TSR_TRY(tsr_cache_reader_open(cache, &key, &reader));
 *     if (reader)                                                             // NULL: not there yet
 *         for (i = 0; i < tsr_cache_parts(bytes); i++)                        // on as many threads as one likes
 *             TSR_TRY(tsr_cache_reader_part(reader, i, block + i * TSR_CACHE_PART_BYTES));
 *
 * An entry is two files named after the digest of the key: NAME.h5, an HDF5 file with the datasets `origin`,
 * `plan` and `weights` (bytes, contiguous, unfiltered), and the sidecar NAME.json with the checksums of that
 * file: one for every part of the block, one for all the rest. libhdf5 is not made for files of strangers, so
 * it gets to see only a file whose bytes outside of the block match the sidecar; then the structure is
 * checked (hard links alone, no external storage, virtual sets or filters, plugins off), then the key, and
 * the block is read straight to where it goes by pread, each part checked on arrival.
 *
 * The folder must be a real folder of mode 0700 that belongs to the user; one that is not there is made.
 * Files are opened without following links, and must be regular files of the user's that nobody else may
 * write. An entry appears by fsync and rename, first the block and then the sidecar, so that a process that
 * dies leaves nothing that could be used; a lock file keeps two processes from writing one entry at once.
 *
 * Errors: any doubt is a failure (TSR_ERR_IO, TSR_ERR_FORMAT) with one line naming the file; the caller makes
 * the block anew, which replaces the entry. All functions are local and block on the disk. A reader may be
 * used by many threads at once, a writer by one.
 */
#ifndef TSR_CHECKPOINT_CACHE_H
#define TSR_CHECKPOINT_CACHE_H

#include "base/digest.h"
#include "base/status.h"

#include <stdint.h>

enum { TSR_CACHE_PART_BYTES = 16 << 20, TSR_CACHE_TEXT_CAP = 64 << 20 };

typedef struct tsr_cache tsr_cache;

/* Makes the folder if need be (not its parents) and checks it. */
tsr_status tsr_cache_open(const char *dir, tsr_cache **out);
/* As above, but makes nothing. */
tsr_status tsr_cache_open_existing(const char *dir, tsr_cache **out);
void tsr_cache_close(tsr_cache **cache);

typedef struct tsr_cache_key {
    const char *origin; /* lines; those beginning "file " as tsr_source_identify writes them */
    const char *plan;
    int64_t bytes; /* of the block, >= 1 */
} tsr_cache_key;

/* Parts of a block: all have TSR_CACHE_PART_BYTES but the last. */
int64_t tsr_cache_parts(int64_t block_bytes);
int64_t tsr_cache_part_bytes(int64_t block_bytes, int64_t part);

/* --- Reading --- */

typedef struct tsr_cache_reader tsr_cache_reader;

/* TSR_OK with *out NULL: there is no such entry. A failure: there is one, and it is not to be used. */
tsr_status tsr_cache_reader_open(const tsr_cache *cache, const tsr_cache_key *key, tsr_cache_reader **out);
/* Reads one part and compares its checksum; after a failure dst holds anything. */
tsr_status tsr_cache_reader_part(const tsr_cache_reader *reader, int64_t part, void *dst);
void tsr_cache_reader_close(tsr_cache_reader **reader);

/* --- Writing --- */

typedef struct tsr_cache_writer tsr_cache_writer;

/* TSR_OK with *out NULL: another process is writing this entry. */
tsr_status tsr_cache_writer_open(const tsr_cache *cache, const tsr_cache_key *key, tsr_cache_writer **out);
/* The next n bytes of the block. */
tsr_status tsr_cache_writer_put(tsr_cache_writer *writer, const void *bytes, int64_t n);
/* After the last byte: makes the entry appear. */
tsr_status tsr_cache_writer_finish(tsr_cache_writer *writer);
/* Removes what was written, unless it was finished. Accepts NULL inside. */
void tsr_cache_writer_close(tsr_cache_writer **writer);

/* --- What lies there --- */

typedef enum tsr_cache_state {
    TSR_CACHE_GOOD,
    TSR_CACHE_STALE,  /* a file it was made of is gone or has changed */
    TSR_CACHE_BROKEN, /* half an entry, or one that contradicts itself */
    TSR_CACHE_BUSY,   /* being written */
} tsr_cache_state;

typedef struct tsr_cache_entry {
    const char *name; /* 32 digits */
    tsr_cache_state state;
    const char *origin; /* "" if it cannot be read */
    int64_t bytes;      /* of its files */
    int64_t used;       /* when it was last read or written, in seconds since 1970 */
} tsr_cache_entry;

/* Calls `visit` for every entry, least recently used first. Checksums of the blocks are not computed. */
typedef tsr_status tsr_cache_visit(void *context, const tsr_cache_entry *entry);
tsr_status tsr_cache_list(const tsr_cache *cache, tsr_cache_visit *visit, void *context);

/* Removes one entry whatever its state, unless it is being written. */
tsr_status tsr_cache_remove(const tsr_cache *cache, const char *name);

#endif
