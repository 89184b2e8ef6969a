/* injected.h: the layers that DeepSpeed's kernel injection puts in the place of a model's own, as tensors.
 *
 * An injected layer, at the same path as the one it replaced ("transformer.h.0"), has the same weights in every family:
 *
 *     attention.attn_qkvw [in, q|k|v]  attention.attn_qkvb   attention.attn_ow [in, out]  attention.attn_ob
 *     mlp.inter_w [in, ffn]            mlp.inter_b           mlp.output_w [ffn, out]      mlp.output_b
 *     mlp.attn_nw, mlp.attn_nb: the norm in front of the MLP; norm_w, norm_b: the one in front of attention
 *
 * Matrices are transposed to [in, out]. A rank of several has some heads of q, of k and of v, side by side, and some
 * channels of the MLP, of a gated one first those of "up", then those of "gate"; what is added after the ranks' sums
 * (attn_ob, output_b) and the norms every rank has whole. BLOOM alone keeps q, k and v of a head together.
 *
 * How a family calls those weights and lays them out is a row of a table here. Private to checkpoint/. Local.
 */
#ifndef TSR_CHECKPOINT_INJECTED_H
#define TSR_CHECKPOINT_INJECTED_H

#include "base/json.h"
#include "checkpoint/state.h"

typedef struct tsr_injected_family tsr_injected_family;

/* A family, and what of its config the layout depends on. */
typedef struct tsr_injected {
    const tsr_injected_family *family;
    int64_t heads, kv_heads;
} tsr_injected;

/* From config.json; a family that is never injected is TSR_ERR_FORMAT. */
tsr_status tsr_injected_from_config(tsr_object config, tsr_injected *out);

/* Which of an injected layer's weights is it by its name? -1: none. *layer: the bytes of the layer's path. */
int tsr_injected_find(const char *name, size_t *layer);

/* Adds to `out` the tensors that weight `which` of the layer stands for, under the names of the family, made of the
 * pieces of all ranks; nothing if the family has no such weight (kernels allocate some that they never use).
 * `name` is the weight's whole name. Pieces that cannot be this weight: TSR_ERR_FORMAT naming it. */
tsr_status tsr_injected_add(const tsr_injected *injected, int which, const char *name, int ranks,
                            const tsr_view *const *pieces, tsr_state *out);

/* The names of the family's word embedding and of its output head: "transformer.wte.weight", "lm_head.weight". */
const char *tsr_injected_embedding(const tsr_injected *injected);
const char *tsr_injected_head(const tsr_injected *injected);

#endif
