/* attention_prefill.cu: attention of sequences with several tokens in this step.
 *
 * A block takes a tile of query rows of one sequence that share a kv head: row = token * heads + head, for the heads that
 * read it, so that a tile is full however they are grouped. Keys and values come through shared memory, 64 at a time and
 * one tile ahead of the products, S = Q K^T and O += P V on tensor cores; each warp has its own rows and keeps their
 * scores and sums in registers. Rows in shared memory are padded by 16 bytes, which puts the 8 rows that one read of a
 * fragment takes into different banks. Tiles with the most keys come first.
 */
#include "layers/cuda/kernels/attention_tile.cuh"

enum { PREFILL_WARPS = 4, PREFILL_THREADS = PREFILL_WARPS * TSR_WARP };

/* F: fragments of 16 rows that a warp has. Two let each fragment of keys serve twice, where registers allow it and there
 * are tiles enough. */
template <int D, int F> struct prefill_shape {
    enum { FRAGMENTS = F, WARP_ROWS = 16 * FRAGMENTS, ROWS = WARP_ROWS * PREFILL_WARPS, LD = D + 8 };
    static constexpr size_t shared(size_t size)
    {
        return (ROWS + 4 * KEYS) * LD * size;
    }
};

/* --- Loads --- */

/* Keys and values from `key` on, KEYS of them, in two pages. Keys at `end` and beyond become zeros: memory nobody wrote
 * may hold NaN. */
template <typename T, int D, int F>
static __device__ __forceinline__ void copy_tile(const tsr_attention_work &w, const prefill_part &p, int key,
                                                 const int32_t (&page)[2], T *k, T *v)
{
    enum { N = 8, VECTORS = D / N, LD = prefill_shape<D, F>::LD };
    const T *cache_k = (const T *)w.cache_k, *cache_v = (const T *)w.cache_v;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int64_t slot = ((int64_t)page[half] * w.kv_heads + p.kv_head) * TSR_PAGE_TOKENS;
        for (int i = threadIdx.x; i < TSR_PAGE_TOKENS * VECTORS; i += PREFILL_THREADS) {
            int j = i / VECTORS, d = i % VECTORS * N, row = half * TSR_PAGE_TOKENS + j;
            bool real = key + row < p.end;
            copy_vector(k + row * LD + d, cache_k + (slot + j) * D + d, real);
            copy_vector(v + row * LD + d, cache_v + (slot + j) * D + d, real);
        }
    }
    copies_begin();
}

/* The tile's queries, rotated; zeros in the place of rows that do not exist. */
template <typename T, int D, int F>
static __device__ __forceinline__ void load_queries(const tsr_attention_work &w, const prefill_part &p, T *q)
{
    enum { N = 8, VECTORS = D / N, LD = prefill_shape<D, F>::LD, ROWS = prefill_shape<D, F>::ROWS };
#pragma unroll 4
    for (int i = threadIdx.x; i < ROWS * VECTORS; i += PREFILL_THREADS) {
        int row = i / VECTORS, d = i % VECTORS * N, at = p.row + row;
        tsr_vector<T> x = {};
        if (at < p.rows)
            x = tsr_turned_vector(w, (const T *)w.q + element_of(p, at, w.q_ld, D), d,
                                  p.sequence.first_token + at / p.heads);
        tsr_store_vector(q + row * LD + d, x);
    }
}

/* --- Products --- */

static __device__ __forceinline__ void load_fragments(uint32_t (&x)[4], const void *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(shared_address(p)));
}

static __device__ __forceinline__ void load_fragments_transposed(uint32_t (&x)[4], const void *p)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(shared_address(p)));
}

/* q: the warp's rows */
template <typename T, int D, int F>
static __device__ __forceinline__ void score_tile(const T *q, const T *k, prefill_scores<D, F> &s)
{
    enum { LD = prefill_shape<D, F>::LD, FRAGMENTS = prefill_shape<D, F>::FRAGMENTS };
    int lane = threadIdx.x % TSR_WARP;
    const T *q_at = q + lane % 16 * LD + lane / 16 * 8;
    const T *k_at = k + (lane / 16 * 8 + lane % 8) * LD + lane / 8 % 2 * 8;
#pragma unroll
    for (int i = 0; i < FRAGMENTS; i++)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++) s[i][j][0] = s[i][j][1] = s[i][j][2] = s[i][j][3] = 0;
