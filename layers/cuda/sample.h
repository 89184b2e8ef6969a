/* sample.h: choosing tokens from rows of logits on a GPU, by the rules of runtime/sampler.h.
 *
 * Each rank holds the logits [n_rows, n_local] of the ids first_id .. first_id + n_local - 1, all ranks together every
 * id once. Each finds the best of its part and what is known of it, a few dozen bytes a row; the communicator brings
 * these to all, and every rank takes the same choice. Rows that top_k, top_p or min_p cut are chosen from whole rows of
 * logits, which then travel instead: every rank does the same work on the same numbers, whole numbers where an order of
 * summation would matter.
 *
 * What is chosen goes two ways: to `tokens` in device memory, where the next step finds it, and to `chosen` in host
 * memory. A row without any number to choose by gives id -1, and token 0. Enqueues on step->stream and returns; nothing
 * is allocated. Of the step, stream and n_processors count, and it must not be `overlap`.
 *
 * Equal to the CPU's choice but for rounding: two candidates whose scores differ by a millionth may change places.
 */
#ifndef TSR_LAYERS_CUDA_SAMPLE_H
#define TSR_LAYERS_CUDA_SAMPLE_H

#include "layers/cuda/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the token of a row is chosen. */
typedef struct tsr_cuda_choice {
    uint64_t key;                         /* of the noise */
    float scale;                          /* 1 / temperature; 0: greedy */
    float top_p;                          /* 1: off */
    float min_p;                          /* 0: off */
    int32_t top_k;                        /* 0: off */
    float penalty;                        /* on the ids seen */
    int32_t first_edit, n_seen, n_banned; /* edits[first_edit ..]: ids seen, each once, then ids banned, */
    int32_t n_terms; /* then ids that have a term, ascending, then the bits of those floats */
    int32_t target;  /* this token and no other; -1: none */
    int32_t logprob; /* 1: of the token, wanted */
} tsr_cuda_choice;

typedef struct tsr_cuda_chosen {
    int32_t id; /* -1: none could be chosen */
    float logprob;
} tsr_cuda_chosen;

/* What a part of a row amounts to. */
typedef struct tsr_cuda_finding {
    double score;    /* of `id`: its logit if greedy, else what the draw made of it */
    double sum;      /* of exp(l - max), raw logits */
    float max;       /* raw */
    float value;     /* logit of `id`; in messages the raw one */
    float target;    /* raw logit of the target, else -infinity */
    int32_t id, bad; /* id -1: none; bad: NaN or +infinity among the logits */
} tsr_cuda_finding;

enum {
    TSR_SAMPLE_SPLITS = 32,                           /* most parts of a row */
    TSR_SAMPLE_WHOLE_ROWS = 16,                       /* rows that travel whole, at a time */
    TSR_FINDING_PIECES = sizeof(tsr_cuda_finding) / 2 /* floats that a finding travels as */
};

typedef struct tsr_cuda_sample {
    float *logits; /* [n_rows][ld]; changed where ids are penalised, biased or banned */
    int64_t ld;
    int32_t n_rows, n_local, first_id, vocabulary;
    const tsr_cuda_choice
        *choices; /* [n_rows]; NULL: every row greedy, without penalty, log-probability or target */
    const int32_t *edits;
    bool any_edits, any_logprobs, any_filters; /* among the choices; a target asks for its log-probability */
    tsr_cuda_comm *comm;                       /* NULL: one rank */
    /* scratch */
    tsr_cuda_finding *parts; /* [n_rows][TSR_SAMPLE_SPLITS] */
    float *messages;         /* several ranks: [ranks][n_rows][TSR_FINDING_PIECES] */
    float *whole;            /* several ranks: [min(n_rows, TSR_SAMPLE_WHOLE_ROWS)][vocabulary] */
    /* results */
    int32_t *tokens;         /* [n_rows] */
    tsr_cuda_chosen *chosen; /* [n_rows] pinned */
} tsr_cuda_sample;

tsr_status tsr_cuda_sample_rows(const tsr_cuda_sample *sample, const tsr_cuda_step *step);

/* A part of that: of rows cut by filters, the choice from n logits of the ids from first_id on, into part 0 of each. */
tsr_status tsr_cuda_sample_filtered(const tsr_cuda_sample *sample, const float *logits, int64_t ld, int32_t n,
                                    int32_t first_id, const tsr_cuda_step *step);

#ifdef __cplusplus
}
#endif

#endif
