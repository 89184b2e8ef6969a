/* cache_sidecar.h: the checksums beside a file of the cache. Private to checkpoint/ and its tests.
 *
 * {"tessera_cache": 1, "file_bytes": 33558528, "data_offset": 4096, "data_bytes": 33554432,
 *  "part_bytes": 16777216, "frame": "<digest>", "key": "<digest>", "origin": "...", "parts": ["<digest>", ...]}
 *
 * The data is the block; the frame is all of the file that is not data. Local.
 */
#ifndef TSR_CHECKPOINT_CACHE_SIDECAR_H
#define TSR_CHECKPOINT_CACHE_SIDECAR_H

#include "base/digest.h"
#include "base/text.h"

enum { TSR_CACHE_SIDECAR_CAP = 128 << 20 };

typedef struct tsr_cache_sidecar {
    int64_t file_bytes, data_offset, data_bytes;
    tsr_digest frame, key;
    char *origin;
    tsr_digest *parts; /* [n_parts], one for each TSR_CACHE_PART_BYTES of the data */
    int64_t n_parts;
} tsr_cache_sidecar;

/* From the bytes of a file; `name` is for messages. What is returned fits together: the data lies in the
 * file, and there is a digest for every part of it. TSR_ERR_FORMAT, TSR_ERR_MEMORY. */
tsr_status tsr_cache_sidecar_parse(const char *bytes, int64_t n, const char *name, tsr_cache_sidecar *out);
tsr_status tsr_cache_sidecar_print(const tsr_cache_sidecar *s, tsr_text *out);
void tsr_cache_sidecar_free(tsr_cache_sidecar *s); /* accepts a zeroed struct */

#endif
