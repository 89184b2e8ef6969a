/* copy.h: strided copies in memory, the last step of reading permuted weights. Private to checkpoint/. */
#ifndef TSR_CHECKPOINT_COPY_H
#define TSR_CHECKPOINT_COPY_H

#include "checkpoint/lower.h"

/* For all indices of the loops: dst[sum(i * loop.dst)] = src[sum(i * loop.src)]; elements of 1, 2, 4 or 8 bytes.
 * Transposes go tile by tile, so that both sides stay in cache. Local, thread-safe. */
void tsr_copy_strided(const void *src, void *dst, int bytes, const tsr_loop *loop, int loops);

#endif
