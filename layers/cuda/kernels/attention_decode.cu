/* attention_decode.cu: attention of sequences with one token in this step: every key and value is read once, for all
 * query heads that share it, and nothing else costs much.
 *
 * The keys of a sequence are split over blocks, and within a block over its warps, which never meet until the end. A warp
 * takes 16 keys at a time straight from the pages into registers: both products run on tensor cores with the heads as
 * columns, S^T = K Q^T and O^T = V^T P^T, and the order in which a product sums is free, so that fragments are dealt out
 * such that each thread's part of a row is 16 bytes wide:
 *
 *   K  (rows keys, summed over dimensions)  thread (r, c) has of keys r and r + 8 dimensions 32 j + 8 c .. + 7
 *   V^T (rows dimensions, summed over keys) thread (r, c) has of keys 2c, 2c + 1, 2c + 8, 2c + 9 dimensions
 *                                           64 j + 8 r .. + 7, pairs of which are rows r and r + 8 of a fragment
 *
 * with r = lane / 4 and c = lane % 4; what is left of a head narrower than that is dealt out likewise in 8 or 4 bytes.
 *
 * How many blocks have work is decided on the device, by the sequence's length. If there are several, each leaves its o,
 * m and l in the workspace and the last to arrive merges them.
 */
#include "layers/cuda/kernels/attention.cuh"

enum { DECODE_WARPS = 8, DECODE_THREADS = DECODE_WARPS * TSR_WARP, COLUMNS = 8, MOST_ARRIVALS = 8192 };
enum { QUERY_PAD = 8 }; /* elements behind each query in shared memory, against bank conflicts */

/* How many blocks of a (sequence, kv head) have arrived; zero between kernels. One for the whole device: steps of a
 * device are run one after the other. */
static __device__ unsigned arrivals[MOST_ARRIVALS];

/* Keys that a warp takes at a time, in sub-tiles of 16. */
template <int D> struct decode_shape {
    enum { SUBTILES = D <= 64 ? 2 : 1, WARP_KEYS = 16 * SUBTILES, BLOCK_KEYS = WARP_KEYS * DECODE_WARPS };
};

typedef struct decode_part {
    tsr_cuda_sequence sequence;
    int slot, kv_head, first_head, heads; /* the sequence's number; the query heads of this block */
    int low, begin, end;                  /* the first visible key; this block's keys */
    int cached, loads_end;                /* keys below `cached` are in the cache; this block loads those below the other */
    int splits;
} decode_part;

/* --- Loads --- */

/* A row's elements for one thread, as pairs: `part` of `parts` threads, the widest loads that deal the row out evenly. */
template <int D, int parts, typename T>
static __device__ __forceinline__ void load_row(const T *row, int part, uint32_t (&x)[D / (2 * parts)])
{
    constexpr int whole = D / (8 * parts), rest = D % (8 * parts) / parts;
#pragma unroll
    for (int j = 0; j < whole; j++) {
        uint4 v = *reinterpret_cast<const uint4 *>(row + j * 8 * parts + part * 8);
        x[4 * j] = v.x, x[4 * j + 1] = v.y, x[4 * j + 2] = v.z, x[4 * j + 3] = v.w;
    }
    row += whole * 8 * parts;
    if constexpr (rest >= 4) {
        uint2 v = *reinterpret_cast<const uint2 *>(row + part * 4);
        x[4 * whole] = v.x, x[4 * whole + 1] = v.y;
    }
    if constexpr (rest % 4 == 2) {
        row += rest / 4 * 4 * parts;
        x[4 * whole + rest / 4 * 2] = *reinterpret_cast<const uint32_t *>(row + part * 2);
    }
}

/* The dimension of the first of the pair x[i] that load_row gives. */
template <int D, int parts> static __device__ __forceinline__ int dimension_of(int i, int part)
{
    constexpr int whole = D / (8 * parts), rest = D % (8 * parts) / parts;
    if (i < 4 * whole) return i / 4 * 8 * parts + part * 8 + i % 4 * 2;
    i -= 4 * whole;
    int base = whole * 8 * parts;
    if (rest >= 4 && i < 2) return base + part * 4 + i * 2;
    return base + rest / 4 * 4 * parts + part * 2;
}