#pragma unroll
    for (int d = 0; d < D; d += 16) {
        uint32_t a[FRAGMENTS][4];
#pragma unroll
        for (int i = 0; i < FRAGMENTS; i++) load_fragments(a[i], q_at + i * 16 * LD + d);
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            uint32_t b[4];
            load_fragments(b, k_at + j * 16 * LD + d);
#pragma unroll
            for (int i = 0; i < FRAGMENTS; i++) {
                tsr_mma(T(), s[i][2 * j], a[i][0], a[i][1], a[i][2], a[i][3], b[0], b[1]);
                tsr_mma(T(), s[i][2 * j + 1], a[i][0], a[i][1], a[i][2], a[i][3], b[2], b[3]);
            }
        }
    }
}

template <typename T, int D, int F>
static __device__ __forceinline__ void add_values(const prefill_scores<D, F> &s, const T *v, prefill_sums<D, F> *sums)
{
    enum { LD = prefill_shape<D, F>::LD, FRAGMENTS = prefill_shape<D, F>::FRAGMENTS };
    int lane = threadIdx.x % TSR_WARP;
    const T *v_at = v + lane % 16 * LD + lane / 16 * 8;
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
        uint32_t a[FRAGMENTS][4];
#pragma unroll
        for (int i = 0; i < FRAGMENTS; i++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                a[i][e] = tsr_pair(T(), s[i][2 * j + e / 2][e % 2 * 2], s[i][2 * j + e / 2][e % 2 * 2 + 1]);
#pragma unroll
        for (int d = 0; d < D / 16; d++) {
            uint32_t b[4];
            load_fragments_transposed(b, v_at + j * 16 * LD + d * 16);
#pragma unroll
            for (int i = 0; i < FRAGMENTS; i++) {
                tsr_mma(T(), sums->o[i][2 * d], a[i][0], a[i][1], a[i][2], a[i][3], b[0], b[1]);
                tsr_mma(T(), sums->o[i][2 * d + 1], a[i][0], a[i][1], a[i][2], a[i][3], b[2], b[3]);
            }
        }
    }
}

/* Through the warp's own rows of shared memory, so that whole vectors are written. */
template <typename T, int D, int F>
static __device__ __forceinline__ void store_rows(const tsr_attention_work &w, const prefill_part &p,
                                                  int warp_row, const prefill_sums<D, F> &sums, T *room)
{
    enum { LD = prefill_shape<D, F>::LD, WARP_ROWS = prefill_shape<D, F>::WARP_ROWS, VECTORS = D / 8 };
    int lane = threadIdx.x % TSR_WARP;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < prefill_shape<D, F>::FRAGMENTS; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float l = sums.l[i][h];
            l += __shfl_xor_sync(0xFFFFFFFFu, l, 1);
            l += __shfl_xor_sync(0xFFFFFFFFu, l, 2);
            float each = 1 / l;
            T *to = room + (i * 16 + h * 8 + lane / 4) * LD + lane % 4 * 2;
#pragma unroll
            for (int d = 0; d < D / 8; d++)
                *reinterpret_cast<uint32_t *>(to + d * 8) =
                    tsr_pair(T(), sums.o[i][d][2 * h] * each, sums.o[i][d][2 * h + 1] * each);
        }
    __syncwarp();
    for (int i = lane; i < WARP_ROWS * VECTORS; i += TSR_WARP) {
        int row = p.row + warp_row + i / VECTORS, d = i % VECTORS * 8;
        if (row >= p.rows) break;
        T *out = (T *)w.out + element_of(p, row, w.out_ld, D);
        tsr_store_vector(out + d, tsr_load_vector(room + i / VECTORS * LD + d));
    }
}

