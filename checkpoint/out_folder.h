/* out_folder.h: a folder of files that appears whole or not at all.
 *
 * It is filled as PATH.incomplete and renamed to PATH at the end. PATH must not exist, or be an empty folder:
 * nothing is ever written over. Local, blocking. TSR_ERR_USAGE (the place is taken), TSR_ERR_IO.
 */
#ifndef TSR_CHECKPOINT_OUT_FOLDER_H
#define TSR_CHECKPOINT_OUT_FOLDER_H

#include "base/status.h"

#include <stdint.h>

typedef struct tsr_out_folder tsr_out_folder;

tsr_status tsr_out_folder_create(const char *path, tsr_out_folder **out);
int tsr_out_folder_fd(const tsr_out_folder *f);           /* to create files in; the folder closes it */
const char *tsr_out_folder_path(const tsr_out_folder *f); /* where it is now: PATH.incomplete, later PATH */
/* A file with these contents, synced. */
tsr_status tsr_out_folder_write(tsr_out_folder *f, const char *name, const void *bytes, int64_t n);
/* A copy of a regular file of the folder `from`, links followed; at most `cap` bytes are accepted. */
tsr_status tsr_out_folder_copy(tsr_out_folder *f, int from, const char *name, int64_t cap);
tsr_status tsr_out_folder_finish(tsr_out_folder *f);
/* Removes it with its files unless it was finished. Accepts NULL inside. */
void tsr_out_folder_close(tsr_out_folder **f);

#endif
