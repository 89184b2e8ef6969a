/* view_bind.h: the tensors of a view, found in a source and checked. Private to checkpoint/. */
#ifndef TSR_CHECKPOINT_VIEW_BIND_H
#define TSR_CHECKPOINT_VIEW_BIND_H

#include "checkpoint/view_node.h"

/* *out: [leaf_count], in leaf order, to be freed with tsr_free. Each exists, has the stated shape, and holds
 * floating point numbers; otherwise TSR_ERR_FORMAT with a line naming the tensor. */
tsr_status tsr_view_bind(const tsr_view *v, const tsr_source *source, const char *prefix,
                         const tsr_tensor_info ***out);

/* As above for reading: where a tensor is made of others, *parts is the view over those, in *arena (else NULL,
 * and *parts is v). *out: [leaf_count of *parts], none of them with made_of. */
tsr_status tsr_view_bind_parts(const tsr_view *v, const tsr_source *source, const char *prefix,
                               tsr_arena **arena, const tsr_view **parts, const tsr_tensor_info ***out);

#endif
