/* source_identity.h: which files a source reads, told so that a change of any of them shows.
 *
 *     checkpoint safetensors 8c1f...            the format; a digest of all names, dtypes, shapes and places
 *     file 91284 1700000000000000000 ... /models/gpt2/model.safetensors
 *
 * A "file" line has the bytes, the times of the last change of contents and of anything (ns since 1970), the
 * inode and the path. Local.
 */
#ifndef TSR_CHECKPOINT_SOURCE_IDENTITY_H
#define TSR_CHECKPOINT_SOURCE_IDENTITY_H

#include "base/text.h"
#include "checkpoint/source.h"

#include <stdbool.h>

/* Appends the lines, as the open files are now. */
tsr_status tsr_source_identify(const tsr_source *source, tsr_text *out);

/* Are all files that the "file" lines of a text name still there and unchanged? Asks for their attributes
 * alone; other lines are skipped, a malformed one counts as changed. */
bool tsr_source_identity_current(const char *lines);

#endif
