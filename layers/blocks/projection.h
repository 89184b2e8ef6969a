/* projection.h: the weights of linear layers, norms and fused projections, by their checkpoint names.
 *
 * A projection is y = x W^T + b with W [out, in]. Checkpoints that store several projections in one tensor
 * (q, k and v of GPT-2, NeoX, BLOOM, Falcon, CodeGen, ...; gate and up of GLM) are taken apart here by views:
 * each part becomes a projection of its own, and whether they are computed together again is for a later pass
 * to decide.
 *
 * The rows of a fused tensor are G groups, each with the same parts at the same places inside it:
 *   [q|k|v]                  G = 1, parts of E (or E, D, D) rows
 *   [heads, 3, D]            G = heads, parts of D rows
 *   [kv heads, (q.., k, v)]  G = kv heads, parts of (heads / kv heads) D, D and D rows
 * All functions are local; memory belongs to the model. Errors as in layers/graph.h.
 */
#ifndef TSR_LAYERS_BLOCKS_PROJECTION_H
#define TSR_LAYERS_BLOCKS_PROJECTION_H

#include "layers/graph.h"

typedef struct tsr_projection {
    tsr_weight w, b; /* b may be TSR_NONE */
} tsr_projection;

typedef struct tsr_norm_weights {
    tsr_norm_kind kind;
    float eps;
    tsr_weight w, b; /* may be TSR_NONE */
} tsr_norm_weights;

/* How NAME.weight lies in the file, and whether there is a NAME.bias. */
enum {
    TSR_BIAS = 1,
    TSR_IN_OUT = 2 /* stored [in, out], as the Conv1D of GPT-2 and openai-gpt does; else [out, in] */
};

/* In all of these NAME is `scope` followed by `name`: "model.layers.0." "mlp.up_proj". */

/* NAME.weight, and NAME.bias if the flags say so. */
tsr_status tsr_projection_load(tsr_model *m, const char *scope, const char *name, int64_t out_features,
                               int64_t in_features, unsigned flags, tsr_projection *out);

/* NAME.weight [n], and NAME.bias [n] if the flags say so. */
tsr_status tsr_norm_load(tsr_model *m, const char *scope, const char *name, int64_t n, tsr_norm_kind kind,
                         float eps, unsigned flags, tsr_norm_weights *out);

typedef struct tsr_fused {
    const char *name;
    const tsr_view *w, *b; /* [out, in] and [out]; b is NULL without bias */
} tsr_fused;

/* NAME.weight, and NAME.bias if the flags say so, not yet as weights of the model. */
tsr_status tsr_fused_open(tsr_model *m, const char *scope, const char *name, int64_t out_features,
                          int64_t in_features, unsigned flags, tsr_fused *out);
/* Rows begin .. begin + rows - 1 of each of the `groups` groups, as a projection of groups * rows features.
 * `part` names it for people: "q". */
tsr_status tsr_fused_part(tsr_model *m, const tsr_fused *fused, int64_t groups, int64_t begin, int64_t rows,
                          const char *part, tsr_projection *out);

/* Graph nodes for them. */
tsr_status tsr_project(tsr_graph *g, tsr_value x, const tsr_projection *p, tsr_value *out);
tsr_status tsr_normalize(tsr_graph *g, tsr_value x, const tsr_norm_weights *n, tsr_value *out);

#endif
