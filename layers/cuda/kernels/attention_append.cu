/* attention_append.cu: this step's k and v into the pages of the cache. A block per token. */
#include "layers/cuda/kernels/attention.cuh"

enum { APPEND_THREADS = 256 };

/* Where token t's vectors of kv head 0 go, in units of vectors; further heads follow page_tokens apart. */
static __device__ __forceinline__ int64_t slot_of(const tsr_attention_work &w, int t, int sequence)
{
    tsr_cuda_sequence s = w.sequences[sequence];
    int position = s.position + t - s.first_token;
    int64_t page = w.pages[s.first_page + position / w.page_tokens];
    return page * w.kv_heads * w.page_tokens + position % w.page_tokens;
}

/* One element after the other. */
template <typename T> static __device__ void append_elements(const tsr_attention_work &w, int64_t t, int64_t slot)
{
    const T *k = (const T *)w.k + t * w.k_ld, *v = (const T *)w.v + t * w.v_ld;
    const float *angles = w.rope + t * w.rotary_dim;
    for (int i = threadIdx.x; i < w.kv_heads * w.head_dim; i += APPEND_THREADS) {
        int h = i / w.head_dim, d = i % w.head_dim;
        const T *x = k + h * w.head_dim;
        T *to = (T *)w.cache_k + (slot + (int64_t)h * w.page_tokens) * w.head_dim;
        to[d] = w.rope ? tsr_round<T>(tsr_rotated(x, d, angles, w.rotary_dim, w.interleaved)) : x[d];
    }
    for (int i = threadIdx.x; i < w.kv_heads * w.value_dim; i += APPEND_THREADS) {
        int h = i / w.value_dim, d = i % w.value_dim;
        ((T *)w.cache_v + (slot + (int64_t)h * w.page_tokens) * w.value_dim)[d] = v[i];
    }
}

/* The same, 16 bytes at a time: vectors of k first, then those of v. All of a round, and the way to their slot, are under
 * way together. */
template <typename T>
static __device__ void append_vectors(const tsr_attention_work &w, int t, int sequence)
{
    enum { N = tsr_vector<T>::N, AT_ONCE = 4 };
    const T *k = (const T *)w.k + t * w.k_ld, *v = (const T *)w.v + t * w.v_ld;
    int kn = w.head_dim / N, vn = w.value_dim / N, nk = w.kv_heads * kn, n = nk + w.kv_heads * vn;
    int64_t slot = -1;
    for (int first = threadIdx.x; first < n; first += AT_ONCE * APPEND_THREADS) {
        tsr_vector<T> x[AT_ONCE];
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            int i = first + j * APPEND_THREADS;
            if (i < nk)
                x[j] = tsr_turned_vector(w, k + i / kn * w.head_dim, i % kn * N, t);
            else if (i < n)
                x[j] = tsr_load_vector(v + (int64_t)(i - nk) * N);
        }
        if (slot < 0) slot = slot_of(w, t, sequence);
#pragma unroll
        for (int j = 0; j < AT_ONCE; j++) {
            int i = first + j * APPEND_THREADS, h = i < nk ? i / kn : (i - nk) / vn;
            int64_t at = slot + (int64_t)h * w.page_tokens;
            if (i < nk)
                tsr_store_vector((T *)w.cache_k + at * w.head_dim + i % kn * N, x[j]);
            else if (i < n)
                tsr_store_vector((T *)w.cache_v + at * w.value_dim + (i - nk) % vn * N, x[j]);
        }
    }
}

template <typename T, bool vectors>
static __global__ void __launch_bounds__(APPEND_THREADS, 4)
    append_tokens(__grid_constant__ const tsr_attention_work w)
{
    int t = blockIdx.x, sequence = w.sequence[t];
    bool real = t < w.counts->n_tokens;
    tsr_grid_wait();
    tsr_grid_release();
    if (!real) return;
    if (vectors)
        append_vectors<T>(w, t, sequence);
    else
        append_elements<T>(w, t, slot_of(w, t, sequence));
}

static bool whole_vectors(const void *p, int64_t ld, int64_t dim, int64_t size)
{
    return (uintptr_t)p % 16 == 0 && ld * size % 16 == 0 && dim * size % 16 == 0;
}

tsr_status tsr_attention_append(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step)
{
    int64_t size = tsr_dtype_bytes(dtype);
    bool vectors = whole_vectors(w->k, w->k_ld, w->head_dim, size) &&
                   whole_vectors(w->v, w->v_ld, w->value_dim, size) &&
                   whole_vectors(w->cache_k, 0, 0, size) && whole_vectors(w->cache_v, 0, 0, size);
    dim3 grid(step->bound_tokens), block(APPEND_THREADS);
    return TSR_CUDA_BY_DTYPE(
        dtype, T,
        return tsr_launch(step, "attention: append", grid, block, 0,
                          vectors ? append_tokens<T, true> : append_tokens<T, false>, *w));
}
