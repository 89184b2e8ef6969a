/* attention.cuh: the parts of op attention on a GPU. attention.cu chooses among them:
 *
 *   attention_append.cu   this step's k and v into the pages of the cache, k rotated on its way
 *   attention_decode.cu   sequences with one token in this step: the keys are split over blocks
 *   attention_prefill.cu  sequences with several: tiles of query rows
 *   attention_wgmma.cu    the same, faster, for some head sizes on architecture 9.0a
 *   attention_simple.cu   any sizes, any dtype: a block per token and head
 *
 * All walk the keys with a running softmax: m' = max(m, max_j s_j), p_j = 2^(s_j - m'), l = l 2^(m - m') + sum p_j,
 * o = o 2^(m - m') + sum p_j v_j, and out = o / l at the end, where s_j = log2(e) (scale q.k_j + bias): powers of 2 are
 * what the hardware has. A key j is visible from position i iff j <= i or j is in the sequence's prefix
 * (layers/prefix.h), and i - j < window if there is one.
 *
 * Biases are those of layers/alibi.h. The kernels on tensor cores are compiled with and without them, so that models
 * without any do not pay for them.
 */
#ifndef TSR_LAYERS_CUDA_KERNELS_ATTENTION_CUH
#define TSR_LAYERS_CUDA_KERNELS_ATTENTION_CUH

#include "layers/cuda/device.cuh"
#include "layers/cuda/kernels/tensor_core.cuh"

/* Where a running maximum begins: below every score, and 2^(-infinity - this) is 0, not NaN. */
#define TSR_LOWEST_SCORE (-1e30f)
#define TSR_LOG2_E 1.4426950408889634f

/* Floats before the sums of a partial result: m, l, and what keeps vectors aligned. */
enum { TSR_PARTIAL_HEAD = 4 };

/* One call's operands and sizes, as its kernels get them. Rows of q, k, v and out are the step's tokens. */
typedef struct tsr_attention_work {
    const void *q, *k, *v;
    void *out;
    int64_t q_ld, k_ld, v_ld, out_ld;
    void *cache_k, *cache_v;
    const tsr_cuda_counts *counts;
    const tsr_cuda_sequence *sequences;
    const int32_t *sequence, *pages;
    const float *rope; /* [T][rotary_dim]: cosines, then sines; NULL: q and k come as they are to be used */
    int rotary_dim;
    bool interleaved;
    int heads, kv_heads, head_dim, value_dim, page_tokens;
    int group, first_head, first_kv; /* as in tsr_attrs */
    float scale;                     /* log2(e) is in it */
    int32_t window;                  /* 0: none */
    float alibi;      /* 0: none, else the factor of the biases, log2(e) in it as well */
    float slope_step; /* head h has the slope 2^(-slope_step (h + 1)) for h < slope_heads, */
    int slope_heads;  /* 2^(-slope_step (h - slope_heads + 1/2)) beyond */
    bool alibi_bf16;
    bool append;       /* decode: this step's k and v are not in the cache yet: use them and put them there */
    bool skip_singles; /* prefill: sequences with one token are done elsewhere */
    float *partial;    /* decode: [sequence][head][splits][TSR_PARTIAL_HEAD + value_dim] */
    int most_splits;
} tsr_attention_work;

/* Can the tensor core kernels do it? They want float16 or bfloat16, certain head sizes and whole 16-byte vectors. */
bool tsr_attention_is_fast(const tsr_cuda_call *call);

tsr_status tsr_attention_append(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step);
tsr_status tsr_attention_decode(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step);
tsr_status tsr_attention_prefill(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step);
/* Is there a kernel for this device that does what tsr_attention_prefill does, and faster? */
bool tsr_attention_has_wgmma(int head_dim);
tsr_status tsr_attention_wgmma(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step);
tsr_status tsr_attention_simple(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step);

/* Into how many pieces the keys of a sequence are cut at most, in a step of `sequences`. */
int tsr_attention_most_splits(int kv_heads, int heads_per_kv, int sequences, int n_processors);
/* Query heads that a block of the decode kernel takes, of those that share a kv head. */
int tsr_attention_decode_heads(int heads_per_kv, int head_dim);

/* Most local query heads that share a kv head. */
static inline int tsr_attention_heads_per_kv(int heads, int group)
{
    return heads < group ? heads : group;
}

/* X(D) for the head sizes that the tensor core kernels are made for */
#define TSR_ATTENTION_SIZES(X) X(64) X(80) X(96) X(112) X(128) X(256)

