/* reduce_peers.cuh: what the kernels of reduce_peers.h share: counting collectives, waiting for peers, and a row held
 * in the registers of a block. */
#ifndef TSR_LAYERS_CUDA_KERNELS_REDUCE_PEERS_CUH
#define TSR_LAYERS_CUDA_KERNELS_REDUCE_PEERS_CUH

#include "layers/cuda/device.cuh"
#include "layers/cuda/kernels/reduce_peers.h"

/* --- Which collective this is --- */

struct tsr_reduce_turn {
    unsigned long long number; /* from 1 */
    unsigned flag;             /* says "of this collective"; never 0; comes again after 2^31 - 1 of them */
    int half;
    bool failed; /* an earlier one failed: do nothing */
};

/* A thread of each block takes part once, in any order: together the blocks of a launch add 2^16, and not before the
 * last of them does the sum carry into the number. So each block reads the number and none reads a later one. */
static __device__ __forceinline__ tsr_reduce_turn tsr_reduce_take(const tsr_reduce_team &team)
{
    unsigned long long add = blockIdx.x == 0 ? (1ull << 16) - (gridDim.x - 1) : 1;
    unsigned long long before = atomicAdd(&team.state->turns, add) >> 16;
    tsr_reduce_turn t;
    t.number = before + 1;
    t.flag = (unsigned)(before % 0x7FFFFFFF) + 1;
    t.half = (int)(before & 1);
    t.failed = *(volatile unsigned *)&team.state->failed != 0;
    return t;
}

/* --- Waiting --- */

static __device__ __forceinline__ unsigned long long tsr_reduce_clock(void)
{
    unsigned long long ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}

/* The patience of one thread through a whole launch. */
struct tsr_reduce_patience {
    unsigned spins;
    unsigned long long begin; /* of this wait; 0: not looked yet */
    bool lost;
};

/* Now and then: is there a reason to stop waiting for `peer`? */
static __device__ __forceinline__ void tsr_reduce_look(const tsr_reduce_team &team, unsigned long long number,
                                                       int peer, tsr_reduce_patience *p)
{
    unsigned long long now = tsr_reduce_clock();
    if (p->begin == 0) p->begin = now;
    if (now - p->begin > team.limit || team.notice->abort) {
        team.notice->missing[peer] = 1;
        team.notice->number = number;
        __threadfence_system();
        team.notice->failed = 1;
        *(volatile unsigned *)&team.state->failed = 1;
    }
    p->lost = *(volatile unsigned *)&team.state->failed != 0;
}

/* One turn of a wait; false: give up, here and in all later waits. */
static __device__ __forceinline__ bool tsr_reduce_patient(const tsr_reduce_team &team,
                                                          unsigned long long number, int peer,
                                                          tsr_reduce_patience *p)
{
    if (p->lost) return false;
    if (++p->spins % 1024 == 0) tsr_reduce_look(team, number, peer, p);
    return !p->lost;
}

/* Until the flag is that of this collective. What `peer` wrote before it raised the flag is then there, for this thread
 * and, after a barrier, for its block. */
static __device__ __forceinline__ void tsr_reduce_wait_flag(const tsr_reduce_team &team, const tsr_reduce_turn &turn,
                                                            const unsigned *flag, int peer, tsr_reduce_patience *p)
{
    p->begin = 0;
    for (;;) {
        unsigned found;
        asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(found) : "l"(flag) : "memory");
        if (found == turn.flag || !tsr_reduce_patient(team, turn.number, peer, p)) return;
    }
}

/* Values that came from elsewhere since the kernel began: not through the first cache. */
template <typename T> static __device__ __forceinline__ tsr_vector<T> tsr_reduce_arrived(const uint4 *p)
{
    uint4 v = __ldcg(p);
    return *(const tsr_vector<T> *)&v;
}

/* --- A row in registers --- */

/* Which vectors of a row this thread holds: first, first + stride, ... K of them, as far as there are. */
struct tsr_reduce_place {
    int first, stride;
    __device__ __forceinline__ int at(int k) const
    {
        return first + k * stride;
    }
};

static __device__ __forceinline__ tsr_reduce_place tsr_reduce_whole_row(void)
{
    tsr_reduce_place p = {(int)threadIdx.x, (int)blockDim.x};
    return p;
}

