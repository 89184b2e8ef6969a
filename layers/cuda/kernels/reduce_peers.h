/* reduce_peers.h: sums over GPUs that can write into each other's memory, by kernels of our own.
 *
 *     sum    = residual + x_0 + ... + x_(n-1)      x_q: the partial rows of rank q
 *     normed = norm(sum)                           as op norm (layers/ops.h)
 *
 * The x are added in float32 in the order of the ranks, then the residual, and the total is rounded once: all ranks
 * compute the same bits. Without residual and norm it is a plain all-reduce, of rows or of a vector cut into rows.
 *
 * Each rank has an arena that all others have mapped (parallel/cuda/ makes it). A rank only ever writes into the arenas
 * of others and reads its own, so no x needs to lie in mapped memory. Three kernels:
 *   push      small messages. Each rank sends its rows to all; every 4 bytes travel with 4 bytes that say which
 *             collective they belong to, in stores that cannot be torn, so that data is its own signal: one trip.
 *   direct    large messages, 2 ranks. One trip as well, but rows have flags, and no value is sent with one.
 *   two_shot  large messages. Each rank sends each row to the rank that owns it (row r: rank r % n), which adds up,
 *             and sends the sum to all. Rows have flags; blocks work on three rows at a time, in different stages.
 *             On the links this is 2 (n - 1) / n of the message, where direct is n - 1 of it.
 *
 * Collectives are counted on the device (tsr_reduce_state), so that captured graphs can be replayed. Memory for
 * collective s is used again by s + 2: a rank that begins s + 2 has finished s + 1, for which all ranks began s + 1,
 * that is, had finished s. This holds as long as all collectives of a rank are on one stream.
 *
 * Waiting ends with the data, or when the host says so (tsr_reduce_notice), or when the limit has passed. After a
 * failure all later collectives return at once, with garbage; the host finds the failure in the notice.
 */
#ifndef TSR_LAYERS_CUDA_KERNELS_REDUCE_PEERS_H
#define TSR_LAYERS_CUDA_KERNELS_REDUCE_PEERS_H

#include "layers/cuda/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TSR_REDUCE_RANKS = 8,      /* at most */
    TSR_REDUCE_FEW = 2,        /* at most so many for direct: more send less by two_shot */
    TSR_REDUCE_ROWS = 1 << 14, /* of one launch of direct or two_shot, at most: there is a flag for each */
    TSR_REDUCE_ALIGN = 256
};

/* Of one rank, in its device memory, zeroed at first. */
typedef struct tsr_reduce_state {
    unsigned long long turns; /* TSR_REDUCE_TURN for each collective that all blocks have begun */
    unsigned failed;
} tsr_reduce_state;

/* Of one rank, in pinned host memory, zeroed at first. */
typedef struct tsr_reduce_notice {
    volatile unsigned abort;                     /* set by the host: stop waiting */
    volatile unsigned failed;                    /* set by the device: a wait ended without its data */
    volatile unsigned long long number;          /* of the collective that failed, from 1 */
    volatile unsigned missing[TSR_REDUCE_RANKS]; /* 1: this rank's data did not come */
} tsr_reduce_notice;

/* The ranks, as kernels see them; the same sizes on all ranks. Offsets are into each arena, which is zeroed at first.
 * The regions hold two halves, for odd and even collectives. */
typedef struct tsr_reduce_team {
    int rank, size;
    int blocks_per_row;        /* push: 1, 2, 4 or 8; 0: the best known */
    int blocks_per_processor;  /* direct, two_shot: at most; 0: as many as fit */
    int senders_per_processor; /* direct: of those; 0: the best known */
    int64_t push_bytes;        /* of one rank's rows in a push, with their flags */
    int64_t share_bytes;       /* of the rows one rank sends to one owner in a two_shot */
    int64_t push_at;           /* [2][size] push_bytes */
    int64_t share_at;          /* [2][size] share_bytes; direct: [2][size - 1] share_bytes * size */
    int64_t sum_at;            /* [2][size] share_bytes: rows by number */
    int64_t share_flag_at;     /* [2][size][TSR_REDUCE_ROWS] uint32 */
    int64_t sum_flag_at;       /* [2][TSR_REDUCE_ROWS] uint32 */
    unsigned long long limit;  /* of one wait, in ns */
    char *arena[TSR_REDUCE_RANKS];
    tsr_reduce_state *state;
    tsr_reduce_notice *notice;
} tsr_reduce_team;

/* What is summed. `sum` may lie over x or over the residual, and `normed` over x. */
typedef struct tsr_reduce_rows {
    tsr_dtype dtype;
    int rows;
    int64_t cols, last_cols; /* the last row may be shorter, where there is no norm */
    const void *x;
    int64_t x_ld;
    const void *residual; /* NULL: none */
    int64_t residual_ld;
    void *sum;
    int64_t sum_ld;
    void *normed; /* NULL: no norm */
    int64_t normed_ld;
    const float *w, *b; /* of the norm; NULL where absent */
    tsr_norm_kind norm;
    float eps;
} tsr_reduce_rows;

/* Fills the offsets for pushes of at most push_bytes of values and two-shots of at most large_bytes; returns the bytes
 * of an arena. */
int64_t tsr_reduce_layout(tsr_reduce_team *team, int64_t push_bytes, int64_t large_bytes);

/* Whether rows of this width can be summed at all (they must fit into the registers of their threads). */
bool tsr_reduce_fits(tsr_dtype dtype, int64_t cols);
/* How many rows of this width fit into one launch; 0: none. */
int64_t tsr_reduce_push_rows(const tsr_reduce_team *team, tsr_dtype dtype, int64_t cols);
int64_t tsr_reduce_direct_rows(const tsr_reduce_team *team, tsr_dtype dtype, int64_t cols);
int64_t tsr_reduce_two_shot_rows(const tsr_reduce_team *team, tsr_dtype dtype, int64_t cols);

/* Collective. Enqueue the sum of at most that many rows. */
tsr_status tsr_reduce_push(const tsr_reduce_team *team, const tsr_reduce_rows *rows,
                           const tsr_cuda_step *step);
tsr_status tsr_reduce_direct(const tsr_reduce_team *team, const tsr_reduce_rows *rows,
                             const tsr_cuda_step *step);
tsr_status tsr_reduce_two_shot(const tsr_reduce_team *team, const tsr_reduce_rows *rows,
                               const tsr_cuda_step *step);

/* The rows of a call of op reduce_add_norm. */
tsr_reduce_rows tsr_reduce_rows_of(const tsr_cuda_call *call, const tsr_cuda_step *step);
/* reduce_add_norm as an all-reduce of its first input followed by add_norm. */
tsr_status tsr_cuda_reduce_then_add_norm(const tsr_cuda_call *call, const tsr_cuda_step *step);
/* The op itself; comm == NULL: one rank, add_norm alone. */
tsr_status tsr_cuda_reduce_add_norm(const tsr_cuda_call *call, const tsr_cuda_step *step);

#ifdef __cplusplus
}
#endif

#endif
