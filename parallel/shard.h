/* shard.h: automatic tensor parallelism: from one graph to the graph of each rank.
 *
 * tsr_sharding_derive looks at a model's graphs and decides, for a number of ranks, how every value lies
 * (replicated, split by columns in whole units, or a partial sum), which part of every weight a rank holds,
 * and where sums over the ranks are needed. It reads no weights and knows no model by name.
 * tsr_sharding_localize makes one rank's model: the same graphs with sliced weight views, local head counts
 * and all_reduce nodes. The rules:
 *
 *   - Values that must be cut alike form a domain: what goes through elementwise ops, rope, row selection;
 *     queries with attention outputs (units: heads); keys with values (tied to their queries); the logits
 *     (units: vocabulary rows).
 *   - A domain is split if linears alone make it and linears, attention or the sampler alone use it; so the
 *     linears in front are split by rows of their weight, those behind by columns, and these yield partial
 *     sums.
 *   - A partial sum is reduced as late as possible: sums of partials stay partial (parallel attention and MLP
 *     cost one all-reduce), and row selection is done before.
 *   - The bias of a column-split linear is added on the first rank only. A table of token embeddings is split
 *     by vocabulary. A domain with fewer units than ranks is not split: computed everywhere, slower, never
 *     wrong.
 *   - Units are dealt contiguously, the first ranks getting one more where they do not divide. Attention is
 *     cut between kv groups if that balances best, else between query heads, a kv head then being held by
 *     every rank that needs it.
 *
 * Local (every rank derives the same); a sharding and its local models borrow from the model, which must
 * outlive them. Errors: TSR_ERR_MEMORY; TSR_ERR_INTERNAL for a graph that asks for two different cuts of one
 * weight.
 */
#ifndef TSR_PARALLEL_SHARD_H
#define TSR_PARALLEL_SHARD_H

#include "layers/graph.h"

enum { TSR_MAX_RANKS = 4096 };

typedef struct tsr_range {
    int64_t begin, end;
} tsr_range;

typedef enum tsr_layout { TSR_LAYOUT_REPLICATED, TSR_LAYOUT_SPLIT, TSR_LAYOUT_PARTIAL } tsr_layout;

/* The part of a weight that a rank holds. */
typedef struct tsr_placement {
    const tsr_range *rows; /* [ranks], or NULL: all rows everywhere */
    const tsr_range *cols; /* [ranks], or NULL: all columns everywhere */
    bool first_rank_only;  /* the bias of a column-split linear */
} tsr_placement;

/* One all-reduce of a step. */
typedef struct tsr_reduction {
    int layer; /* the transformer layer whose sum it is, or TSR_NONE */
    tsr_rows rows;
    int64_t cols; /* float elements per row */
} tsr_reduction;

typedef struct tsr_sharding tsr_sharding;

tsr_status tsr_sharding_derive(tsr_model *model, int ranks, tsr_sharding **out);
void tsr_sharding_destroy(tsr_sharding **s);

/* This rank's model. Destroy with tsr_model_destroy, before the sharding. */
tsr_status tsr_sharding_localize(const tsr_sharding *s, int rank, tsr_model **out);

int tsr_sharding_ranks(const tsr_sharding *s);
const tsr_placement *tsr_sharding_placement(const tsr_sharding *s, tsr_weight w);
/* Elements of a weight that a rank holds. */
int64_t tsr_sharding_elements(const tsr_sharding *s, tsr_weight w, int rank);
/* The all-reduces of one step of a graph, in order. */
tsr_status tsr_sharding_reductions(const tsr_sharding *s, int graph, const tsr_reduction **list, int64_t *n);

#endif