template <int D, int SUBTILES> struct decode_tile {
    uint32_t k[SUBTILES][2][D / 8];
    uint32_t v[SUBTILES][4][D / 16];
};

/* The number of V's key i of a thread, within a sub-tile. */
static __device__ __forceinline__ int value_key(int i, int c)
{
    return 2 * c + i / 2 * 8 + i % 2;
}

static __device__ __forceinline__ int64_t slot_of(const tsr_attention_work &w, const decode_part &p, int page,
                                                  int key)
{
    return ((int64_t)page * w.kv_heads + p.kv_head) * TSR_PAGE_TOKENS + key % TSR_PAGE_TOKENS;
}

/* Keys from `key` on; what the cache does not have becomes zero: memory nobody wrote may hold NaN. */
template <typename T, int D, int SUBTILES>
static __device__ __forceinline__ void load_keys(const tsr_attention_work &w, const decode_part &p, int key,
                                                 const int32_t (&page)[SUBTILES],
                                                 decode_tile<D, SUBTILES> *tile)
{
    int lane = threadIdx.x % TSR_WARP, r = lane / 4, c = lane % 4;
#pragma unroll
    for (int i = 0; i < SUBTILES; i++, key += 16) {
        const T *k = (const T *)w.cache_k + (slot_of(w, p, page[i], key) + r) * D;
#pragma unroll
        for (int j = 0; j < 2; j++) {
#pragma unroll
            for (int d = 0; d < D / 8; d++) tile->k[i][j][d] = 0;
            if (key + r + 8 * j < p.loads_end) load_row<D, 4>(k + 8 * j * D, c, tile->k[i][j]);
        }
    }
}

template <typename T, int D, int SUBTILES>
static __device__ __forceinline__ void load_values(const tsr_attention_work &w, const decode_part &p, int key,
                                                   const int32_t (&page)[SUBTILES],
                                                   decode_tile<D, SUBTILES> *tile)
{
    int lane = threadIdx.x % TSR_WARP, r = lane / 4, c = lane % 4;
#pragma unroll
    for (int i = 0; i < SUBTILES; i++, key += 16) {
        const T *v = (const T *)w.cache_v + (slot_of(w, p, page[i], key) + 2 * c) * D;
#pragma unroll
        for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int d = 0; d < D / 16; d++) tile->v[i][j][d] = 0;
            if (key + value_key(j, c) < p.loads_end) load_row<D, 8>(v + value_key(j, 0) * D, r, tile->v[i][j]);
        }
    }
}

/* Puts the step's own key and value, which the cache does not have yet, into the tile. */
template <typename T, int D, int SUBTILES>
static __device__ __forceinline__ void add_newest(const decode_part &p, int key, const T *k, const T *v,
                                                  decode_tile<D, SUBTILES> *tile)
{
    int lane = threadIdx.x % TSR_WARP, r = lane / 4, c = lane % 4;
#pragma unroll
    for (int i = 0; i < SUBTILES; i++, key += 16) {
#pragma unroll
        for (int j = 0; j < 2; j++)
            if (key + r + 8 * j == p.cached) load_row<D, 4>(k, c, tile->k[i][j]);
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (key + value_key(j, c) == p.cached) load_row<D, 8>(v, r, tile->v[i][j]);
    }
}

/* --- Products --- */

