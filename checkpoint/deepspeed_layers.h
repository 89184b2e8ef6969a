/* deepspeed_layers.h: the files of a pipeline's layers, read as state dicts. Private to checkpoint/; local. */
#ifndef TSR_CHECKPOINT_DEEPSPEED_LAYERS_H
#define TSR_CHECKPOINT_DEEPSPEED_LAYERS_H

#include "checkpoint/deepspeed_folder.h"

/* Each layer's weights are in one file a model-parallel rank, and all layers have the same ranks, 0 .. M-1. Lists what
 * they are together (pipeline.h). TSR_ERR_FORMAT naming the file that is missing or malformed. */
tsr_status tsr_deepspeed_layers(tsr_source *source, const tsr_deepspeed_folder *folder);

#endif