template <typename T, int K> struct tsr_reduce_row {
    enum { N = tsr_vector<T>::N };
    float x[K][N];
};

template <typename T> static __device__ __forceinline__ bool tsr_reduce_aligned(const void *data, int64_t ld)
{
    return (((uintptr_t)data | (uintptr_t)(ld * (int64_t)sizeof(T))) & 15) == 0;
}

/* Vector i of a row of `cols`; zeros beyond. */
template <typename T>
static __device__ __forceinline__ tsr_vector<T> tsr_reduce_read(const T *row, bool aligned, int64_t i,
                                                                int64_t cols)
{
    const int N = tsr_vector<T>::N;
    if (aligned && (i + 1) * N <= cols) return tsr_load_vector(row + i * N);
    tsr_vector<T> v;
    for (int j = 0; j < N; j++) v.x[j] = i * N + j < cols ? row[i * N + j] : tsr_round<T>(0.0f);
    return v;
}

template <typename T>
static __device__ __forceinline__ void tsr_reduce_write(T *row, bool aligned, int64_t i, int64_t cols,
                                                        const tsr_vector<T> &v)
{
    const int N = tsr_vector<T>::N;
    if (aligned && (i + 1) * N <= cols) {
        tsr_store_vector(row + i * N, v);
        return;
    }
    for (int j = 0; j < N; j++)
        if (i * N + j < cols) row[i * N + j] = v.x[j];
}

template <typename T>
static __device__ __forceinline__ void tsr_reduce_add(float *sum, const tsr_vector<T> &v)
{
    for (int j = 0; j < tsr_vector<T>::N; j++) sum[j] += tsr_float(v.x[j]);
}

template <int N>
static __device__ __forceinline__ void tsr_reduce_floats(const float *p, int64_t i, int64_t cols, float absent,
                                                         float *out)
{
    if (p && (i + 1) * N <= cols) {
        for (int j = 0; j < N; j += 4) {
            tsr_vector<float> v = tsr_load_vector(p + i * N + j);
            for (int k = 0; k < 4; k++) out[j + k] = v.x[k];
        }
        return;
    }
    for (int j = 0; j < N; j++) out[j] = p && i * N + j < cols ? p[i * N + j] : absent;
}

/* Weights of the norm for the columns of one vector. */
template <typename T> struct tsr_reduce_weights {
    float w[tsr_vector<T>::N], b[tsr_vector<T>::N];
};

template <typename T>
static __device__ __forceinline__ void tsr_reduce_load_weights(const tsr_reduce_rows &a, int64_t i,
                                                               tsr_reduce_weights<T> *weights)
{
    tsr_reduce_floats<tsr_vector<T>::N>(a.w, i, a.cols, 1, weights->w);
    tsr_reduce_floats<tsr_vector<T>::N>(a.b, i, a.cols, 0, weights->b);
}

/* The norm of the row in registers (formulas: layers/ops.h), variance around the mean. `sum` adds a number over all
 * threads of the row, on each. `held`: the weights, where they have been loaded before (K == 1); NULL: not yet. */
template <typename T, int K, typename Sum>
static __device__ __forceinline__ void tsr_reduce_norm(const tsr_reduce_rows &a, int row, tsr_reduce_place place,
                                                       tsr_reduce_row<T, K> &values,
                                                       const tsr_reduce_weights<T> *held, Sum sum)
{
    const int N = tsr_vector<T>::N;
    T *to = (T *)a.normed + row * a.normed_ld;
    bool aligned = tsr_reduce_aligned<T>(a.normed, a.normed_ld);
    float mean = 0, squares = 0, share = 1 / (float)a.cols;
    if (a.norm == TSR_NORM_LAYER) {
        for (int k = 0; k < K; k++)
            for (int j = 0; j < N; j++) mean += values.x[k][j];
        mean = sum(mean) * share;
    }
    for (int k = 0; k < K; k++)
        for (int j = 0; j < N; j++) {
            float d = (int64_t)place.at(k) * N + j < a.cols ? values.x[k][j] - mean : 0;
            squares += d * d;
        }
    float scale = rsqrtf(sum(squares) * share + a.eps);
    for (int k = 0; k < K; k++) {
        tsr_vector<T> v;
        tsr_reduce_weights<T> weights;
        if (held)
            weights = *held;
        else
            tsr_reduce_load_weights(a, place.at(k), &weights);
        for (int j = 0; j < N; j++)
            v.x[j] = tsr_round<T>((values.x[k][j] - mean) * scale * weights.w[j] + weights.b[j]);
        tsr_reduce_write(to, aligned, place.at(k), a.cols, v);
    }
}

