/* domains.h: which values of a graph must be cut alike, and how. Internal to parallel/shard.c.
 *
 * A domain is a set of values joined by ops that work column by column. After tsr_domains_build each domain
 * knows its units and, if it is split, the units of every rank. A value of a domain has cols / units columns
 * per unit.
 */
#ifndef TSR_PARALLEL_DOMAINS_H
#define TSR_PARALLEL_DOMAINS_H

#include "parallel/shard.h"

typedef struct tsr_domain {
    int64_t units;
    bool split;
    int queries;             /* keys and values: the domain of their queries; else TSR_NONE */
    int keys;                /* queries: the domain of their keys; else TSR_NONE */
    int group;               /* queries: heads that share a kv head */
    const tsr_range *ranges; /* [ranks] in units, if split */
} tsr_domain;

typedef struct tsr_domains {
    int ranks;
    int64_t n_values;
    int *parent;        /* [n_values] union-find forest */
    tsr_domain *domain; /* [n_values]; the entry of a root is the domain's */
} tsr_domains;

/* All memory from `arena`. */
tsr_status tsr_domains_build(tsr_arena *arena, const tsr_graph *g, int ranks, tsr_domains *out);

/* The domain of a value. */
tsr_domain *tsr_domain_of(const tsr_domains *d, tsr_value v);

/* Contiguous shares of `units` for each rank, the first ones a unit larger where they do not divide; cuts lie
 * on multiples of 32 where shares are large, which keeps every rank's panels full. */
tsr_status tsr_deal(tsr_arena *arena, int64_t units, int ranks, const tsr_range **out);

#endif
