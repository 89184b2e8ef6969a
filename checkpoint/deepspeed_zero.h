/* deepspeed_zero.h: the float32 weights that ZeRO has cut among the data-parallel ranks, put together as views.
 *
 * Each rank saves, as its part of the optimizer's state, float32 vectors. `param_shapes`, in the file of the module,
 * says which parameters they are, in order: a list of dicts from name to shape, one a parameter group. N ranks:
 *
 *     stage 1, 2  a group's parameters, laid end to end and padded to a multiple of 2 N, are cut into N equal vectors;
 *                 the last rank may have left its padding out. Parameter p is a run of their concatenation.
 *     stage 3     each parameter is cut into N parts of ceil(elements / N), padded at the end; a rank's vectors are its
 *                 parts of all parameters, end to end. Parameter p is its N parts, without the padding.
 *
 * What is not optimized stands elsewhere: frozen parameters whole or (stage 3) in parts of the same kind in the files of
 * the module; buffers in the module; a parameter with two names is stored under one, and `shared_params` tells the
 * other. Under stages 1 and 2 the module holds everything once more in the training's number format: whatever was not
 * found in float32 is taken from there.
 *
 * Nothing is read but the descriptions: a tensor is a view of byte runs in several files, and reading a slice of it
 * reads that slice. All ranks' files of the optimizer must be there, and all they say must agree.
 *
 * Errors: TSR_ERR_FORMAT with a line naming file and tensor; TSR_ERR_IO; TSR_ERR_MEMORY. Private to checkpoint/; local.
 */
#ifndef TSR_CHECKPOINT_DEEPSPEED_ZERO_H
#define TSR_CHECKPOINT_DEEPSPEED_ZERO_H

#include "checkpoint/deepspeed_folder.h"
#include "checkpoint/state.h"

/* Adds the tensors of model-parallel rank `mp`, which `dp` data-parallel ranks have in parts, to an empty state, sorted. */
tsr_status tsr_deepspeed_zero(tsr_source *source, const tsr_deepspeed_folder *folder, int mp, int dp,
                              tsr_state *state);

#endif
