/* chunks.h: many independent pieces of work on the threads of a pool, with buffers, progress and one failure.
 * Private to checkpoint/. Local, blocking.
 */
#ifndef TSR_CHECKPOINT_CHUNKS_H
#define TSR_CHECKPOINT_CHUNKS_H

#include "base/pool.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Told now and then how many bytes are done; false stops the work (TSR_ERR_CANCELLED). */
typedef bool tsr_progress(void *context, int64_t bytes_done);

typedef struct tsr_chunk_work {
    int64_t chunks;
    int64_t buffer_bytes; /* of scratch for each thread */
    /* Does piece i; *done: bytes it was worth. */
    tsr_status (*work)(void *context, int64_t i, void *buffer, int64_t *done);
    void *context;
    tsr_progress *progress; /* called on the caller's thread; NULL: nobody asks */
    void *progress_context;
    int64_t done_before; /* what progress begins with */
} tsr_chunk_work;

/* The first failure ends the work and is returned. Pieces are begun in order. */
tsr_status tsr_chunks_run(const tsr_chunk_work *work, tsr_pool *pool);

#endif
