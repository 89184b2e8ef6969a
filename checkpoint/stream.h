/* stream.h: the bytes of a tensor as they will be in another file: cut, converted, from any place on. Private
 * to checkpoint/. A stream may be read by many threads at once; what it points to lives in the arena.
 */
#ifndef TSR_CHECKPOINT_STREAM_H
#define TSR_CHECKPOINT_STREAM_H

#include "checkpoint/export.h"
#include "checkpoint/view.h"

typedef struct tsr_stream {
    const tsr_source *source;
    const tsr_tensor_info *tensor;
    const tsr_view *view; /* [elements]; NULL: the stored bytes */
    tsr_dtype as;         /* of the view */
    int64_t bytes, chunk; /* all; of one piece: whole elements */
    int file; /* open file in which the bytes stand as they are, from tensor->offset on; -1: none */
} tsr_stream;

tsr_status tsr_stream_open(const tsr_source *source, const tsr_export_item *item, tsr_arena *arena,
                           tsr_stream *out);
/* The number format it converts to; TSR_DTYPE_COUNT: none. */
tsr_dtype tsr_stream_converts_to(const tsr_stream *s);

int64_t tsr_stream_chunks(const tsr_stream *s);
/* Bytes *at .. *at + *n - 1 are chunk i; *n is at most TSR_EXPORT_CHUNK. */
void tsr_stream_chunk(const tsr_stream *s, int64_t i, int64_t *at, int64_t *n);
/* Reads such a chunk. */
tsr_status tsr_stream_read(const tsr_stream *s, int64_t at, int64_t n, void *dst);

#endif
