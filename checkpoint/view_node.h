/* view_node.h: the nodes of a view. Private to checkpoint/. */
#ifndef TSR_CHECKPOINT_VIEW_NODE_H
#define TSR_CHECKPOINT_VIEW_NODE_H

#include "checkpoint/view.h"

typedef enum tsr_view_kind {
    TSR_VIEW_TENSOR,
    TSR_VIEW_RESHAPE,
    TSR_VIEW_PERMUTE,
    TSR_VIEW_SLICE,
    TSR_VIEW_STRIDED,
    TSR_VIEW_CONCAT
} tsr_view_kind;

enum { TSR_VIEW_DEPTH_CAP = 64, TSR_VIEW_LEAF_CAP = 1 << 20 };

struct tsr_view {
    tsr_view_kind kind;
    int rank, depth, leaves; /* depth of a tensor: 1; leaves are counted with repetition */
    int64_t shape[TSR_MAX_RANK], elements;
    const char *name;              /* TENSOR */
    const tsr_tensor_info *stored; /* TENSOR: the very one; NULL: to be found by name */
    const tsr_view *child;         /* RESHAPE, PERMUTE, SLICE, STRIDED */
    int order[TSR_MAX_RANK];       /* PERMUTE: axis i is axis order[i] of the child */
    int64_t begin[TSR_MAX_RANK];   /* SLICE: element x is element begin + x of the child */
    int64_t offset,
        stride[TSR_MAX_RANK];    /* STRIDED: element x is element offset + sum(x * stride) of the child */
    int axis, parts;             /* CONCAT along this axis */
    const tsr_view *const *part; /* CONCAT: [parts] */
    const int64_t *part_begin;   /* CONCAT: [parts + 1]: where each begins along the axis, and the end */
    const int *part_leaf;        /* CONCAT: [parts]: leaves before this part */
};

/* CONCAT: the part that position x along the axis lies in. */
int tsr_view_part_at(const tsr_view *v, int64_t x);

#endif
