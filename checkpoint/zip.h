/* zip.h: the directory of a zip archive whose entries are stored as they are: the container of torch files.
 *
 * Nothing is unpacked: an entry is a run of bytes of the file, found once and read in place. An archive is accepted
 * only if every byte has one meaning: one disk, an end record that ends the file, a central directory right before
 * it, entries that lie before that, each with a local header that says the same, none over another, no name twice,
 * none encrypted, none compressed. Zip64 is understood. Checksums are not looked at: writers leave them out.
 *
 * Errors: TSR_ERR_FORMAT with a line naming file and entry; TSR_ERR_IO; TSR_ERR_MEMORY. Local.
 */
#ifndef TSR_CHECKPOINT_ZIP_H
#define TSR_CHECKPOINT_ZIP_H

#include "checkpoint/format.h"

typedef struct tsr_zip_entry {
    const char *name;
    int64_t offset, bytes; /* of the contents, in the file */
} tsr_zip_entry;

typedef struct tsr_zip {
    tsr_zip_entry *entries; /* [count], sorted by name */
    int64_t count;
} tsr_zip;

/* Reads the directory of a file that was added to the source. Everything belongs to the arena. */
tsr_status tsr_zip_open(const tsr_source *source, int file, tsr_arena *arena, tsr_zip *out);

/* NULL if there is none of that name. */
const tsr_zip_entry *tsr_zip_find(const tsr_zip *zip, const char *name);

#endif
