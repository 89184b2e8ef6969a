/* attention_tile.cuh: what both kernels for tiles of query rows share: which tile a block has, the way of its keys into
 * shared memory, and the softmax over scores in registers. Thread (r, c) = (lane / 4, lane % 4) has of each fragment of 16
 * rows r and r + 8, columns 2c and 2c + 1 of every 8: so the tensor cores give and take them.
 */
#ifndef TSR_LAYERS_CUDA_KERNELS_ATTENTION_TILE_CUH
#define TSR_LAYERS_CUDA_KERNELS_ATTENTION_TILE_CUH

#include "layers/cuda/kernels/attention.cuh"

/* Keys of a tile: two pages. */
enum { KEYS = 2 * TSR_PAGE_TOKENS };

typedef struct prefill_part {
    tsr_cuda_sequence sequence;
    int kv_head, first_head, heads;
    int row, rows;        /* the first of this tile; all of the sequence */
    int last;             /* position of the last row's token */
    int begin, end;       /* keys: from a page's first on */
    int seen;             /* no row lacks a key below this, but for windows */
} prefill_part;

/* --- What this block does --- */

static __device__ __forceinline__ int tiles_of(const tsr_attention_work &w, int s, int n_sequences, int heads,
                                               int rows)
{
    if (s >= n_sequences) return 0;
    int tokens = w.sequences[s].n_tokens;
    if (tokens == 1 && w.skip_singles) return 0;
    return (tokens * heads + rows - 1) / rows;
}

/* The sequence and tile numbered `tile` over all sequences; sequence -1 if there are not as many. On the first warp. */
static __device__ __forceinline__ int2 find_tile(const tsr_attention_work &w, int tile, int heads, int rows)
{
    int lane = threadIdx.x % TSR_WARP, n_sequences = w.counts->n_sequences;
    for (int s = 0; s < n_sequences; s += TSR_WARP) {
        int own = tiles_of(w, s + lane, n_sequences, heads, rows), end = own;
#pragma unroll
        for (int k = 1; k < TSR_WARP; k *= 2) {
            int before = __shfl_up_sync(0xFFFFFFFFu, end, k);
            if (lane >= k) end += before;
        }
        unsigned beyond = __ballot_sync(0xFFFFFFFFu, end > tile);
        if (beyond) {
            int who = __ffs(beyond) - 1;
            int left = __shfl_sync(0xFFFFFFFFu, end, who) - 1 - tile; /* the last tile comes first */
            return make_int2(s + who, left);
        }
        tile -= __shfl_sync(0xFFFFFFFFu, end, TSR_WARP - 1);
    }
    return make_int2(-1, 0);
}

static __device__ __forceinline__ bool find_part(const tsr_attention_work &w, int rows, prefill_part *p)
{
    __shared__ int2 found;
    p->kv_head = blockIdx.x;
    p->heads = tsr_heads_of(w, p->kv_head, &p->first_head);
    if (p->heads <= 0) return false;
    if (threadIdx.x < TSR_WARP) {
        int2 at = find_tile(w, blockIdx.y, p->heads, rows);
        if (threadIdx.x == 0) found = at;
    }
    __syncthreads();
    if (found.x < 0) return false;
    p->sequence = w.sequences[found.x];
    p->row = found.y * rows;
    p->rows = p->sequence.n_tokens * p->heads;
    int first = p->sequence.position + p->row / p->heads;
    p->last = p->sequence.position + (min(p->row + rows, p->rows) - 1) / p->heads;
    p->begin = tsr_first_visible(w, first) / TSR_PAGE_TOKENS * TSR_PAGE_TOKENS;
    p->end = tsr_visible_end(p->sequence, p->last);
    p->seen = tsr_visible_end(p->sequence, first);
    return true;
}

/* --- Loads --- */

static __device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* 16 bytes to shared memory in the background; zeros if not `real`. */
static __device__ __forceinline__ void copy_vector(void *to, const void *from, bool real)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(to)), "l"(from), "r"(real ? 16 : 0)
                 : "memory");
}

