/* attention_simple.cu: attention of any head sizes and dtypes, after the append. A block per token and query head; its
 * warps take keys in turn for the scores, its threads dimensions for the sum of values. */
#include "layers/cuda/kernels/attention.cuh"

enum { SIMPLE_THREADS = 128, SIMPLE_KEYS = 128 };

/* Shared: q [head_dim], o [value_dim], scores [SIMPLE_KEYS], scratch of the reductions [TSR_WARP] */
typedef struct simple_room {
    float *q, *o, *s, *scratch;
} simple_room;

static __device__ float block_max(float x, float *scratch)
{
    int lane = threadIdx.x % TSR_WARP, warps = SIMPLE_THREADS / TSR_WARP;
    x = tsr_warp_max(x);
    __syncthreads();
    if (lane == 0) scratch[threadIdx.x / TSR_WARP] = x;
    __syncthreads();
    return tsr_warp_max(lane < warps ? scratch[lane] : TSR_LOWEST_SCORE);
}

static __device__ __forceinline__ int64_t slot_of(const tsr_attention_work &w, int first_page, int key,
                                                  int kv_head)
{
    int64_t page = w.pages[first_page + key / w.page_tokens];
    return (page * w.kv_heads + kv_head) * w.page_tokens + key % w.page_tokens;
}

template <typename T>
static __device__ void load_query(const tsr_attention_work &w, int64_t t, int head, float *q)
{
    const T *x = (const T *)w.q + t * w.q_ld + (int64_t)head * w.head_dim;
    for (int d = threadIdx.x; d < w.head_dim; d += SIMPLE_THREADS)
        q[d] = w.rope ? tsr_float(tsr_round<T>(tsr_rotated(x, d, w.rope + t * w.rotary_dim, w.rotary_dim,
                                                           w.interleaved)))
                      : tsr_float(x[d]);
}

/* Scores of n keys from `key` on, for a query at `position`; shared memory of the last tile is free again after the first barrier. */
template <typename T>
static __device__ void score_keys(const tsr_attention_work &w, const simple_room &r, int first_page,
                                  int kv_head, int key, int n, int position, float slope)
{
    int lane = threadIdx.x % TSR_WARP;
    __syncthreads();
    for (int j = threadIdx.x / TSR_WARP; j < n; j += SIMPLE_THREADS / TSR_WARP) {
        const T *k = (const T *)w.cache_k + slot_of(w, first_page, key + j, kv_head) * w.head_dim;
        float sum = 0;
        for (int d = lane; d < w.head_dim; d += TSR_WARP) sum += r.q[d] * tsr_float(k[d]);
        sum = tsr_warp_sum(sum);
        float bias = w.alibi != 0 ? w.alibi * tsr_bias(w, slope, position, key + j) : 0;
        if (lane == 0) r.s[j] = sum * w.scale + bias;
    }
    __syncthreads();
}

template <typename T>
static __device__ void add_values(const tsr_attention_work &w, const simple_room &r, int first_page,
                                  int kv_head, int key, int n, float factor)
{
    for (int d = threadIdx.x; d < w.value_dim; d += SIMPLE_THREADS) {
        float sum = r.o[d] * factor;
        for (int j = 0; j < n; j++)
            sum += r.s[j] *
                   tsr_float(((const T *)w.cache_v)[slot_of(w, first_page, key + j, kv_head) * w.value_dim + d]);
        r.o[d] = sum;
    }
}

template <typename T> static __global__ void __launch_bounds__(SIMPLE_THREADS) simple_rows(tsr_attention_work w)
{
    extern __shared__ float room[];
    simple_room r = {room, room + w.head_dim, room + w.head_dim + w.value_dim,
                     room + w.head_dim + w.value_dim + SIMPLE_KEYS};
    tsr_grid_wait();
    tsr_grid_release();
    int64_t t = blockIdx.x;
    int head = blockIdx.y, kv_head = (w.first_head + head) / w.group - w.first_kv;
    if (t >= w.counts->n_tokens) return;
    tsr_cuda_sequence s = w.sequences[w.sequence[t]];
    int position = s.position + (int)t - s.first_token, end = tsr_visible_end(s, position);
    float slope = w.alibi != 0 ? tsr_slope(w, head) : 0;
    load_query<T>(w, t, head, r.q);
    for (int d = threadIdx.x; d < w.value_dim; d += SIMPLE_THREADS) r.o[d] = 0;
    float m = TSR_LOWEST_SCORE, l = 0;
    for (int key = tsr_first_visible(w, position); key < end; key += SIMPLE_KEYS) {
        int n = min(SIMPLE_KEYS, end - key);
        score_keys<T>(w, r, s.first_page, kv_head, key, n, position, slope);
        float score = threadIdx.x < n ? r.s[threadIdx.x] : TSR_LOWEST_SCORE;
        float top = fmaxf(m, block_max(score, r.scratch)), p = threadIdx.x < n ? exp2f(score - top) : 0;
        r.s[threadIdx.x] = p;
        float factor = exp2f(m - top);
        l = l * factor + tsr_block_sum(p, r.scratch);
        m = top;
        add_values<T>(w, r, s.first_page, kv_head, key, n, factor);
    }
    T *out = (T *)w.out + t * w.out_ld + (int64_t)head * w.value_dim;
    for (int d = threadIdx.x; d < w.value_dim; d += SIMPLE_THREADS) out[d] = tsr_round<T>(r.o[d] / l);
}

tsr_status tsr_attention_simple(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step)
{
    static_assert(SIMPLE_THREADS == SIMPLE_KEYS, "a thread per key");
    size_t shared = ((size_t)w->head_dim + w->value_dim + SIMPLE_KEYS + TSR_WARP) * sizeof(float);
    dim3 grid(step->bound_tokens, w->heads), block(SIMPLE_THREADS);
    return TSR_CUDA_BY_DTYPE(dtype, T, {
        if (shared > 48 * 1024)
            TSR_TRY(tsr_cuda_check(cudaFuncSetAttribute(simple_rows<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                        (int)shared),
                                   "attention: shared memory for heads this wide"));
        return tsr_launch(step, "attention", grid, block, shared, simple_rows<T>, *w);
    });
}
