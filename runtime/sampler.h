/* sampler.h: from rows of logits, split by vocabulary over the ranks, to tokens and log-probabilities.
 *
 * Each rank holds logits [R, n_local] of the ids first_id .. first_id + n_local - 1; together the ranks hold
 * every id once (a rank may hold none: where the logits are replicated, rank 0 gives them all and the others
 * give none). Every rank calls tsr_sampler_run with the same rows and gets the same results: all decisions
 * are made from gathered data.
 *
 * A row is one of
 *   SAMPLE  choose the next token
 *   SCORE   the log-probability of a given id
 *   TOP     only the list of the best tokens
 * Log-probabilities are log-softmax of the raw logits (before penalties, biases, temperature and filters), in
 * every kind.
 *
 * Choosing, in this order:
 *   1. repetition penalty p on every id in `seen`: l > 0 ? l / p : l * p; then what `terms` says is added: biases,
 *      less frequency and presence penalties (logit_terms.h); then the ids in `banned` fall out. A finite logit
 *      stays finite, and none that is -infinity comes back
 *   2. temperature 0: the largest logit, ties to the lowest id; that is all. Else l / temperature
 *   3. top_k: the k largest
 *   4. top_p: of these, the fewest largest whose share of their mass is >= p; at least one
 *   5. min_p: of these, those at least min_p times as probable as the best
 *   6. draw: the largest of l / temperature - log(-log(u)) over what is left (Gumbel-max), where u is a
 * function of (seed, draw, id) alone. The same seed gives the same token at any number of ranks, threads, or
 * rows in the step. In 3 and 4 equal logits are taken from the lowest id, so exactly k are kept. The noise
 * has 32 bits: a token less probable than about 1e-9 is drawn at not quite its own rate.
 *
 * Communication: one all_gather for all rows together, unless they are so many and ask for so long lists that a
 * message would exceed 4 MiB. A row with top_p or min_p may need a few more, where its distribution is so flat
 * that the best 64 tokens are not enough; a top_k as large as thousands makes its message as long.
 * A row that holds NaN or +infinity, or no finite logit, or may choose no token, fails alone (`failed`): the other rows are
 * unaffected.
 *
 * Collective and blocking. One thread calls; the pool, if given, is used within. Scratch grows to the largest
 * step seen.
 */
#ifndef TSR_RUNTIME_SAMPLER_H
#define TSR_RUNTIME_SAMPLER_H

#include "base/pool.h"
#include "base/status.h"
#include "tessera.h"

#include <stdbool.h>
#include <stdint.h>

enum { TSR_MAX_TOP = 1000 }; /* longest list of best tokens of one row */

/* How tokens are chosen; plain data, travels between ranks. */
typedef struct tsr_sampling {
    uint64_t seed;
    float temperature;        /* 0: greedy; else 1e-5 .. 100 */
    float top_p;              /* (0, 1]; 1: off */
    float min_p;              /* [0, 1]; 0: off */
    float repetition_penalty; /* 0.01 .. 100; 1: off */
    float frequency_penalty;  /* -2 .. 2; 0: off; see logit_terms.h */
    float presence_penalty;   /* likewise */
    int32_t top_k;            /* >= 0; 0: off */
    int32_t no_repeat_ngram;  /* 0: off; else see token_rules.h */
    int32_t min_length;       /* no end of sequence at positions below */
    int32_t max_length;       /* positions are below; 0: not known */
    int32_t keep_history;     /* 1: the rules of token_rules.h look at the tokens of the sequence */
    int32_t logprobs;         /* 1: report the log-probability of the chosen token, 0: spare the work */
} tsr_sampling;

#define TSR_SAMPLING_GREEDY ((tsr_sampling){.top_p = 1, .repetition_penalty = 1})

/* TSR_ERR_USAGE with a line naming the parameter, its range and its value. Local. */
tsr_status tsr_sampling_check(const tsr_sampling *sampling);

/* Whether a request may ask for this to be added to a logit: -100 .. 100. */
static inline bool tsr_logit_bias_fits(float bias)
{
    return bias >= -100 && bias <= 100;
}

/* Whether it counts how often each token has been generated. */
static inline bool tsr_sampling_counts(const tsr_sampling *s)
{
    return s->frequency_penalty != 0 || s->presence_penalty != 0;
}

/* Whether a choice depends on which tokens were chosen before it. */
static inline bool tsr_sampling_looks_back(const tsr_sampling *s)
{
    return s->repetition_penalty != 1 || s->keep_history || tsr_sampling_counts(s);
}

/* The one collective the sampler needs. out: [size][bytes], by rank; in and out do not overlap. Blocking;
 * every rank calls with the same number of bytes. With size 1 all_gather may be NULL. */
typedef struct tsr_gather {
    void *ctx;
    int rank, size;
    tsr_status (*all_gather)(void *ctx, const void *in, int64_t bytes, void *out);
} tsr_gather;

typedef enum tsr_row_kind {
    TSR_ROW_SAMPLE,
    TSR_ROW_SCORE,
    TSR_ROW_TOP,
    TSR_ROW_OUTPUTS, /* the values of the row themselves: no matter of the sampler's, see row_outputs.h */
    TSR_ROW_KIND_COUNT
} tsr_row_kind;

/* What is wanted of one row of logits. Equal on every rank. */
typedef struct tsr_sample_row {
    tsr_row_kind kind;
    int32_t target;        /* SCORE: the id; SAMPLE with `forced`: the token */
    bool forced;           /* SAMPLE: no other token than the target may be chosen */
    int32_t n_top;         /* 0 .. TSR_MAX_TOP: report that many of the best tokens */
    int64_t draw;          /* SAMPLE: number of the draw: the position of the token to be chosen */
    tsr_sampling sampling; /* SAMPLE */
    const int32_t *seen;   /* SAMPLE with a penalty: [n_seen] the distinct ids of prompt and new tokens */
    int32_t n_seen;
    const int32_t *banned; /* SAMPLE: [n_banned] ids that may not be chosen; may repeat themselves */
    int32_t n_banned;
    const tsr_logit_bias *terms; /* SAMPLE: [n_terms] by ascending id: what is added to logits, below 1e10 */
    int32_t n_terms;
} tsr_sample_row;

typedef struct tsr_sample_result {
    int32_t id;                   /* SAMPLE: the token; SCORE: the target; TOP: -1. -1 if failed */
    float logprob;                /* of id; NaN where not asked for */
    int32_t n_top;                /* as asked for, less where fewer ids have a finite logit */
    bool failed;                  /* the logits were not numbers */
    const tsr_token_logprob *top; /* [n_top] best first, equal ones by id; valid until the next run */
    const float *outputs;         /* OUTPUTS: the row, else NULL */
} tsr_sample_result;

typedef struct tsr_sampler tsr_sampler;

/* pool may be NULL. Local. */
tsr_status tsr_sampler_create(int32_t vocabulary, int32_t first_id, int32_t n_local, const tsr_gather *gather,
                              tsr_pool *pool, tsr_sampler **out);
void tsr_sampler_destroy(tsr_sampler **sampler);

/* logits: row r begins at logits + r*ld, n_local values. *results: [n_rows], owned by the sampler, until its
 * next run. n_rows 0 communicates nothing. */
tsr_status tsr_sampler_run(tsr_sampler *sampler, const float *logits, int64_t ld, const tsr_sample_row *rows,
                           int32_t n_rows, const tsr_sample_result **results);

#endif
