/* view.h: weights as views of checkpoint tensors.
 *
 * A view is a tensor of the checkpoint, or other views put through reshape, permute, slice, concat or strides.
 * It is an immutable description: building one reads nothing and needs no source. Every fused, transposed or
 * sharded layout is such a view, and a rank's shard is one more slice of it:
 *
 *     int64_t in_out[] = {768, 2304};                                       // GPT-2 stores [in, out]
 *     TSR_TRY(tsr_view_tensor(arena, "h.0.attn.c_attn.weight", 2, in_out, &w));
 *     TSR_TRY(tsr_view_transpose(arena, w, &w));                            // [2304, 768]
 *     TSR_TRY(tsr_view_slice(arena, w, 0, 0, 192, &w));                     // query rows of rank 0 of 4
 *     TSR_TRY(tsr_view_read_f32(w, source, "transformer.", 0, 192, dst));   // dst [192, 768]
 *
 * Reading composes the whole chain into byte runs and fetches those alone, so slices may stand anywhere in
 * the chain: outside of a permute, a concat or a reshape they cost no extra bytes. Only runs shorter than 64
 * bytes with gaps of at most four times that, and those of tensors of at most 64 KiB, are read together with the gaps
 * between them.
 *
 * Ownership: views live in the arena they were built in and stay valid until it is destroyed; arguments are
 * copied. A view must not outlive the views it was made of. Sharing subtrees is fine. Operations that change
 * nothing return their argument, and adjacent operations of one kind are merged.
 *
 * Errors: extents that do not fit are TSR_ERR_FORMAT (they come from a config that contradicts itself), with
 * the view and the shapes in the line; a wrong rank or axis is TSR_ERR_INTERNAL (it comes from our own code).
 * *out is NULL on failure. Extents may be 0. All functions are local; views may be read by many threads at
 * once, building in one arena may not.
 */
#ifndef TSR_CHECKPOINT_VIEW_H
#define TSR_CHECKPOINT_VIEW_H

#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/source.h"

typedef struct tsr_view tsr_view;

/* --- Building --- */

/* The tensor called `name`, which must have exactly this shape (checked when it meets a source). */
tsr_status tsr_view_tensor(tsr_arena *arena, const char *name, int rank, const int64_t *shape,
                           const tsr_view **out);

/* A tensor that is at hand, listed in a source or not, taken whole; it must outlive the view. For formats that
 * put the tensors they list together from what their files store. */
tsr_status tsr_view_stored(tsr_arena *arena, const tsr_tensor_info *tensor, const tsr_view **out);

/* Same elements in row-major order under another shape of equal size. */
tsr_status tsr_view_reshape(tsr_arena *arena, const tsr_view *v, int rank, const int64_t *shape,
                            const tsr_view **out);

/* Axis i of the result is axis order[i] of v; `order` has rank(v) entries, each axis once. */
tsr_status tsr_view_permute(tsr_arena *arena, const tsr_view *v, const int *order, const tsr_view **out);

/* Swaps the axes of a matrix. */
tsr_status tsr_view_transpose(tsr_arena *arena, const tsr_view *v, const tsr_view **out);

/* Elements begin..end-1 along one axis. */
tsr_status tsr_view_slice(tsr_arena *arena, const tsr_view *v, int axis, int64_t begin, int64_t end,
                          const tsr_view **out);

/* n >= 1 views laid end to end along one axis; their other extents must be equal. dtypes may differ. */
tsr_status tsr_view_concat(tsr_arena *arena, int axis, int n, const tsr_view *const *parts,
                           const tsr_view **out);

/* Element x of the result is element offset + sum(x[i] * stride[i]) of v, which is of rank 1: how torch lays a
 * tensor over its storage. Strides are >= 0; elements may be visited many times. Out of v: TSR_ERR_FORMAT. */
tsr_status tsr_view_strided(tsr_arena *arena, const tsr_view *v, int64_t offset, int rank,
                            const int64_t *shape, const int64_t *stride, const tsr_view **out);

