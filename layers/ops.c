/* ops.c: the op table as data; see ops.h for what its columns mean. */
#include "layers/ops.h"

const tsr_op_info tsr_op_table[TSR_OP_COUNT] = {
#define TSR_OP_ROW(NAME, name, i0, i1, w0, w1, phases, shard)                                                \
    {#name, i0, i1, w0, w1, phases, TSR_SHARD_##shard},
    TSR_OP_TABLE(TSR_OP_ROW)
#undef TSR_OP_ROW
};