/* An 8 x 8 matrix of 16-bit elements over a warp, transposed. */
static __device__ __forceinline__ uint32_t transposed(uint32_t x)
{
    uint32_t y;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

/* What a warp carries along: of heads 2c and 2c + 1 of each group of 8 columns */
template <int D, int NT> struct decode_sums {
    float o[D / 16][NT][4]; /* O^T: rows r and r + 8 of fragment i are the pair i of load_row<D, 8> */
    float m[NT][2], l[NT][2]; /* l: this thread's keys only */
};

/* The running softmax over the tile's scores: turns them into probabilities, scales what is there already. */
template <int D, int NT, int SUBTILES>
static __device__ __forceinline__ void softmax_step(float (&s)[SUBTILES][NT][4], decode_sums<D, NT> *sums)
{
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float top = TSR_LOWEST_SCORE;
#pragma unroll
            for (int i = 0; i < SUBTILES; i++) top = fmaxf(top, fmaxf(s[i][n][h], s[i][n][h + 2]));
#pragma unroll
            for (int k = 4; k < TSR_WARP; k *= 2) top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, k));
            top = fmaxf(top, sums->m[n][h]);
            float factor = tsr_exp2(sums->m[n][h] - top), l = sums->l[n][h] * factor;
            sums->m[n][h] = top;
#pragma unroll
            for (int i = 0; i < SUBTILES; i++) {
                l += s[i][n][h] = tsr_exp2(s[i][n][h] - top);
                l += s[i][n][h + 2] = tsr_exp2(s[i][n][h + 2] - top);
            }
            sums->l[n][h] = l;
#pragma unroll
            for (int d = 0; d < D / 16; d++) sums->o[d][n][h] *= factor, sums->o[d][n][h + 2] *= factor;
        }
}

/* Scores of a tile. */
template <typename T, int D, int NT, bool BIASED, int SUBTILES>
static __device__ __forceinline__ void score_tile(const tsr_attention_work &w, const decode_part &p, int key,
                                                  const decode_tile<D, SUBTILES> &tile, const T *queries,
                                                  float (&s)[SUBTILES][NT][4])
{
    int r = threadIdx.x % TSR_WARP / 4;
    asm volatile("" ::: "memory"); /* queries stay in shared memory: there are no registers for them */
#pragma unroll
    for (int n = 0; n < NT; n++) {
        uint32_t q[D / 8];
        load_row<D, 4>(queries + (n * COLUMNS + r) * (D + QUERY_PAD), threadIdx.x % 4, q);
        float slope[2];
        if (BIASED)
            for (int h = 0; h < 2; h++)
                slope[h] = tsr_slope(w, p.first_head + n * COLUMNS + threadIdx.x % 4 * 2 + h);
#pragma unroll
        for (int i = 0; i < SUBTILES; i++) {
            float sum[4] = {};
#pragma unroll
            for (int d = 0; d < D / 8; d += 2)
                tsr_mma(T(), sum, tile.k[i][0][d], tile.k[i][1][d], tile.k[i][0][d + 1], tile.k[i][1][d + 1],
                        q[d], q[d + 1]);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int at = key + 16 * i + r + j / 2 * 8;
                float score = sum[j] * w.scale;
                if (BIASED) score += w.alibi * tsr_bias(w, slope[j % 2], p.sequence.position, at);
                s[i][n][j] = at >= p.low && at < p.end ? score : -INFINITY;
            }
        }
    }
}

template <typename T, int D, int NT, int SUBTILES>
static __device__ __forceinline__ void add_values(const decode_tile<D, SUBTILES> &tile,
                                                  const float (&s)[SUBTILES][NT][4], decode_sums<D, NT> *sums)
{
#pragma unroll
    for (int i = 0; i < SUBTILES; i++) {
        uint32_t p[NT][2];
#pragma unroll
        for (int n = 0; n < NT; n++) {
            p[n][0] = transposed(tsr_pair(T(), s[i][n][0], s[i][n][1]));
            p[n][1] = transposed(tsr_pair(T(), s[i][n][2], s[i][n][3]));
        }
#pragma unroll
        for (int d = 0; d < D / 16; d++) {
            uint32_t a0 = __byte_perm(tile.v[i][0][d], tile.v[i][1][d], 0x5410);
            uint32_t a1 = __byte_perm(tile.v[i][0][d], tile.v[i][1][d], 0x7632);
            uint32_t a2 = __byte_perm(tile.v[i][2][d], tile.v[i][3][d], 0x5410);
            uint32_t a3 = __byte_perm(tile.v[i][2][d], tile.v[i][3][d], 0x7632);
#pragma unroll
            for (int n = 0; n < NT; n++) tsr_mma(T(), sums->o[d][n], a0, a1, a2, a3, p[n][0], p[n][1]);
        }
    }
}