static __device__ __forceinline__ void copies_begin(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

static __device__ __forceinline__ void copies_end(void)
{
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}

static __device__ __forceinline__ void find_pages(const tsr_attention_work &w, const prefill_part &p, int key,
                                                  int32_t (&page)[2])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int at = key + i * TSR_PAGE_TOKENS;
        page[i] = at < p.end ? w.pages[p.sequence.first_page + at / TSR_PAGE_TOKENS] : 0;
    }
}

/* Row `row` of the sequence's rows in q or out: where its head begins. */
static __device__ __forceinline__ int64_t element_of(const prefill_part &p, int row, int64_t ld, int dim)
{
    return (p.sequence.first_token + row / p.heads) * ld + (int64_t)(p.first_head + row % p.heads) * dim;
}

/* --- Softmax --- */

/* A warp's sums over F fragments of rows */
template <int D, int F> struct prefill_sums {
    float o[F][D / 8][4];
    float m[F][2], l[F][2]; /* m unscaled; l: this thread's columns only */
};
template <int D, int F> using prefill_scores = float[F][KEYS / 8][4];

/* Adds the biases, in the measure of scores that are not scaled yet. */
template <int D, int F>
static __device__ __forceinline__ void add_biases(const tsr_attention_work &w, const prefill_part &p, int key,
                                                  int warp_row, prefill_scores<D, F> &s)
{
    int lane = threadIdx.x % TSR_WARP;
    float factor = w.alibi / w.scale;
#pragma unroll
    for (int i = 0; i < F; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = min(p.row + warp_row + i * 16 + h * 8 + lane / 4, p.rows - 1);
            int position = p.sequence.position + row / p.heads;
            float slope = tsr_slope(w, p.first_head + row % p.heads);
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    s[i][j][2 * h + e] += factor * tsr_bias(w, slope, position, key + j * 8 + lane % 4 * 2 + e);
        }
}

/* Scores of keys that a row does not see become -infinity. */
template <int D, int F>
static __device__ __forceinline__ void hide(const tsr_attention_work &w, const prefill_part &p, int key,
                                            int warp_row, prefill_scores<D, F> &s)
{
    int lane = threadIdx.x % TSR_WARP;
#pragma unroll
    for (int i = 0; i < F; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = min(p.row + warp_row + i * 16 + h * 8 + lane / 4, p.rows - 1);
            int position = p.sequence.position + row / p.heads, low = tsr_first_visible(w, position);
            int end = tsr_visible_end(p.sequence, position);
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    int at = key + j * 8 + lane % 4 * 2 + e;
                    if (at >= end || at < low) s[i][j][2 * h + e] = -INFINITY;
                }
        }
}

template <int D, int F>
static __device__ __forceinline__ void softmax_step(float scale, prefill_scores<D, F> &s, prefill_sums<D, F> *sums)
{
    float factor[F][2];
    bool rises = false;
#pragma unroll
    for (int i = 0; i < F; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float top = sums->m[i][h];
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++) top = fmaxf(top, fmaxf(s[i][j][2 * h], s[i][j][2 * h + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 2));
            rises |= top > sums->m[i][h];
            factor[i][h] = tsr_exp2((sums->m[i][h] - top) * scale);
            sums->m[i][h] = top;
            float scaled = top * scale, l = 0;
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    l += s[i][j][2 * h + e] = tsr_exp2(s[i][j][2 * h + e] * scale - scaled);
            sums->l[i][h] = sums->l[i][h] * factor[i][h] + l;
        }
    if (!__any_sync(0xFFFFFFFFu, rises)) return; /* as in most tiles */
#pragma unroll
    for (int i = 0; i < F; i++)
#pragma unroll
        for (int d = 0; d < D / 8; d++)
#pragma unroll
            for (int e = 0; e < 4; e++) sums->o[i][d][e] *= factor[i][e / 2];
}

/* Tiles of `rows` rows that there may be of a kv head: each sequence may have one that is not full. */
static int64_t most_tiles(const tsr_attention_work *w, const tsr_cuda_step *step, int rows)
{
    int64_t heads = tsr_attention_heads_per_kv(w->heads, w->group);
    int64_t ragged = step->bound_sequences < step->bound_tokens ? step->bound_sequences : step->bound_tokens;
    return step->bound_tokens * heads / rows + ragged;
}

#endif
