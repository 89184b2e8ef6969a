/* model_folder.h: the folder of a model that is named as users of the Hugging Face cache name it.
 *
 * Nothing is downloaded. A folder with a model in it is taken as it is. A folder of that cache holds several revisions:
 *     models--ORG--NAME/refs/main          the commit that a branch or tag stands for
 *     models--ORG--NAME/snapshots/COMMIT/  the files of the model
 * and a name "ORG/NAME" that is no folder here is looked up in $HF_HUB_CACHE, $HF_HOME/hub or
 * ~/.cache/huggingface/hub, the first that is set.
 */
#ifndef TSR_LAUNCH_MODEL_FOLDER_H
#define TSR_LAUNCH_MODEL_FOLDER_H

#include "base/status.h"

/* Writes to out[size] the folder that `model` and `revision` (NULL: none was asked for) name; what is neither a folder
 * nor an "ORG/NAME" stays as it is, for the loader to refuse. TSR_ERR_USAGE: a revision of what has none, or one that is
 * not there; a place elsewhere ("s3://.."). TSR_ERR_IO: an "ORG/NAME" that is neither here nor in the cache. Local. */
tsr_status tsr_model_folder(const char *model, const char *revision, char *out, int size);

#endif