/* Shared: q [ROWS][LD], k and v [2][KEYS][LD] */
template <typename T, int D, int F, bool BIASED>
static __global__ void __launch_bounds__(PREFILL_THREADS, D <= 128 ? 2 : 1)
    prefill_tile(__grid_constant__ const tsr_attention_work w)
{
    enum { LD = prefill_shape<D, F>::LD };
    extern __shared__ __align__(16) char shared[];
    T *q = (T *)shared, *k = q + prefill_shape<D, F>::ROWS * LD, *v = k + 2 * KEYS * LD;
    int warp_row = (int)(threadIdx.x / TSR_WARP) * prefill_shape<D, F>::WARP_ROWS;
    prefill_part p;
    int32_t page[2];
    tsr_grid_release();
    bool any = find_part(w, prefill_shape<D, F>::ROWS, &p);
    if (any) find_pages(w, p, p.begin, page);
    tsr_grid_wait(); /* so far only the step's record was read, which was there before the step began */
    if (!any) return;

    copy_tile<T, D, F>(w, p, p.begin, page, k, v);
    find_pages(w, p, p.begin + KEYS, page);
    load_queries<T, D, F>(w, p, q);
    prefill_sums<D, F> sums = {};
#pragma unroll
    for (int i = 0; i < prefill_shape<D, F>::FRAGMENTS; i++) sums.m[i][0] = sums.m[i][1] = TSR_LOWEST_SCORE;
    int low = tsr_first_visible(w, p.last);
    for (int key = p.begin, at = 0; key < p.end; key += KEYS, at ^= 1) {
        prefill_scores<D, F> s;
        copies_end();
        __syncthreads(); /* this tile has come, and everybody is done with the one before */
        if (key + KEYS < p.end) {
            copy_tile<T, D, F>(w, p, key + KEYS, page, k + (at ^ 1) * KEYS * LD, v + (at ^ 1) * KEYS * LD);
            find_pages(w, p, key + 2 * KEYS, page);
        }
        score_tile<T, D, F>(q + warp_row * LD, k + at * KEYS * LD, s);
        if (BIASED) add_biases<D, F>(w, p, key, warp_row, s);
        if (key + KEYS > p.seen || key < low) hide<D, F>(w, p, key, warp_row, s);
        softmax_step<D, F>(w.scale, s, &sums);
        add_values<T, D, F>(s, v + at * KEYS * LD, &sums);
    }
    store_rows<T, D, F>(w, p, warp_row, sums, q + warp_row * LD);
}

/* --- Launch --- */

template <typename T, int D, int F, bool BIASED>
static tsr_status launch(const tsr_attention_work *w, const tsr_cuda_step *step)
{
    dim3 grid(w->kv_heads, (unsigned)most_tiles(w, step, prefill_shape<D, F>::ROWS));
    size_t shared = prefill_shape<D, F>::shared(sizeof(T));
    TSR_TRY(tsr_cuda_check(cudaFuncSetAttribute(prefill_tile<T, D, F, BIASED>,
                                                cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
                           "attention: shared memory of the prefill kernel"));
    return tsr_launch(step, "attention: prefill", grid, dim3(PREFILL_THREADS), shared,
                      prefill_tile<T, D, F, BIASED>, *w);
}

/* Large tiles, unless there are so few that all run at once: then the longest would be waited for. */
template <typename T, int D, bool BIASED>
static tsr_status choose(const tsr_attention_work *w, const tsr_cuda_step *step)
{
    if constexpr (D <= 128) {
        int64_t heads = tsr_attention_heads_per_kv(w->heads, w->group);
        int64_t tiles = step->bound_tokens * heads / prefill_shape<D, 2>::ROWS * w->kv_heads;
        if (tiles > 2 * step->n_processors) return launch<T, D, 2, BIASED>(w, step);
    }
    return launch<T, D, 1, BIASED>(w, step);
}

template <typename T>
static tsr_status prefill(const tsr_attention_work *w, const tsr_cuda_step *step)
{
#define TSR_PREFILL_SIZE(D)                                                                                  \
    case D:                                                                                                  \
        return w->alibi != 0 ? choose<T, D, true>(w, step) : choose<T, D, false>(w, step);
    switch (w->head_dim) {
        TSR_ATTENTION_SIZES(TSR_PREFILL_SIZE)
    }
#undef TSR_PREFILL_SIZE
    return tsr_fail(TSR_ERR_INTERNAL, "attention: no prefill kernel for heads of %d", w->head_dim);
}

tsr_status tsr_attention_prefill(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step)
{
    return dtype == TSR_F16 ? prefill<__half>(w, step) : prefill<__nv_bfloat16>(w, step);
}