/* --- On the device --- */

/* The local query heads that read local kv head c: *first .. *first + the result - 1. */
static __device__ __forceinline__ int tsr_heads_of(const tsr_attention_work &w, int c, int *first)
{
    int global = (c + w.first_kv) * w.group - w.first_head;
    *first = max(0, global);
    return min(w.heads, global + w.group) - *first;
}

/* The first visible position, seen from `position`. */
static __device__ __forceinline__ int tsr_first_visible(const tsr_attention_work &w, int position)
{
    return w.window > 0 ? max(0, position - w.window + 1) : 0;
}

/* The position behind the last that the sequence's token at `position` sees. */
static __device__ __forceinline__ int tsr_visible_end(const tsr_cuda_sequence &s, int position)
{
    return max(position + 1, s.prefix);
}

static __device__ __forceinline__ float tsr_rounded_bf16(float x)
{
    return __bfloat162float(__float2bfloat16_rn(x));
}

/* The slope of local query head h. */
static __device__ __forceinline__ float tsr_slope(const tsr_attention_work &w, int h)
{
    int head = w.first_head + h;
    float steps = head < w.slope_heads ? head + 1 : head - w.slope_heads + 0.5f;
    float slope = exp2f(-w.slope_step * steps);
    return w.alibi_bf16 ? tsr_rounded_bf16(slope) : slope;
}

/* The bias of key position j for a query at position i, by the slope from above; without log2(e) and the factor. */
static __device__ __forceinline__ float tsr_bias(const tsr_attention_work &w, float slope, int i, int j)
{
    if (!w.alibi_bf16) return slope * (float)(j - i);
    return tsr_rounded_bf16(slope * tsr_rounded_bf16((float)j)) -
           tsr_rounded_bf16(slope * tsr_rounded_bf16((float)i));
}

/* Element d of a head's vector x, rotated by its token's angles. */
template <typename T>
static __device__ __forceinline__ float tsr_rotated(const T *x, int d, const float *angles, int dims,
                                                    bool interleaved)
{
    if (d >= dims) return tsr_float(x[d]);
    int half = dims / 2, i = interleaved ? d / 2 : d % half;
    bool second = interleaved ? d & 1 : d >= half;
    int step = interleaved ? 1 : half;
    float other = tsr_float(x[second ? d - step : d + step]) * angles[half + i];
    return tsr_float(x[d]) * angles[i] + (second ? other : -other);
}

/* Elements d .. d + N - 1 of x, d a multiple of N, x and its vectors aligned. */
template <typename T>
static __device__ __forceinline__ tsr_vector<T> tsr_rotated_vector(const T *x, int d, const float *angles,
                                                                   int dims, bool interleaved)
{
    enum { N = tsr_vector<T>::N };
    tsr_vector<T> v = tsr_load_vector(x + d), r;
    if (d >= dims) return v;
    int half = dims / 2;
    if (!interleaved && half % N == 0 && (uintptr_t)angles % 16 == 0) {
        bool second = d >= half;
        tsr_vector<T> other = tsr_load_vector(x + (second ? d - half : d + half));
        const float *c = angles + (second ? d - half : d);
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            tsr_vector<float> cosine = tsr_load_vector(c + i), sine = tsr_load_vector(c + half + i);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float turned = tsr_float(other.x[i + j]) * sine.x[j];
                r.x[i + j] = tsr_round<T>(tsr_float(v.x[i + j]) * cosine.x[j] + (second ? turned : -turned));
            }
        }
        return r;
    }
#pragma unroll
    for (int i = 0; i < N; i++) r.x[i] = tsr_round<T>(tsr_rotated(x, d + i, angles, dims, interleaved));
    return r;
}

/* The same where there may be no rope; `token` is the row of the angles. */
template <typename T>
static __device__ __forceinline__ tsr_vector<T> tsr_turned_vector(const tsr_attention_work &w, const T *x,
                                                                  int d, int64_t token)
{
    if (!w.rope) return tsr_load_vector(x + d);
    return tsr_rotated_vector(x, d, w.rope + token * w.rotary_dim, w.rotary_dim, w.interleaved);
}

static __device__ __forceinline__ float tsr_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Two numbers of 16 bits in a register, the first in its low half. */
static __device__ __forceinline__ uint32_t tsr_pair(__nv_bfloat16, float low, float high)
{
    __nv_bfloat162 p = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&p);
}
static __device__ __forceinline__ uint32_t tsr_pair(__half, float low, float high)
{
    __half2 p = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&p);
}

#endif
