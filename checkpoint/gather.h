/* gather.h: fetching one piece of a view from a source. Private to checkpoint/.
 *
 * How the bytes are read is chosen by the shape of the piece: runs that land as they are go straight to the
 * output; others pass through a buffer of 256 KiB, where they are converted and rearranged. Runs are read one
 * by one unless they are so short, or so close, that reading the gaps as well is cheaper (gather.c has the
 * rule).
 */
#ifndef TSR_CHECKPOINT_GATHER_H
#define TSR_CHECKPOINT_GATHER_H

#include "checkpoint/lower.h"

typedef struct tsr_gather {
    const tsr_source *source;
    tsr_dtype as;
    void *raw, *converted; /* allocated when first needed */
} tsr_gather;

/* Writes the piece of tensor `t` to `dst`, the start of the whole output, in dtype gather->as. */
tsr_status tsr_gather_piece(tsr_gather *gather, const tsr_tensor_info *t, const tsr_piece *piece, void *dst);
void tsr_gather_free(tsr_gather *gather); /* the buffers; accepts a zeroed struct */

/* Contiguous runs in the file that the piece is made of. */
int64_t tsr_piece_runs(const tsr_piece *piece);
int64_t tsr_piece_elements(const tsr_piece *piece);

#endif
