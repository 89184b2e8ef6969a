/* rope_memo.h: the rope angles of positions, each computed once.
 *
 * Sines and cosines of a prompt of thousands of tokens take milliseconds; those of most tables are a function of the
 * position alone, and every sequence has the same positions. Memory is address space until a position is first used.
 * Local, not thread-safe.
 */
#ifndef TSR_RUNTIME_ROPE_MEMO_H
#define TSR_RUNTIME_ROPE_MEMO_H

#include "base/status.h"
#include "layers/rope.h"

typedef struct tsr_rope_memo tsr_rope_memo;

/* Of positions below max_positions, of which so many are remembered as are sensible. The table must outlive it. */
tsr_status tsr_rope_memo_create(const tsr_rope *rope, int64_t max_positions, tsr_rope_memo **out);
void tsr_rope_memo_destroy(tsr_rope_memo **memo);

/* What tsr_rope_angles_of_rows gives for these arguments: out [dims], dims/2 cosines, then dims/2 sines. */
void tsr_rope_memo_angles(tsr_rope_memo *memo, int64_t first, int64_t second, int64_t length, float *out);

#endif
