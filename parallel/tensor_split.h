/* tensor_split.h: which part of each checkpoint tensor a rank needs: sharding, told in terms of files.
 *
 * A sharding cuts weights, which are views of tensors, so the part of a tensor that a rank needs may be some rows,
 * some columns, or several ranges of either (queries, keys and values of one fused tensor). A tensor is cut if for
 * every rank that part is whole slices along one axis, the same axis for all ranks, and the ranks together need all
 * of it; any other tensor, and one that every rank needs whole, is not. Local. TSR_ERR_MEMORY, TSR_ERR_FORMAT.
 */
#ifndef TSR_PARALLEL_TENSOR_SPLIT_H
#define TSR_PARALLEL_TENSOR_SPLIT_H

#include "base/memory.h"
#include "checkpoint/source.h"
#include "parallel/shard.h"

typedef struct tsr_tensor_part {
    int64_t n_ranges;
    const tsr_range *ranges; /* [n_ranges] indices along the axis, ascending, disjoint, not touching */
} tsr_tensor_part;

typedef struct tsr_tensor_split {
    int axis;                     /* TSR_NONE: not cut */
    const tsr_tensor_part *parts; /* [ranks] */
} tsr_tensor_split;

/* *out: [tsr_source_count], in the order of the source, in the arena. `model` is the one that was sharded. */
tsr_status tsr_tensor_splits(const tsr_sharding *sharding, const tsr_model *model, const tsr_source *source,
                             tsr_arena *arena, const tsr_tensor_split **out);

#endif
