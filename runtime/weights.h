/* weights.h: a rank's weights in memory, loaded from a checkpoint or made at random.
 *
 * Every weight that a node of the model uses is brought into the form its users need: matrices of linears in
 * panels (layers/cpu/pack.h) in the wanted dtype, also when an embedding reads them too; tables of embeddings
 * alone in rows; vectors in float32. Tables that a formula gives are computed. All lie in one block. The pool's threads read and pack disjoint parts,
 * so pages are first touched by the rank that uses them. Local: blocks on the disk. Errors name the tensor:
 * TSR_ERR_FORMAT, TSR_ERR_IO, TSR_ERR_MEMORY.
 */
#ifndef TSR_RUNTIME_WEIGHTS_H
#define TSR_RUNTIME_WEIGHTS_H

#include "base/pool.h"
#include "checkpoint/source.h"
#include "layers/graph.h"
#include "layers/kernel.h"
#include "runtime/weights_cache.h"

typedef struct tsr_weights tsr_weights;

/* source NULL: random weights from `seed` (matrices of standard deviation 0.02, norm scales of 1, biases of
 * 0). The cache (NULL: none) gives the block if it has it, else it is stored there; never for random weights. */
tsr_status tsr_weights_load(const tsr_model *local, const tsr_source *source, tsr_weights_cache *cache,
                            tsr_dtype dtype, uint64_t seed, tsr_pool *pool, tsr_weights **out);
void tsr_weights_destroy(tsr_weights **w);

/* NULL for a weight no node uses. */
const tsr_weight_data *tsr_weights_get(const tsr_weights *w, tsr_weight weight);
int64_t tsr_weights_bytes(const tsr_weights *w);        /* in memory */
int64_t tsr_weights_linear_bytes(const tsr_weights *w); /* of the matrices that a decode step streams */

/* The checkpoint's own dtype: that of the matrix with the most elements. For dtype = auto. */
tsr_status tsr_weights_natural_dtype(const tsr_model *model, const tsr_source *source, tsr_dtype *out);

/* For loaders, of this and other devices: which weights some node uses, and which of them are matrices of linears; both
 * [n_weights], false at first. */
void tsr_weights_find_uses(const tsr_model *model, bool *used, bool *linear);
/* Whether a made-up vector of this name is a norm's scale, all ones, and not a bias. */
bool tsr_weights_is_scale(const char *name);

/* Rows begin .. end - 1 of a weight as it is kept: its view, with what its graph asks for at loading (unit rows, scale),
 * or what its rule computes. */
tsr_status tsr_weights_read_rows(const tsr_model *model, const tsr_source *source, tsr_weight weight,
                                 int64_t begin, int64_t end, tsr_dtype as, void *out);

/* All weights of the whole model are in the source with the right shapes: reads no data. */
tsr_status tsr_weights_check(const tsr_model *model, const tsr_source *source);

#endif
