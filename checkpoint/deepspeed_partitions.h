/* deepspeed_partitions.h: the float32 vectors in the optimizer's files of a ZeRO checkpoint. deepspeed_zero.h says how
 * they are cut. Private to checkpoint/; local.
 */
#ifndef TSR_CHECKPOINT_DEEPSPEED_PARTITIONS_H
#define TSR_CHECKPOINT_DEEPSPEED_PARTITIONS_H

#include "checkpoint/deepspeed_folder.h"
#include "checkpoint/view.h"

typedef struct tsr_partitions {
    int ranks;   /* data-parallel ones */
    bool parted; /* every parameter is cut (stage 3); else every group of them */
    /* parted: [ranks], all that a rank has; else [groups], a group of all ranks. Views in the source's arena. */
    const tsr_view **vector;
    int64_t vectors;
} tsr_partitions;

/* From the `ranks` files of model-parallel rank `mp`, all of which must say the same of stage and counts, and have
 * vectors of equal lengths (the last rank's may be shorter where groups are cut). TSR_ERR_FORMAT naming the file. */
tsr_status tsr_partitions_read(tsr_source *source, const tsr_deepspeed_folder *folder, int mp, int ranks,
                               tsr_partitions *out);
void tsr_partitions_free(tsr_partitions *partitions); /* the array; accepts a zeroed one */

/* The part of a tensor that each rank has under stage 3. */
int64_t tsr_parted_elements(int64_t elements, int ranks);
/* A tensor of this shape from the ranks' parts of it, which are at `begin` of their vectors. They must be in there. */
tsr_status tsr_parted_view(tsr_arena *arena, int ranks, const tsr_view *const *vectors, int64_t begin,
                           int rank, const int64_t *shape, const tsr_view **out);

#endif
