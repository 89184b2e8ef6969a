/* source_config.h: what describes the model of a checkpoint: config.json of the model's folder or, where there is none,
 * what the checkpoint says itself in words of its own (the arguments of a training run), told as config.json would.
 */
#ifndef TSR_CHECKPOINT_SOURCE_CONFIG_H
#define TSR_CHECKPOINT_SOURCE_CONFIG_H

#include "base/json.h"
#include "checkpoint/source.h"

/* *source is the request's, open, or NULL; in a folder without config.json it is opened if a format recognises it, and
 * then stays the caller's. Free *out with tsr_json_free. Errors: TSR_ERR_IO, TSR_ERR_FORMAT. Local. */
tsr_status tsr_source_config(const tsr_source_request *request, tsr_source **source, tsr_json *out);

/* Does the checkpoint itself describe its model? */
bool tsr_source_tells_config(const tsr_source *source);

#endif