/* --- A block --- */

/* Which keys of which heads are this block's; false: none. */
template <int D, int NT>
static __device__ __forceinline__ bool find_part(const tsr_attention_work &w, decode_part *p)
{
    int tiles = gridDim.x / w.kv_heads, first;
    p->slot = blockIdx.z;
    p->kv_head = blockIdx.x / tiles;
    int n_sequences = w.counts->n_sequences;
    p->sequence = w.sequences[p->slot];
    if (p->slot >= n_sequences || p->sequence.n_tokens != 1) return false;
    int heads = tsr_heads_of(w, p->kv_head, &first), skip = blockIdx.x % tiles * NT * COLUMNS;
    p->first_head = first + skip;
    p->heads = min(heads - skip, NT * COLUMNS);
    int n = p->sequence.position + 1;
    p->low = tsr_first_visible(w, n - 1);
    int start = p->low / TSR_PAGE_TOKENS * TSR_PAGE_TOKENS, blocks = n - start;
    const int unit = decode_shape<D>::BLOCK_KEYS;
    blocks = (blocks + unit - 1) / unit;
    int each = (blocks + w.most_splits - 1) / w.most_splits;
    p->splits = (blocks + each - 1) / each;
    p->begin = start + (int)blockIdx.y * each * unit;
    p->end = min(p->begin + each * unit, n);
    p->cached = w.append ? n - 1 : n;
    p->loads_end = min(p->cached, p->end);
    return p->begin < n && (p->heads > 0 || w.append);
}

/* This step's query heads, and key and value if they are not in the cache yet, into shared memory; these two into the
 * cache as well, by the block that has the last key. */
template <typename T, int D, int NT>
static __device__ __forceinline__ void stage(const tsr_attention_work &w, const decode_part &p, T *q, T *k, T *v)
{
    enum { N = tsr_vector<T>::N, VECTORS = D / N };
    int64_t t = p.sequence.first_token;
    const T *from = (const T *)w.q + t * w.q_ld + (int64_t)p.first_head * D;
    for (int i = threadIdx.x; i < NT * COLUMNS * VECTORS; i += DECODE_THREADS) {
        int h = i / VECTORS, d = i % VECTORS * N;
        tsr_vector<T> x = {};
        if (h < p.heads) x = tsr_turned_vector(w, from + h * D, d, t);
        tsr_store_vector(q + h * (D + QUERY_PAD) + d, x);
    }
    if (!w.append || p.end <= p.cached) return;
    int64_t page = w.pages[p.sequence.first_page + p.cached / TSR_PAGE_TOKENS];
    int64_t slot = (page * w.kv_heads + p.kv_head) * TSR_PAGE_TOKENS + p.cached % TSR_PAGE_TOKENS;
    bool writes = blockIdx.x % (gridDim.x / w.kv_heads) == 0;
    int i = DECODE_THREADS - 1 - (int)threadIdx.x; /* warps that have no query to bring */
    if (i >= 2 * VECTORS) return;
    int d = i % VECTORS * N;
    if (i < VECTORS) {
        tsr_vector<T> x = tsr_turned_vector(w, (const T *)w.k + t * w.k_ld + (int64_t)p.kv_head * D, d, t);
        tsr_store_vector(k + d, x);
        if (writes) tsr_store_vector((T *)w.cache_k + slot * D + d, x);
    } else {
        tsr_vector<T> x = tsr_load_vector((const T *)w.v + t * w.v_ld + (int64_t)p.kv_head * D + d);
        tsr_store_vector(v + d, x);
        if (writes) tsr_store_vector((T *)w.cache_v + slot * D + d, x);
    }
}

