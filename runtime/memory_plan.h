/* memory_plan.h: where every value of a graph lies in one activation arena, planned once by liveness.
 *
 * A value lives from the node that makes it to the last one that reads it. Values whose lives do not overlap
 * may share memory; ops that can write over an input do when nobody needs it again (all_reduce and
 * reduce_add_norm always do over their first); windows lie inside their parents. Offsets are in floats, for
 * steps of up to max_tokens tokens and max_rows output rows. Local. Errors: TSR_ERR_MEMORY; TSR_ERR_CAPACITY if the arena
 * would exceed 2^62 bytes.
 */
#ifndef TSR_RUNTIME_MEMORY_PLAN_H
#define TSR_RUNTIME_MEMORY_PLAN_H

#include "layers/graph.h"

typedef struct tsr_value_place {
    int64_t offset; /* floats from the start of the arena */
    int64_t ld;     /* floats from one row to the next */
} tsr_value_place;

typedef struct tsr_memory_plan {
    tsr_value_place *place; /* [n_values] */
    int64_t floats;         /* size of the arena */
} tsr_memory_plan;

tsr_status tsr_memory_plan_make(const tsr_graph *g, int64_t max_tokens, int64_t max_rows,
                                tsr_memory_plan *out);
void tsr_memory_plan_free(tsr_memory_plan *plan);

#endif
