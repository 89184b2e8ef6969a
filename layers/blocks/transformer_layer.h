/* transformer_layer.h: one transformer layer with flags; nearly every model is a stack of these.
 *
 * x [T, E] in and out. N1, N2 are the two norms, A attention, M the MLP:
 *   PRE               y = x + A(N1 x);   out = y + M(N2 y)
 *   POST              y = N1(x + A x);   out = N2(y + M y)
 *   PARALLEL_ONE_NORM n = N1 x;          out = x + (A n + M n)
 *   PARALLEL_TWO_NORM                    out = x + (A(N1 x) + M(N2 x))
 *   SANDWICH          y = x + N3(A(N1 x));  out = y + N4(M(N2 y))
 * In the parallel orders attention and MLP are added to each other first, so that ranks which hold parts of
 * both sums owe one all-reduce for the two.
 *
 * With `normed_residual` PRE is n = N1 x; y = n + A n; m = N2 y; out = m + M m; and with `own_residual_norms` the
 * residuals n and m are R1 x and R2 y.
 *
 * A: q, k, v = projections of its input, clamped if there is a limit; q and k rotated if there is a rope;
 * attention; projection `out`.
 * M: plain  down(act(up x));   gated  down(act(gate x) * up x).
 * Errors as in layers/graph.h. Local.
 */
#ifndef TSR_LAYERS_BLOCKS_TRANSFORMER_LAYER_H
#define TSR_LAYERS_BLOCKS_TRANSFORMER_LAYER_H

#include "layers/blocks/projection.h"

typedef enum tsr_layer_order {
    TSR_LAYER_PRE,
    TSR_LAYER_POST,
    TSR_LAYER_PARALLEL_ONE_NORM, /* norm[1] is not used */
    TSR_LAYER_PARALLEL_TWO_NORM,
    TSR_LAYER_SANDWICH
} tsr_layer_order;

typedef struct tsr_attention_block {
    tsr_projection q, k, v, out;
    tsr_attention_spec spec;
    int rope;   /* table of the model, or TSR_NONE; its dims are the rotated ones */
    int k_rope; /* the table of the keys, if they have their own */
    bool own_k_rope;
    tsr_rope_style rope_style;
    float clamp; /* q, k and v are held within +-clamp; 0: they are not */
} tsr_attention_block;

typedef struct tsr_mlp_block {
    bool gated; /* false: `gate` is not used */
    tsr_projection gate, up, down;
    tsr_activation activation;
} tsr_mlp_block;

typedef struct tsr_layer_block {
    tsr_layer_order order;
    bool normed_residual; /* PRE only */
    bool own_residual_norms;
    tsr_norm_weights residual[2]; /* R1 and R2 */
    tsr_norm_weights norm[4];     /* the last two are those of SANDWICH */
    tsr_attention_block attention;
    tsr_mlp_block mlp;
} tsr_layer_block;

/* An attention block of these sizes without projections: scores divided by the root of head_dim, no rope. */
tsr_attention_block tsr_attention_sized(int64_t heads, int64_t kv_heads, int64_t head_dim);
/* Its q, k and v out of the fused tensor NAME.weight: `groups` groups (a divisor of heads and kv heads) of their
 * query rows, then their key rows, then their value rows; projection.h lists the common layouts. */
tsr_status tsr_attention_load_fused(tsr_model *m, const char *scope, const char *name, int64_t groups,
                                    int64_t in_features, unsigned flags, tsr_attention_block *a);

tsr_status tsr_transformer_layer(tsr_graph *g, tsr_value x, const tsr_layer_block *layer, tsr_value *out);

/* Its two halves, for models that put them together in another way. */
tsr_status tsr_self_attention(tsr_graph *g, tsr_value x, const tsr_attention_block *a, tsr_value *out);
tsr_status tsr_mlp(tsr_graph *g, tsr_value x, const tsr_mlp_block *mlp, tsr_value *out);

#endif
