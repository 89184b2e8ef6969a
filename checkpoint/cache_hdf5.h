/* cache_hdf5.h: the HDF5 side of a cache file. Private to checkpoint/ and its tests.
 *
 * The file holds three datasets of bytes in its root group, contiguous and unfiltered: "origin", "plan" and
 * "weights". libhdf5 keeps global state, so all calls of this process go one after another, and what they
 * change of that state (error printing, plugin loading) is put back. Local.
 */
#ifndef TSR_CHECKPOINT_CACHE_HDF5_H
#define TSR_CHECKPOINT_CACHE_HDF5_H

#include "checkpoint/cache.h"

/* --- Writing --- */
typedef struct tsr_cache_hdf5 tsr_cache_hdf5;

/* Overwrites the file at `path`, which must exist. */
tsr_status tsr_cache_hdf5_create(const char *path, const tsr_cache_key *key, tsr_cache_hdf5 **out);
tsr_status tsr_cache_hdf5_write(tsr_cache_hdf5 *h, int64_t offset, const void *bytes, int64_t n);
/* Closes the file, whatever the outcome; on success *data_offset is where the block lies in it. */
tsr_status tsr_cache_hdf5_finish(tsr_cache_hdf5 **h, int64_t *data_offset);
void tsr_cache_hdf5_destroy(tsr_cache_hdf5 **h); /* accepts NULL inside */

/* --- Reading --- */

/* Holds the file exactly what the key says, in the structure above, with the block at data_offset? If not,
 * TSR_ERR_FORMAT says what was found instead. `name` is for messages. */
tsr_status tsr_cache_hdf5_check(const char *path, const char *name, const tsr_cache_key *key,
                                int64_t data_offset);

#endif