/* The sums of the warps side by side in shared memory: o [warps][heads][D], m and l [warps][NT * COLUMNS]. */
template <int D, int NT>
static __device__ __forceinline__ void lay_down(const decode_part &p, decode_sums<D, NT> *sums, float *o,
                                                float *m, float *l)
{
    int lane = threadIdx.x % TSR_WARP, warp = threadIdx.x / TSR_WARP, r = lane / 4, c = lane % 4;
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = sums->l[n][h];
#pragma unroll
            for (int k = 4; k < TSR_WARP; k *= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, k);
            int head = n * COLUMNS + 2 * c + h;
            if (r == 0) {
                m[warp * NT * COLUMNS + head] = sums->m[n][h];
                l[warp * NT * COLUMNS + head] = sum;
            }
            if (head >= p.heads) continue;
#pragma unroll
            for (int d = 0; d < D / 16; d++) {
                float2 pair = make_float2(sums->o[d][n][h], sums->o[d][n][h + 2]);
                *reinterpret_cast<float2 *>(o + (warp * p.heads + head) * D + dimension_of<D, 8>(d, r)) = pair;
            }
        }
}

/* Where the partial result of a head and split lies: m, l, 2 unused, o [D]. */
static __device__ __forceinline__ float *partial_of(const tsr_attention_work &w, const decode_part &p, int head,
                                                    int split)
{
    int64_t row = (int64_t)p.slot * w.heads + p.first_head + head;
    return w.partial + (row * w.most_splits + split) * (w.value_dim + TSR_PARTIAL_HEAD);
}

/* Adds up the warps, and either finishes or leaves a partial result. */
template <typename T, int D, int NT>
static __device__ __forceinline__ void merge_warps(const tsr_attention_work &w, const decode_part &p,
                                                   const float *o, const float *m, const float *l)
{
    for (int i = threadIdx.x; i < p.heads * D; i += DECODE_THREADS) {
        int head = i / D, d = i % D;
        float top = TSR_LOWEST_SCORE, sum = 0, all = 0;
#pragma unroll
        for (int k = 0; k < DECODE_WARPS; k++) top = fmaxf(top, m[k * NT * COLUMNS + head]);
#pragma unroll
        for (int k = 0; k < DECODE_WARPS; k++) {
            float factor = tsr_exp2(m[k * NT * COLUMNS + head] - top);
            sum += factor * o[(k * p.heads + head) * D + d];
            all += factor * l[k * NT * COLUMNS + head];
        }
        if (p.splits == 1) {
            T *out = (T *)w.out + p.sequence.first_token * w.out_ld + (int64_t)(p.first_head + head) * D;
            out[d] = tsr_round<T>(sum / all);
            continue;
        }
        float *to = partial_of(w, p, head, blockIdx.y);
        to[TSR_PARTIAL_HEAD + d] = sum;
        if (d == 0) *reinterpret_cast<float2 *>(to) = make_float2(top, all);
    }
}

/* Did all other blocks of this (sequence, kv head) leave their results? The one that finds so starts over the count. */
static __device__ __forceinline__ bool is_last(const decode_part &p)
{
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned *count = &arrivals[p.slot * gridDim.x + blockIdx.x], before;
        /* Releases what the block wrote before its barrier, acquires what the others released. */
        asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(count) : "memory");
        last = before == (unsigned)p.splits - 1;
        if (last) *count = 0;
    }
    __syncthreads();
    return last;
}