/* Vector i of the sum: rounded, stored, and kept as the number it was rounded to. */
template <typename T>
static __device__ __forceinline__ tsr_vector<T> tsr_reduce_keep(const tsr_reduce_rows &a, int row, int64_t cols,
                                                                int i, float *values)
{
    tsr_vector<T> v;
    for (int j = 0; j < tsr_vector<T>::N; j++) {
        v.x[j] = tsr_round<T>(values[j]);
        values[j] = tsr_float(v.x[j]);
    }
    tsr_reduce_write((T *)a.sum + row * a.sum_ld, tsr_reduce_aligned<T>(a.sum, a.sum_ld), i, cols, v);
    return v;
}

template <typename T, int K>
static __device__ __forceinline__ void tsr_reduce_read_row(const void *data, int64_t ld, int row, int64_t cols,
                                                           tsr_reduce_place place, tsr_vector<T> *x)
{
    const T *from = (const T *)data + row * ld;
    bool aligned = tsr_reduce_aligned<T>(data, ld);
    for (int k = 0; k < K; k++) x[k] = tsr_reduce_read(from, aligned, place.at(k), cols);
}

static __device__ __forceinline__ int64_t tsr_reduce_cols(const tsr_reduce_rows &a, int row)
{
    return row == a.rows - 1 ? a.last_cols : a.cols;
}

/* --- Launches --- */

typedef struct tsr_reduce_shape {
    int vectors; /* of a row */
    int per_thread, threads;
} tsr_reduce_shape;

static inline int tsr_reduce_vectors(tsr_dtype dtype, int64_t cols)
{
    int each = 16 / tsr_dtype_bytes(dtype);
    return (int)((cols + each - 1) / each);
}

/* A block for a row: 1, 2 or 4 vectors a thread, and at most 1024 threads; 1 only as long as `threads` do. */
static inline tsr_reduce_shape tsr_reduce_shape_of(tsr_dtype dtype, int64_t cols, int threads)
{
    tsr_reduce_shape s = {};
    s.vectors = tsr_reduce_vectors(dtype, cols);
    s.per_thread = s.vectors <= threads ? 1 : s.vectors <= 2 * 1024 ? 2 : 4;
    int wanted = (s.vectors + s.per_thread - 1) / s.per_thread;
    s.threads = (wanted + TSR_WARP - 1) / TSR_WARP * TSR_WARP;
    return s;
}

/* Calls f with K as a compile-time constant. */
#define TSR_REDUCE_BY_K(per_thread, K, ...)                                                                  \
    [&]() -> tsr_status {                                                                                    \
        if ((per_thread) == 1) {                                                                             \
            constexpr int K = 1;                                                                             \
            __VA_ARGS__;                                                                                     \
        }                                                                                                    \
        if ((per_thread) == 2) {                                                                             \
            constexpr int K = 2;                                                                             \
            __VA_ARGS__;                                                                                     \
        }                                                                                                    \
        constexpr int K = 4;                                                                                 \
        __VA_ARGS__;                                                                                         \
    }()

/* Blocks of this kernel that can be on the device at once, at most `wanted`. */
template <typename Kernel>
static tsr_status tsr_reduce_grid(Kernel kernel, int threads, int per_processor, const tsr_cuda_step *step,
                                  int wanted, int *grid)
{
    int fit = 0;
    tsr_status s = tsr_cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, kernel, threads, 0),
                                  "blocks of a collective");
    if (s != TSR_OK) return s;
    if (per_processor > 0 && per_processor < fit) fit = per_processor;
    int most = fit * step->n_processors;
    *grid = wanted < most ? wanted : most;
    return TSR_OK;
}

#endif