/* --- Asking (no source needed) --- */

int tsr_view_rank(const tsr_view *v);
const int64_t *tsr_view_shape(const tsr_view *v); /* [rank] */
int64_t tsr_view_elements(const tsr_view *v);
/* As a matrix: rows = the first axis, cols = the product of the rest. Rank 1: one column; rank 0: 1 x 1. */
int64_t tsr_view_rows(const tsr_view *v);
int64_t tsr_view_cols(const tsr_view *v);

/* The tensors at the leaves, in the order of writing; one used twice counts twice. */
int tsr_view_leaf_count(const tsr_view *v);
const char *tsr_view_leaf_name(const tsr_view *v, int i);

/* Element x of leaf i's tensor has index x / inner % extent along some axis of it. Adds to count[index], for
 * every element of the view that is of this leaf, one. For telling which slices of a tensor a view is made of. */
tsr_status tsr_view_count(const tsr_view *v, int i, int64_t inner, int64_t extent, int64_t *count);

/* Appends the view as text: "transformer.h.0.attn.c_attn.weight.T[0:320]",
 * "h.0.qkv.weight.reshape[12,3,64,768][:,0:1]", "concat(q.weight, k.weight, v.weight)". */
tsr_status tsr_view_print(const tsr_view *v, tsr_text *out);

/* --- Against a source --- */
/* `prefix` as in tsr_source_find_prefixed; may be NULL. */

/* Every tensor named is there, has the stated shape, and holds floating point numbers (F32, F16, BF16, F64).
 */
tsr_status tsr_view_check(const tsr_view *v, const tsr_source *source, const char *prefix);

/* The dtype that loses nothing: that of the leaves if they agree; else float32, or float64 if one leaf is
 * that. */
tsr_status tsr_view_dtype(const tsr_view *v, const tsr_source *source, const char *prefix, tsr_dtype *out);

/* Bytes the view's elements take in the checkpoint, each leaf in its own dtype: what reading it should cost.
 */
tsr_status tsr_view_stored_bytes(const tsr_view *v, const tsr_source *source, const char *prefix,
                                 int64_t *out);

/* Rows [row_begin, row_end) of the view as a matrix, converted to `as` (F32, F16 or BF16; rounded to nearest
 * even), row-major and dense: dst [row_end - row_begin, cols]. Rows outside the view are TSR_ERR_INTERNAL.
 * Blocks on the disk; takes at most about 1 MiB of its own for the time of the call. */
tsr_status tsr_view_read(const tsr_view *v, const tsr_source *source, const char *prefix, int64_t row_begin,
                         int64_t row_end, tsr_dtype as, void *dst);
tsr_status tsr_view_read_f32(const tsr_view *v, const tsr_source *source, const char *prefix,
                             int64_t row_begin, int64_t row_end, float *dst);

/* --- Panel by panel --- */
/* A reader is a view bound to a source, for a caller that takes a few rows at a time, in ascending order.
 * Names are resolved and checked once, at creation. Where the rows of the view are columns in the file
 * (GPT-2), it reads ahead up to 4 MiB, so that a panel of 8 rows does not become one read of 16 bytes per
 * column: prefer it to tsr_view_read for anything but whole tensors. It never reads past the view: for a part
 * of the rows, slice the view first. Takes at most about 6 MiB. The view and the source must outlive it. Not
 * thread-safe: one reader a thread. */
typedef struct tsr_view_reader tsr_view_reader;

tsr_status tsr_view_reader_create(const tsr_view *v, const tsr_source *source, const char *prefix,
                                  tsr_dtype as, tsr_view_reader **out);
/* dst [row_end - row_begin, cols] in the dtype given at creation. */
tsr_status tsr_view_reader_rows(tsr_view_reader *reader, int64_t row_begin, int64_t row_end, void *dst);
void tsr_view_reader_destroy(tsr_view_reader **reader);

#endif