/* Adds up the partial results, four dimensions a thread; loads of several splits are under way at a time. */
template <typename T, int D>
static __device__ __forceinline__ void merge_splits(const tsr_attention_work &w, const decode_part &p)
{
    enum { AT_ONCE = 8 };
    int64_t stride = D + TSR_PARTIAL_HEAD;
    for (int i = threadIdx.x; i < p.heads * (D / 4); i += DECODE_THREADS) {
        int head = i / (D / 4), d = i % (D / 4) * 4;
        const float *from = partial_of(w, p, head, 0);
        float top = TSR_LOWEST_SCORE, all = 0, o[4] = {};
        for (int k = 0; k < p.splits; k += AT_ONCE) {
            float2 ml[AT_ONCE];
            float4 v[AT_ONCE];
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) {
                const float *at = from + (k + j) * stride;
                bool real = k + j < p.splits;
                ml[j] = real ? __ldcg(reinterpret_cast<const float2 *>(at)) : make_float2(TSR_LOWEST_SCORE, 0);
                v[j] = real ? __ldcg(reinterpret_cast<const float4 *>(at + TSR_PARTIAL_HEAD + d)) : float4{};
            }
            float before = top;
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) top = fmaxf(top, ml[j].x);
            float factor = tsr_exp2(before - top);
            all *= factor, o[0] *= factor, o[1] *= factor, o[2] *= factor, o[3] *= factor;
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) {
                float f = tsr_exp2(ml[j].x - top);
                all += f * ml[j].y;
                o[0] += f * v[j].x, o[1] += f * v[j].y, o[2] += f * v[j].z, o[3] += f * v[j].w;
            }
        }
        T *out = (T *)w.out + p.sequence.first_token * w.out_ld + (int64_t)(p.first_head + head) * D + d;
        uint2 pairs = {tsr_pair(T(), o[0] / all, o[1] / all), tsr_pair(T(), o[2] / all, o[3] / all)};
        *reinterpret_cast<uint2 *>(out) = pairs;
    }
}

template <int SUBTILES>
static __device__ __forceinline__ void find_pages(const tsr_attention_work &w, const decode_part &p, int key,
                                                  int32_t (&page)[SUBTILES])
{
#pragma unroll
    for (int i = 0; i < SUBTILES; i++)
        page[i] = key + 16 * i < p.end ? w.pages[p.sequence.first_page + (key + 16 * i) / TSR_PAGE_TOKENS] : 0;
}

/* Shared: q [NT * COLUMNS][D + QUERY_PAD], k [D], v [D] of T; then o, m and l as lay_down has them. */
template <typename T, int D, int NT, bool BIASED>
static __global__ void __launch_bounds__(DECODE_THREADS, D <= 128 && NT == 1 ? 2 : 1)
    decode_split(__grid_constant__ const tsr_attention_work w)
{
    constexpr int SUBTILES = decode_shape<D>::SUBTILES, STEP = decode_shape<D>::BLOCK_KEYS;
    extern __shared__ __align__(16) char shared[];
    T *q = (T *)shared, *new_k = q + NT * COLUMNS * (D + QUERY_PAD), *new_v = new_k + D;
    float *m = (float *)(new_v + D), *l = m + DECODE_WARPS * NT * COLUMNS, *o = l + DECODE_WARPS * NT * COLUMNS;
    decode_part p;
    tsr_grid_release();
    /* Before the wait, only the step's record is read, and in a step of single tokens what earlier steps cached: both were
     * there before the step began. */
    bool any = find_part<D, NT>(w, &p);
    int key = p.begin + (int)(threadIdx.x / TSR_WARP) * decode_shape<D>::WARP_KEYS;
    int32_t page[SUBTILES];
    decode_tile<D, SUBTILES> tile;
    if (any) find_pages(w, p, key, page);
    if (!w.append) tsr_grid_wait();
    if (any) {
        load_keys<T>(w, p, key, page, &tile);
        load_values<T>(w, p, key, page, &tile);
    }
    if (w.append) tsr_grid_wait(); /* blocks without work too: this kernel may not end before its predecessor */
    if (!any) return;
    stage<T, D, NT>(w, p, q, new_k, new_v);
    __syncthreads();

    decode_sums<D, NT> sums = {};
#pragma unroll
    for (int n = 0; n < NT; n++) sums.m[n][0] = sums.m[n][1] = TSR_LOWEST_SCORE;
    for (; key < p.end; key += STEP) {
        float s[SUBTILES][NT][4];
        find_pages(w, p, key + STEP, page);
        if (key + 16 * SUBTILES > p.cached && p.cached < p.end) add_newest<T>(p, key, new_k, new_v, &tile);
        score_tile<T, D, NT, BIASED>(w, p, key, tile, q, s);
        load_keys<T>(w, p, key + STEP, page, &tile); /* registers are free again: loads go on meanwhile */
        softmax_step(s, &sums);
        add_values<T>(tile, s, &sums);
        load_values<T>(w, p, key + STEP, page, &tile);
    }
    lay_down(p, &sums, o, m, l);
    __syncthreads();
    merge_warps<T, D, NT>(w, p, o, m, l);
    if (p.splits > 1 && is_last(p)) merge_splits<T, D>(w, p);
}

