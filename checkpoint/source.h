/* source.h: where weights come from: a list of named tensors and their bytes, whatever the file format.
 *
 *     tsr_source *source;
 *     TSR_TRY(tsr_source_open("models/gpt2", &source));
 *     const tsr_tensor_info *t = tsr_source_find(source, "wte.weight");  // NULL: the checkpoint has none
 *     TSR_TRY(tsr_source_read(source, t, 0, t->bytes, buffer));
 *     tsr_source_destroy(&source);
 *
 * Opening reads the headers only. Reading is pread, never mmap: the resident set of a rank is what it keeps,
 * not what it looked at. The formats form a table (format.h), one file each; the first whose marker file lies
 * in the folder is used, and there is no falling back to another when it turns out broken.
 *
 * Trust. The folder is the user's choice; what lies in its files is not trusted. Files are opened relative to
 * the folder by plain names only: no '/', no "." or "..", no control characters, at most 255 bytes. A
 * symbolic link with such a name is followed, wherever it leads: Hugging Face's cache stores each model file
 * as a link into ../../blobs, and whoever can place links in the folder could as well place the files. A name
 * that a file *contains* (the shards of an index) can thus select among the folder's entries but never spell
 * a path. What is opened must be a regular file, so that a FIFO or a device cannot hang us.
 *
 * Errors: TSR_ERR_IO (missing or unreadable files), TSR_ERR_FORMAT (malformed contents), TSR_ERR_MEMORY; the
 * line names the file, and the tensor where there is one. All functions are local. An open source may be used
 * by many threads at once.
 */
#ifndef TSR_CHECKPOINT_SOURCE_H
#define TSR_CHECKPOINT_SOURCE_H

#include "base/dtype.h"
#include "base/status.h"

#include <stdint.h>

enum { TSR_MAX_RANK = 8 };

typedef struct tsr_source tsr_source;

struct tsr_view; /* view.h */

/* One tensor, dense and row-major. Everything is owned by the source and constant.
 *
 * Most tensors are a run of bytes of one file. Some are made of parts of others: the pieces that ranks trained, a
 * transposed matrix, one that is spread over a torch storage. They have `made_of`, and are read like all others,
 * by tsr_source_read and by views; `file` is then that of their first part, and `offset` says nothing. So have those
 * that are sums of others: what ranks added up in training. */
typedef struct tsr_tensor_info {
    const char *name;
    tsr_dtype dtype;         /* TSR_DTYPE_COUNT: a number format that we list but cannot convert */
    const char *dtype_label; /* as the file spells it, for messages: "BF16", "F8_E4M3" */
    int rank;                /* 0 (one element) .. TSR_MAX_RANK */
    int64_t shape[TSR_MAX_RANK];
    int64_t bytes;
    int file;                       /* which file holds it: tsr_source_file_name */
    int64_t offset;                 /* of its first byte in that file */
    const struct tsr_view *made_of; /* NULL: `bytes` bytes at `offset` of `file` */
    const struct tsr_sum *sum_of;   /* NULL: as above; else computed from others when read (sum.h) */
} tsr_tensor_info;

/* Opens the checkpoint in folder `model_dir`. If no format recognises it, the error lists what was looked
 * for. */
tsr_status tsr_source_open(const char *model_dir, tsr_source **out);
/* Opens the checkpoint that `path` names: a file, whose ending says what it is, or a folder, in which is looked as
 * above; relative to `model_dir`, or absolute: it is the user's word, as the folder is. NULL or "": as above. */
tsr_status tsr_source_open_checkpoint(const char *model_dir, const char *path, tsr_source **out);
/* The same, told more. */
typedef struct tsr_source_request {
    const char *model_dir;
    const char *path; /* as above */
    int training_mp_size; /* the tensor-parallel degree it was trained at; 0: whatever it says. A checkpoint of another
                             one is TSR_ERR_FORMAT; one in whole tensors has 1. */
} tsr_source_request;
tsr_status tsr_source_open_request(const tsr_source_request *request, tsr_source **out);
void tsr_source_destroy(tsr_source **source); /* accepts NULL inside */

const char *tsr_source_format_name(const tsr_source *source); /* "safetensors", ... */
const char *tsr_source_folder(const tsr_source *source); /* in which the files lie, as the user gave it */
int64_t tsr_source_count(const tsr_source *source);
/* i in 0..count-1; file by file, in the order of the bytes. */
const tsr_tensor_info *tsr_source_tensor(const tsr_source *source, int64_t i);
const char *tsr_source_file_name(const tsr_source *source, int file); /* "model-00002-of-00003.safetensors" */

/* By exact name; NULL if there is none. */
const tsr_tensor_info *tsr_source_find(const tsr_source *source, const char *name);

/* As above for checkpoints that may carry or lack the head's prefix, such as "transformer." or "model." (NULL
 * or "": none): tries the exact name, then the name without the prefix if it begins with it, then with the
 * prefix added. */
const tsr_tensor_info *tsr_source_find_prefixed(const tsr_source *source, const char *name,
                                                const char *prefix);

/* Reads n bytes of the tensor, from its byte `byte_offset` on, into dst. Interrupted and short reads are
 * continued; a file that ends too early (someone truncated it after it was opened) is TSR_ERR_IO. Blocks on
 * the disk. */
tsr_status tsr_source_read(const tsr_source *source, const tsr_tensor_info *tensor, int64_t byte_offset,
                           int64_t n, void *dst);

/* Bytes of tensor data read so far through this source, by all threads; headers not counted. */
int64_t tsr_source_bytes_read(const tsr_source *source);

#endif
