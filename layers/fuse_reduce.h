/* fuse_reduce.h: the part of the fusion pass (fuse.h) that looks at sums over the ranks.
 *
 * An all_reduce that an add_norm alone reads becomes a reduce_add_norm with it. Then it is decided for each of these, from
 * who reads its sum, whether its rows may be dealt to the ranks and whether its sum must be whole (ops.h). Runs after
 * add_norms have been made. Local; adds to *count how many were found.
 */
#ifndef TSR_LAYERS_FUSE_REDUCE_H
#define TSR_LAYERS_FUSE_REDUCE_H

#include "layers/graph.h"

void tsr_fuse_reductions(tsr_graph *g, int *count);

#endif
