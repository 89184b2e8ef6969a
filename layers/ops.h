/* ops.h: the table of operations a graph is made of.
 *
 * A row: name, inputs (least, most), weights (least, most), phases of its CPU kernel, sharding class. The CPU kernel
 * of op NAME is tsr_cpu_NAME in layers/cpu/kernels/NAME.c. Phases are parts of one kernel with a barrier of all
 * threads between them.
 *
 * Sharding classes (the algebra of parallel/shard.c; R replicated, S split by columns, P partial sum):
 *   SOURCE       no input; the embedding: a vocabulary-split table yields P, a small one R
 *   LINEAR       R -> S (rows of the weight split) | R;  S -> P (columns of the weight split)
 *   ELEMENTWISE  every input S alike -> S; all R -> R
 *   SUM          as ELEMENTWISE, and P + P -> P (linear in its inputs)
 *   ROWWISE      needs the whole row: R -> R
 *   PER_HEAD     acts within heads: S in whole heads -> S, R -> R
 *   SELECT       picks rows: any layout -> the same
 *   COLLECTIVE   sums over the ranks: inserted by the shard pass (all_reduce) or made of that by layers/fuse, never by
 *                a model
 *
 * reduce_add_norm: in[0] = x, this rank's partial sum; in[1] = r, the residual. For every row
 *     out[1] = r + (sum of x over the ranks, in rank order);  out[0] = norm(out[1])
 * and out[0] is whole on every rank, the same bits. How the work is split is the backend's choice, within what two
 * attributes say. Not `dealt`: r is whole on every rank, and so is out[1]. `dealt`: in steps that are large enough a
 * row may be summed and normed by one rank alone, its owner (tsr_row_owner, kernel.h); then r is right in the rank's
 * own rows at least, and out[1] need be right in those alone, unless `whole_sum` asks for all rows everywhere. Which
 * steps are large enough may depend on rows, columns and ranks and on nothing else, so that all dealt ops of a step
 * that share a residual agree. x is used up; an output may lie over the input of the same number.
 */
#ifndef TSR_LAYERS_OPS_H
#define TSR_LAYERS_OPS_H

#include <stdbool.h>

/* clang-format off */
/* X(ENUM, name, min inputs, max inputs, min weights, max weights, phases, sharding class) */
#define TSR_OP_TABLE(X)                                                                                      \
    X(EMBED, embed, 0, 0, 1, 1, 1, SOURCE)            /* out[t] = scale * W[index[t]]                     */ \
    X(LINEAR, linear, 1, 1, 1, 2, 2, LINEAR)          /* out = x W^T + b; W [out, in]                     */ \
    X(NORM, norm, 1, 1, 0, 2, 1, ROWWISE)             /* layer norm or RMS norm of each row               */ \
    X(ADD, add, 2, 2, 0, 0, 1, SUM)                   /* out = a + b                                      */ \
    X(ACT, act, 1, 1, 0, 0, 1, ELEMENTWISE)           /* out = f(x)                                       */ \
    X(CLAMP, clamp, 1, 1, 0, 0, 1, ELEMENTWISE)       /* out = min(max(x, -limit), limit)                 */ \
    X(GATED, gated, 2, 2, 0, 0, 1, ELEMENTWISE)       /* out = f(a) * b                                   */ \
    X(ROPE, rope, 1, 1, 0, 0, 1, PER_HEAD)            /* rotary position embedding of each head           */ \
    X(ATTENTION, attention, 3, 3, 0, 0, 2, PER_HEAD)  /* appends k, v to the cache, then attends          */ \
    X(SELECT_ROWS, select_rows, 1, 1, 0, 0, 1, SELECT) /* out[r] = x[rows[r]]                             */ \
    X(ALL_REDUCE, all_reduce, 1, 1, 0, 0, 1, COLLECTIVE) /* out = sum of x over the ranks, in place       */ \
    X(ADD_NORM, add_norm, 2, 2, 0, 2, 1, ROWWISE)     /* sum = a + b; out = norm(sum): made by layers/fuse */ \
    X(GATED_LINEAR, gated_linear, 1, 1, 1, 2, 3, LINEAR) /* out = f(x Wg^T + bg) * (x Wu^T + bu); W = [Wg; Wu],
                                                            b = [bg; bu]: made by layers/fuse             */ \
    X(REDUCE_ADD_NORM, reduce_add_norm, 2, 2, 0, 2, 2, COLLECTIVE) /* all_reduce and add_norm in one: above */
/* clang-format on */

typedef enum tsr_op {
#define TSR_OP_ENUM(NAME, name, i0, i1, w0, w1, phases, shard) TSR_OP_##NAME,
    TSR_OP_TABLE(TSR_OP_ENUM)
#undef TSR_OP_ENUM
        TSR_OP_COUNT
} tsr_op;

