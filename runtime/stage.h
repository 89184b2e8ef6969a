/* stage.h: which part of a transformer step each node of a graph is, and how much work it does: for profiles.
 *
 * The parts are told apart by what flows where, not by names, so that they are found in any model, fused or not. A
 * linear that makes queries, keys and values and something else besides counts as that. Local, pure.
 */
#ifndef TSR_RUNTIME_STAGE_H
#define TSR_RUNTIME_STAGE_H

#include "base/dtype.h"
#include "layers/graph.h"
#include "layers/kernel.h"

/* X(ENUM, "name") in the order of a step. */
#define TSR_STAGE_TABLE(X)                                                                                   \
    X(EMBED, "embedding")                                                                                    \
    X(NORM, "residual, norm")                                                                                \
    X(QKV, "q, k, v")                                                                                        \
    X(ATTENTION, "rope, append, attention")                                                                  \
    X(ATTENTION_OUT, "out-projection")                                                                       \
    X(FFN_UP, "gate-up, activation")                                                                         \
    X(FFN_DOWN, "down")                                                                                      \
    X(HEAD, "head")                                                                                          \
    X(COLLECTIVE, "collectives")                                                                             \
    X(OTHER, "other")                                                                                        \
    X(SAMPLING, "sampling")

typedef enum tsr_stage {
#define TSR_STAGE_ENUM(NAME, name) TSR_STAGE_##NAME,
    TSR_STAGE_TABLE(TSR_STAGE_ENUM)
#undef TSR_STAGE_ENUM
        TSR_STAGE_COUNT
} tsr_stage;

const char *tsr_stage_name(tsr_stage stage);

/* The stage of a node; it looks at the whole graph, so ask once. alone: there is one rank, and an all-reduce that adds
 * the residual and takes the norm does just that. */
tsr_stage tsr_stage_of(const tsr_graph *graph, int64_t node, bool alone);

/* What the work of a step depends on. */
typedef struct tsr_step_load {
    double tokens, rows;
    double cached; /* keys that its sequences have, old and new, each counted once */
    double pairs;  /* of a query and a key that it sees */
    bool decode;   /* every sequence goes on by one token, and each is wanted */
} tsr_step_load;
tsr_step_load tsr_step_get_load(const tsr_step *step);
bool tsr_step_only_decodes(const tsr_step *step);

/* Bytes of weights, cache and values that a node must at least read and write, and its multiplications and additions.
 * Values, weights and cache have value_bytes each number. */
typedef struct tsr_work {
    double bytes, flops;
} tsr_work;
tsr_work tsr_stage_work(const tsr_graph *graph, int64_t node, const tsr_step_load *load, int value_bytes);

/* Where the time of steps of one kind went. */
typedef struct tsr_stage_time {
    double seconds, bytes, flops;
} tsr_stage_time;
typedef struct tsr_profile {
    int64_t steps; /* measured stage by stage */
    tsr_stage_time stage[TSR_STAGE_COUNT];
    int64_t whole_steps; /* measured from begin to end, running as they do without a profile; 0 on CPUs */
    double whole_seconds;
} tsr_profile;

enum { TSR_PROFILE_PREFILL, TSR_PROFILE_DECODE, TSR_PROFILE_KINDS };

#endif
