/* part_queue.h: work that comes in numbered parts, done by all threads of a rank.
 *
 * Each thread takes the next part until none is left. The first failure of any thread stops all, and is returned with
 * its text in the caller's error record. Local; blocking.
 */
#ifndef TSR_RUNTIME_PART_QUEUE_H
#define TSR_RUNTIME_PART_QUEUE_H

#include "base/pool.h"

#include <stdint.h>

typedef struct tsr_part_work {
    void *ctx;
    int64_t n_parts;
    /* What a thread needs for itself: made before its first part, released after its last, also when making failed
     * half-way (release gets what *state was then; NULL to begin with). Either may be NULL. */
    tsr_status (*prepare)(void *ctx, int thread, void **state);
    tsr_status (*work)(void *ctx, void *state, int64_t part);
    /* Waits for what is still under way and tells how that ended. */
    tsr_status (*finish)(void *ctx, void *state);
    void (*release)(void *ctx, void *state);
} tsr_part_work;

tsr_status tsr_parts_run(tsr_pool *pool, const tsr_part_work *work);

#endif
