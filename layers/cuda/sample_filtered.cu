/* sample_filtered.cu: the choice from rows that top_k, top_p and min_p cut: a block a row, over all its logits.
 *
 * Candidates are ordered by keys of 64 bits, logit first and then the lower id, as in runtime/sampler_candidates.h. What
 * a filter leaves is then all keys from a threshold on, and the threshold is found from its highest digit to its lowest:
 * each round counts, or weighs, the keys by their next 8 bits. Weights are whole numbers in units of 2^-40 of the best
 * token's, so that their sums do not depend on the order of summation: every rank finds the same threshold.
 */
#include "layers/cuda/sample.cuh"

#include <math.h>

namespace {

enum { THREADS = 1024, DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, WEIGHT_BITS = 40 };

struct row_view {
    const float *x; /* [n] */
    int32_t n, first_id;
    float most, scale; /* the largest logit; 1 / temperature */
};

/* What keys of the digit at hand amount to. */
struct amounts {
    unsigned long long weight[DIGITS];
    unsigned count[DIGITS];
};

struct verdict {
    unsigned long long before; /* what greater digits amount to */
    unsigned digit, count;     /* count: keys of this digit */
    bool reached;
};

__device__ __forceinline__ uint64_t key_of(float logit, int32_t id)
{
    uint32_t bits = tsr_float_to_bits(logit + 0.0f); /* -0 becomes +0, which it equals */
    bits ^= bits >> 31 ? UINT32_MAX : UINT32_C(1) << 31;
    return (uint64_t)bits << 32 | (UINT32_MAX - (uint32_t)id);
}

/* 0: no candidate. */
__device__ __forceinline__ uint64_t key_at(const row_view &r, int32_t i)
{
    if (i >= r.n) return 0;
    float l = r.x[i];
    return l > -INFINITY && !tsr_no_number(l) ? key_of(l, r.first_id + i) : 0;
}

__device__ __forceinline__ unsigned long long weight_of(const row_view &r, float logit)
{
    return (unsigned long long)((double)tsr_exp_of((logit - r.most) * r.scale) * (double)(1ull << WEIGHT_BITS));
}

/* Adds a warp's keys: those of one digit are summed among themselves first, since many keys share the few digits that
 * logits of usual size have. `digit` DIGITS: nothing to add. All lanes call. */
template <bool BY_WEIGHT>
__device__ __forceinline__ void add_keys(amounts *a, unsigned digit, unsigned long long weight)
{
    unsigned group = __match_any_sync(0xFFFFFFFFu, digit), lane = threadIdx.x % TSR_WARP;
    bool first = (unsigned)__ffs((int)group) - 1 == lane && digit < DIGITS;
    if constexpr (BY_WEIGHT) {
        enum { HALF = 21 };
        unsigned low = __reduce_add_sync(group, (unsigned)(weight & ((1u << HALF) - 1)));
        unsigned high = __reduce_add_sync(group, (unsigned)(weight >> HALF));
        if (first) atomicAdd(&a->weight[digit], ((unsigned long long)high << HALF) + low);
    }
    if (first) atomicAdd(&a->count[digit], (unsigned)__popc(group));
}

/* By warp 0: from the greatest digit down, the first with which `before` and it amount to `wanted`. */
template <bool BY_WEIGHT>
__device__ void judge(const amounts *a, unsigned long long before, unsigned long long wanted, verdict *out)
{
    enum { EACH = DIGITS / TSR_WARP };
    unsigned lane = threadIdx.x;
    int top = DIGITS - 1 - (int)lane * EACH; /* lane 0 has the greatest digits */
    unsigned long long own = 0, upto;
    for (int i = 0; i < EACH; i++) own += BY_WEIGHT ? a->weight[top - i] : a->count[top - i];
    upto = own;
    for (int k = 1; k < TSR_WARP; k *= 2) {
        unsigned long long left = __shfl_up_sync(0xFFFFFFFFu, upto, k);
        if (lane >= (unsigned)k) upto += left;
    }
    unsigned there = __ballot_sync(0xFFFFFFFFu, before + upto >= wanted);
    if (lane == 0) out->reached = there != 0;
    if (there == 0 || lane != (unsigned)__ffs((int)there) - 1) return;
    unsigned long long sum = before + upto - own;
    for (int i = 0; i < EACH; i++) {
        unsigned long long more = BY_WEIGHT ? a->weight[top - i] : a->count[top - i];
        if (sum + more >= wanted) {
            out->digit = (unsigned)(top - i);
            out->count = a->count[top - i];
            out->before = sum;
            return;
        }
        sum += more;
    }
}

/* The threshold t >= least such that the keys >= t are the fewest that amount to `wanted` (> 0), counted or weighed;
 * `least` if all of them do not. On every thread. */
template <bool BY_WEIGHT>
__device__ uint64_t find_threshold(const row_view &r, uint64_t least, unsigned long long wanted, amounts *a, verdict *v)
{
    uint64_t prefix = 0;
    unsigned long long before = 0;
    for (int shift = 64 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        __syncthreads();
        for (int d = threadIdx.x; d < DIGITS; d += THREADS) a->weight[d] = a->count[d] = 0;
        __syncthreads();
        for (int32_t base = 0; base < r.n; base += THREADS) {
            uint64_t key = key_at(r, base + (int32_t)threadIdx.x);
            bool in = key >= least && key != 0 && (shift == 64 - DIGIT_BITS || key >> (shift + DIGIT_BITS) == prefix);
            if (!__any_sync(0xFFFFFFFFu, in)) continue;
            unsigned digit = in ? (unsigned)(key >> shift) % DIGITS : DIGITS;
            unsigned long long weight = BY_WEIGHT && in ? weight_of(r, r.x[base + (int32_t)threadIdx.x]) : 0;
            add_keys<BY_WEIGHT>(a, digit, weight);
        }
        __syncthreads();
        if (threadIdx.x < TSR_WARP) judge<BY_WEIGHT>(a, before, wanted, v);
        __syncthreads();
        if (!v->reached) return least;
        prefix = prefix << DIGIT_BITS | v->digit;
        before = v->before;
        /* Nothing is left to separate: one key, or all that the digit has are among the wanted ones. */
        bool whole = !BY_WEIGHT && before + v->count == wanted;
        if (v->count == 1 || whole) return max(prefix << shift, least);
    }
    return max(prefix, least);
}

__device__ float block_max(const row_view &r, float *scratch)
{
    float most = -INFINITY;
    for (int32_t i = threadIdx.x; i < r.n; i += THREADS) most = fmaxf(most, r.x[i]);
    most = tsr_warp_max(most);
    if (threadIdx.x % TSR_WARP == 0) scratch[threadIdx.x / TSR_WARP] = most;
    __syncthreads();
    return tsr_warp_max(scratch[threadIdx.x % TSR_WARP]);
}

__device__ unsigned long long total_weight(const row_view &r, uint64_t least, unsigned long long *total)
{
    unsigned long long sum = 0;
    for (int32_t i = threadIdx.x; i < r.n; i += THREADS) {
        uint64_t key = key_at(r, i);
        if (key != 0 && key >= least) sum += weight_of(r, r.x[i]);
    }
    for (int k = TSR_WARP / 2; k > 0; k /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, k);
    if (threadIdx.x == 0) *total = 0;
    __syncthreads();
    if (threadIdx.x % TSR_WARP == 0) atomicAdd(total, sum);
    __syncthreads();
    return *total;
}

/* The winner of the draw among the keys from `least` on whose probability is not below the floor. */
__device__ tsr_scored draw(const row_view &r, const tsr_cuda_choice &c, uint64_t least, tsr_scored *scratch)
{
    double floor = c.min_p > 0 ? log((double)c.min_p) : -INFINITY;
    tsr_scored best = {0, -1};
    for (int32_t i = threadIdx.x; i < r.n; i += THREADS) {
        uint64_t key = key_at(r, i);
        if (key == 0 || key < least) continue;
        double gap = ((double)r.x[i] - r.most) * c.scale;
        if (gap < floor) continue;
        int32_t id = r.first_id + i;
        best = tsr_better(best, tsr_scored{gap + tsr_gumbel_of(c.key, (uint32_t)id), id});
    }
    return tsr_block_best(best, scratch);
}

__global__ void __launch_bounds__(THREADS)
    choose_filtered(const tsr_cuda_sample s, const float *logits, int64_t ld, int32_t n, int32_t first_id)
{
    __shared__ amounts sums;
    __shared__ verdict said;
    __shared__ unsigned long long total;
    __shared__ float floats[TSR_WARP];
    __shared__ tsr_scored scored[TSR_WARP];
    const tsr_cuda_choice c = s.choices[blockIdx.x];
    if (!tsr_is_filtered(c, s.vocabulary)) return;
    row_view r = {logits + blockIdx.x * ld, n, first_id, 0, c.scale};
    r.most = block_max(r, floats);
    uint64_t least = 0;
    if (c.top_k > 0 && c.top_k < s.vocabulary)
        least = find_threshold<false>(r, 0, (unsigned long long)c.top_k, &sums, &said);
    if (c.top_p < 1) {
        unsigned long long all = total_weight(r, least, &total);
        unsigned long long wanted = (unsigned long long)ceil((double)c.top_p * (double)all);
        wanted = min(max(wanted, 1ull), max(all, 1ull));
        least = find_threshold<true>(r, least, wanted, &sums, &said);
    }
    tsr_scored best = draw(r, c, least, scored);
    if (threadIdx.x != 0) return;
    tsr_cuda_finding *out = &s.parts[blockIdx.x * TSR_SAMPLE_SPLITS];
    out->score = best.score;
    out->id = best.id;
    out->value = best.id >= 0 ? r.x[best.id - first_id] : 0;
}

} /* namespace */

tsr_status tsr_cuda_sample_filtered(const tsr_cuda_sample *s, const float *logits, int64_t ld, int32_t n,
                                    int32_t first_id, const tsr_cuda_step *step)
{
    return tsr_launch(step, "sampling", dim3((unsigned)s->n_rows), dim3(THREADS), 0, choose_filtered, *s, logits, ld, n,
                      first_id);
}
