/* safetensors_write.h: writing one .safetensors file whose sizes are known beforehand.
 *
 * Creation writes the header; the tensors follow in any order, in any pieces, from many threads; finishing
 * syncs the file and gives it its name. Until then it is called NAME.new, so that whatever has the name is
 * whole. Every byte of every tensor must be put once. Local, blocking. TSR_ERR_IO, TSR_ERR_MEMORY.
 */
#ifndef TSR_CHECKPOINT_SAFETENSORS_WRITE_H
#define TSR_CHECKPOINT_SAFETENSORS_WRITE_H

#include "checkpoint/source.h"

#include <stdbool.h>

typedef struct tsr_safetensors_item {
    const char *name, *dtype_label; /* "BF16" */
    int rank;
    int64_t shape[TSR_MAX_RANK];
    int64_t bytes;
} tsr_safetensors_item;

/* An entry of __metadata__; {"format": "pt"} is always there. */
typedef struct tsr_safetensors_note {
    const char *key, *value;
} tsr_safetensors_note;

typedef struct tsr_safetensors_writer tsr_safetensors_writer;

/* In the open folder `dir`. The items lie in the file in this order: those of wider numbers should come first,
 * for readers that map the file and need them aligned. */
tsr_status tsr_safetensors_writer_create(int dir, const char *name, const tsr_safetensors_item *items,
                                         int64_t n_items, const tsr_safetensors_note *notes, int64_t n_notes,
                                         tsr_safetensors_writer **out);
tsr_status tsr_safetensors_writer_put(tsr_safetensors_writer *w, int64_t item, int64_t offset,
                                      const void *bytes, int64_t n);
/* As above from a file, without the bytes passing through this process. False: the system cannot copy these
 * files so, or not now; they are to be put then. */
bool tsr_safetensors_writer_copy(tsr_safetensors_writer *w, int64_t item, int64_t offset, int from,
                                 int64_t from_offset, int64_t n);
tsr_status tsr_safetensors_writer_finish(tsr_safetensors_writer *w);
/* Removes the file unless it was finished. Accepts NULL inside. */
void tsr_safetensors_writer_close(tsr_safetensors_writer **w);

#endif