typedef enum tsr_shard_class {
    TSR_SHARD_SOURCE,
    TSR_SHARD_LINEAR,
    TSR_SHARD_ELEMENTWISE,
    TSR_SHARD_SUM,
    TSR_SHARD_ROWWISE,
    TSR_SHARD_PER_HEAD,
    TSR_SHARD_SELECT,
    TSR_SHARD_COLLECTIVE
} tsr_shard_class;

typedef struct tsr_op_info {
    const char *name;
    int min_inputs, max_inputs, min_weights, max_weights, phases;
    tsr_shard_class shard;
} tsr_op_info;

extern const tsr_op_info tsr_op_table[TSR_OP_COUNT];

/* clang-format off */
/* Activations, by the names config files use. X(ENUM, "spelling|spelling", formula) */
#define TSR_ACTIVATION_TABLE(X)                                                                              \
    X(GELU, "gelu|gelu_python", x * (1 + erf(x / sqrt 2)) / 2)                                               \
    X(GELU_TANH, "gelu_new|gelu_pytorch_tanh|gelu_fast|gelu_accurate", tanh form)                            \
    X(QUICK_GELU, "quick_gelu", x * sigmoid(1.702 x))                                                        \
    X(SILU, "silu|swish", x * sigmoid(x))                                                                    \
    X(RELU, "relu", max(x, 0))                                                                               \
    X(TANH, "tanh", tanh(x))                                                                                 \
    X(SIGMOID, "sigmoid", 1 / (1 + exp(-x)))                                                                 \
    X(RELU2, "relu2", max(x, 0)^2)                                                                           \
    X(IDENTITY, "linear", x)
/* clang-format on */

typedef enum tsr_activation {
#define TSR_ACTIVATION_ENUM(NAME, names, formula) TSR_ACT_##NAME,
    TSR_ACTIVATION_TABLE(TSR_ACTIVATION_ENUM)
#undef TSR_ACTIVATION_ENUM
        TSR_ACT_COUNT
} tsr_activation;

typedef enum tsr_norm_kind {
    TSR_NORM_LAYER, /* (x - mean) / sqrt(var + eps) * w + b; var is the biased variance */
    TSR_NORM_RMS    /* x / sqrt(mean(x^2) + eps) * w */
} tsr_norm_kind;

typedef enum tsr_rope_style {
    TSR_ROPE_HALF,       /* rotates pairs (i, i + d/2) of the first d dimensions */
    TSR_ROPE_INTERLEAVED /* rotates pairs (2i, 2i + 1) */
} tsr_rope_style;

typedef enum tsr_embed_index {
    TSR_EMBED_IDS,       /* token ids */
    TSR_EMBED_POSITIONS, /* positions + offset */
    TSR_EMBED_FIRST_ROW, /* rows of prefix.h + offset */
    TSR_EMBED_SECOND_ROW
} tsr_embed_index;

/* What a node needs to know beside its values and weights; the member named like the op is the one in use. Counts
 * of heads and first_* are those of this rank once the graph has been sharded (one rank: everything, from 0). */
typedef struct tsr_attrs {
    union {
        struct {
            tsr_embed_index index;
            long offset; /* added to positions */
            float scale;
            long first_row; /* the table's first row; rows it does not hold give zeros */
        } embed;
        struct {
            tsr_norm_kind kind;
            float eps;
            bool dealt, whole_sum; /* reduce_add_norm */
        } norm;                    /* also add_norm, reduce_add_norm */
        struct {
            tsr_activation kind;
        } act; /* also gated, gated_linear */
        struct {
            float limit; /* > 0 */
        } clamp;
        struct {
            int heads, head_dim;
            int rotary_dim; /* even, <= head_dim; dimensions beyond it pass through */
            tsr_rope_style style;
            int rope; /* index into the model's rope tables; also into step->rope */
        } rope;
        struct {
            int heads, kv_heads;
            int head_dim, value_dim;
            int group;      /* query heads that share a kv head, in the whole model */
            int first_head; /* of this rank, in the whole model */
            int first_kv;   /* local query head h reads local kv head (first_head + h) / group - first_kv */
            float scale;    /* scores = scale * q.k + bias */
            long window;    /* 0: all earlier tokens; w: visible iff 0 <= i - j < w */
            int layer;      /* index of the cache layer */
            /* ALiBi (layers/alibi.h); alibi 0: none, else the factor of the biases */
            float alibi, alibi_max; /* alibi_max: exponent of the smallest slope, 8 for most */
            bool alibi_bf16;        /* slopes, positions and their products are rounded to bfloat16 */
            int model_heads;        /* heads of the whole model, which the slopes follow from */
            /* Made by layers/fuse: q and k come unrotated, and attention rotates them as op rope would; the
             * memory of q is then undefined. */
            int rotary_dim; /* 0: they come as they are to be used */
            tsr_rope_style style;
            int rope;
        } attention;
    };
} tsr_attrs;

#endif