/* --- Launch --- */

int tsr_attention_decode_heads(int heads_per_kv, int head_dim)
{
    return heads_per_kv <= COLUMNS || head_dim > 128 ? (int)COLUMNS : 2 * (int)COLUMNS;
}

static int head_tiles(int heads_per_kv, int head_dim)
{
    int each = tsr_attention_decode_heads(heads_per_kv, head_dim);
    return (heads_per_kv + each - 1) / each;
}

/* As many as fill the device, where the heads do not do that alone. */
int tsr_attention_most_splits(int kv_heads, int heads_per_kv, int sequences, int n_processors)
{
    enum { BLOCKS_PER_PROCESSOR = 2, MOST = 64 };
    int64_t runs = (int64_t)kv_heads * head_tiles(heads_per_kv, 128) * sequences;
    int64_t room = (int64_t)BLOCKS_PER_PROCESSOR * n_processors, splits = runs > 0 ? room / runs : 1;
    if (splits < 1) splits = 1;
    if (kv_heads * (int64_t)head_tiles(heads_per_kv, 256) * sequences > MOST_ARRIVALS) return 1;
    return splits < MOST ? (int)splits : (int)MOST;
}

template <typename T, int D, int NT, bool BIASED>
static tsr_status launch(const tsr_attention_work *w, int heads_per_kv, const tsr_cuda_step *step)
{
    int columns = heads_per_kv < NT * COLUMNS ? heads_per_kv : NT * COLUMNS;
    size_t shared = (size_t)(NT * COLUMNS * (D + QUERY_PAD) + 2 * D) * sizeof(T) + 2 * DECODE_WARPS * NT * COLUMNS * sizeof(float) +
                    (size_t)DECODE_WARPS * columns * D * sizeof(float);
    if (shared > 48 * 1024)
        TSR_TRY(tsr_cuda_check(cudaFuncSetAttribute(decode_split<T, D, NT, BIASED>,
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
                               "attention: shared memory of the decode kernel"));
    dim3 grid(w->kv_heads * head_tiles(heads_per_kv, D), w->most_splits, step->bound_sequences);
    return tsr_launch(step, "attention: decode", grid, dim3(DECODE_THREADS), shared,
                      decode_split<T, D, NT, BIASED>, *w);
}

template <typename T, int D, int NT>
static tsr_status choose(const tsr_attention_work *w, int heads_per_kv, const tsr_cuda_step *step)
{
    return w->alibi != 0 ? launch<T, D, NT, true>(w, heads_per_kv, step)
                         : launch<T, D, NT, false>(w, heads_per_kv, step);
}

template <typename T>
static tsr_status decode(const tsr_attention_work *w, const tsr_cuda_step *step)
{
    int heads = tsr_attention_heads_per_kv(w->heads, w->group);
    bool wide = tsr_attention_decode_heads(heads, w->head_dim) > COLUMNS;
#define TSR_DECODE_SIZE(D)                                                                                   \
    case D:                                                                                                  \
        if constexpr (D <= 128)                                                                              \
            if (wide) return choose<T, D, 2>(w, heads, step);                                                \
        return choose<T, D, 1>(w, heads, step);
    switch (w->head_dim) {
        TSR_ATTENTION_SIZES(TSR_DECODE_SIZE)
    }
#undef TSR_DECODE_SIZE
    return tsr_fail(TSR_ERR_INTERNAL, "attention: no decode kernel for heads of %d", w->head_dim);
}

tsr_status tsr_attention_decode(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step)
{
    return dtype == TSR_F16 ? decode<__half>(w, step) : decode<__nv_bfloat16>(w, step);
}
