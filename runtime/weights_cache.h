/* weights_cache.h: one rank's weights in the cache (checkpoint/cache.h): what shaped them, and what became of it.
 *
 * The engine creates one handle a start: it knows the folder, the checkpoint, the config and the rank, which
 * make the origin of the key. A loader adds the plan: a text that says what lies where in its block and in which
 * form, whatever backend it loads for, and asks for the block; if it is not there it makes it from the checkpoint
 * and hands it over to be stored. Nothing here fails for the sake of the cache: any doubt is noted, the loader goes
 * on with the checkpoint, and the engine says so once. Local; loading blocks on the disk.
 */
#ifndef TSR_RUNTIME_WEIGHTS_CACHE_H
#define TSR_RUNTIME_WEIGHTS_CACHE_H

#include "base/pool.h"
#include "checkpoint/cache.h"
#include "checkpoint/source.h"

#include <stdbool.h>

typedef struct tsr_weights_cache tsr_weights_cache;

/* What became of it, in a form that ranks can exchange. */
typedef struct tsr_weights_cache_report {
    int64_t bytes_read; /* of the block; 0: it came from the checkpoint */
    bool stored;        /* it is there for the next start */
    char doubt[232];    /* the first reason not to use or not to store an entry, "" if there was none */
} tsr_weights_cache_report;

/* `about`: lines that shape the weights besides the checkpoint itself (the config's digest, the rank, ...).
 * Borrows the source until it is destroyed. A folder that cannot be used is a doubt, not a failure. */
tsr_status tsr_weights_cache_create(const char *dir, const char *about, const tsr_source *source,
                                    tsr_weights_cache **out);
void tsr_weights_cache_destroy(tsr_weights_cache **cache); /* accepts NULL inside */

/* Opens the entry of this block; NULL where there is none or it is doubted. For loaders that put the parts
 * elsewhere than into one block; what goes wrong with a part they report by tsr_weights_cache_doubt. */
tsr_cache_reader *tsr_weights_cache_find(tsr_weights_cache *cache, const char *plan, int64_t bytes);
/* Notes the thread's last error. */
void tsr_weights_cache_doubt(tsr_weights_cache *cache);
/* Notes that all of an entry was read. */
void tsr_weights_cache_served(tsr_weights_cache *cache, int64_t bytes);

/* Reads the block, zero before, on the pool's threads. False: it is zero still, and must be made from the
 * checkpoint. A NULL cache has nothing. */
bool tsr_weights_cache_load(tsr_weights_cache *cache, const char *plan, int64_t bytes, tsr_pool *pool,
                            void *block);
/* Stores the block, unless the checkpoint has changed since the cache was created. */
void tsr_weights_cache_store(tsr_weights_cache *cache, const char *plan, int64_t bytes, const void *block);

/* The same of a block that is not in this memory: `put` hands over its bytes in order, by tsr_cache_writer_put. */
typedef tsr_status tsr_weights_cache_put(void *ctx, tsr_cache_writer *writer);
void tsr_weights_cache_store_by(tsr_weights_cache *cache, const char *plan, int64_t bytes,
                                tsr_weights_cache_put *put, void *ctx);

void tsr_weights_cache_get_report(const tsr_weights_cache *cache, tsr_weights_cache_report *out);

#endif
