/* export.h: writing tensors of a source to safetensors files, and comparing the two afterwards.
 *
 * A plan says for every tensor to which file it goes, in which number format, and which part of it: all, or
 * the concatenation of some ranges of indices along one axis. Running the plan streams: each thread holds one
 * buffer of at most TSR_EXPORT_CHUNK bytes and what reading a view takes, whatever the sizes of tensors. Files
 * are written one after another, each tensor by all threads. Local, blocking.
 */
#ifndef TSR_CHECKPOINT_EXPORT_H
#define TSR_CHECKPOINT_EXPORT_H

#include "base/memory.h"
#include "base/pool.h"
#include "checkpoint/chunks.h"
#include "checkpoint/safetensors_write.h"

enum { TSR_EXPORT_CHUNK = 16 << 20 };

typedef struct tsr_export_range {
    int64_t begin, end;
} tsr_export_range;

typedef struct tsr_export_item {
    const tsr_tensor_info *tensor;
    tsr_dtype dtype; /* F32, F16 or BF16; TSR_DTYPE_COUNT: the bytes as they are */
    int axis;        /* of the ranges */
    int n_ranges;    /* 0: the whole tensor. Only tensors of floating point numbers can be cut. */
    const tsr_export_range *ranges; /* ascending, disjoint */
} tsr_export_item;

typedef struct tsr_export_file {
    const char *name;
    const tsr_export_item *items; /* [n_items] */
    int64_t n_items;
    const tsr_safetensors_note *notes; /* [n_notes] */
    int64_t n_notes;
} tsr_export_file;

typedef struct tsr_export_plan {
    const tsr_source *source;
    const tsr_export_file *files; /* [n_files] */
    int64_t n_files;
    tsr_progress *progress; /* bytes written, or compared */
    void *progress_context;
} tsr_export_plan;

/* The number format in which a tensor comes out if `wanted` is asked for: floating point numbers are converted,
 * all else stays. TSR_DTYPE_COUNT for `wanted`: nothing is converted. Returns what an item's dtype is to be. */
tsr_dtype tsr_export_dtype(const tsr_tensor_info *tensor, tsr_dtype wanted);
int64_t tsr_export_bytes(const tsr_export_item *item); /* of the item in its file */

/* *infinite: how many numbers are infinite as float16. */
tsr_status tsr_export_run(const tsr_export_plan *plan, int dir, tsr_pool *pool, int64_t *infinite);

/* Has `result` exactly the tensors of `source` with the same numbers, those of floating point in `wanted` (as
 * above)? If not, TSR_ERR_FORMAT names the tensor and the place. */
tsr_status tsr_export_compare(const tsr_source *source, const tsr_source *result, tsr_dtype wanted,
                              tsr_pool *pool, tsr_progress *progress, void *progress_context);

#endif
