/* lower.h: composing a view into strided boxes of its tensors. Private to checkpoint/.
 *
 * A piece says: for all loop indices, element src + sum(index * loop.src) of leaf tensor `leaf` goes to
 * element dst + sum(index * loop.dst) of the output. All strides are positive and count elements. Its loops
 * are sorted from the largest src stride to the smallest, none has extent 1, and no two could be one. The
 * pieces of a read write every element of the output exactly once.
 */
#ifndef TSR_CHECKPOINT_LOWER_H
#define TSR_CHECKPOINT_LOWER_H

#include "checkpoint/view_node.h"

enum { TSR_MAX_LOOPS = 16 };

typedef struct tsr_loop {
    int64_t extent, src, dst;
} tsr_loop;

typedef struct tsr_piece {
    int leaf; /* as in tsr_view_leaf_name */
    int64_t src, dst;
    int loops;
    tsr_loop loop[TSR_MAX_LOOPS];
} tsr_piece;

/* Makes one loop of neighbours that continue each other; loops sorted as in a piece. */
void tsr_join_loops(tsr_loop *loop, int *loops);

typedef tsr_status tsr_piece_sink(void *context, const tsr_piece *piece);

/* Hands every piece of rows [row_begin, row_end), taken as a dense row-major matrix, to the sink. Local;
 * allocates nothing. A failure of the sink ends the walk and is returned. The rows must lie in the view. */
tsr_status tsr_view_lower(const tsr_view *v, int64_t row_begin, int64_t row_end, tsr_piece_sink *sink,
                          void *context);

#endif
