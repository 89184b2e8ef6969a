/* reduce_push.cu: sums of small messages in one trip (reduce_peers.h).
 *
 * A packet is 16 bytes, {value, flag, value, flag} of 4 bytes each: each 8-byte half arrives whole or not at all, so
 * whoever finds the flag of this collective has the value beside it. A vector of 16 bytes travels as two packets, the
 * packets of a warp side by side. A block has a row, or several; it sends all before it waits for any. */
#include "layers/cuda/kernels/reduce_peers.cuh"

enum { PACKETS = 2 }; /* of a vector */

/* Where the packets of vector i of a row begin; the second one is TSR_WARP further on. Rows take whole warps. */
static __device__ __forceinline__ int64_t packet_at(int row, int64_t row_vectors, int64_t i)
{
    return (row * row_vectors + i / TSR_WARP * TSR_WARP) * PACKETS + i % TSR_WARP;
}

static __device__ __forceinline__ uint4 *packets_of(const tsr_reduce_team &team, int at_rank, int from, int half)
{
    return (uint4 *)(team.arena[at_rank] + team.push_at + (half * team.size + from) * team.push_bytes);
}

static __device__ __forceinline__ void send_packet(uint4 *at, unsigned a, unsigned b, unsigned flag)
{
    asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %2};" ::"l"(at), "r"(a), "r"(flag), "r"(b)
                 : "memory");
}

static __device__ __forceinline__ bool receive_packet(const uint4 *at, unsigned flag, unsigned *a, unsigned *b)
{
    unsigned f, g;
    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(*a), "=r"(f), "=r"(*b), "=r"(g)
                 : "l"(at)
                 : "memory");
    return f == flag && g == flag;
}

template <typename T, int K>
static __device__ __forceinline__ void send_row(const tsr_reduce_team &team, const tsr_reduce_turn &turn, int row,
                                                int64_t vectors, const tsr_vector<T> *x)
{
    int64_t row_vectors = (vectors + TSR_WARP - 1) / TSR_WARP * TSR_WARP;
#pragma unroll 1
    for (int peer = 0; peer < team.size; peer++) {
        if (peer == team.rank) continue;
        uint4 *to = packets_of(team, peer, team.rank, turn.half);
        for (int k = 0; k < K; k++) {
            int64_t i = threadIdx.x + (int64_t)k * blockDim.x;
            if (i >= vectors) continue;
            uint4 v = *(const uint4 *)&x[k];
            uint4 *at = to + packet_at(row, row_vectors, i);
            send_packet(at, v.x, v.y, turn.flag);
            send_packet(at + TSR_WARP, v.z, v.w, turn.flag);
        }
    }
}

/* Vector i of a peer's row. */
template <typename T>
static __device__ __forceinline__ tsr_vector<T> receive(const tsr_reduce_team &team, const tsr_reduce_turn &turn,
                                                        int peer, int64_t at, tsr_reduce_patience *patience)
{
    const uint4 *from = packets_of(team, team.rank, peer, turn.half) + at;
    uint4 v = {};
    patience->begin = 0;
    for (;;) {
        bool first = receive_packet(from, turn.flag, &v.x, &v.y);
        bool second = receive_packet(from + TSR_WARP, turn.flag, &v.z, &v.w);
        if ((first && second) || !tsr_reduce_patient(team, turn.number, peer, patience)) break;
    }
    return *(const tsr_vector<T> *)&v;
}

/* values = the sum over the ranks, in their order; x: our own. */
template <typename T, int K>
static __device__ __forceinline__ void add_ranks(const tsr_reduce_team &team, const tsr_reduce_turn &turn, int row,
                                                 int64_t vectors, const tsr_vector<T> *x,
                                                 tsr_reduce_row<T, K> &values, tsr_reduce_patience *patience)
{
    int64_t row_vectors = (vectors + TSR_WARP - 1) / TSR_WARP * TSR_WARP;
    for (int k = 0; k < K; k++) {
        int64_t i = threadIdx.x + (int64_t)k * blockDim.x;
        for (int j = 0; j < tsr_vector<T>::N; j++) values.x[k][j] = 0;
        if (i >= vectors) continue;
#pragma unroll 1
        for (int q = 0; q < team.size; q++) {
            tsr_vector<T> v = x[k];
            if (q != team.rank) v = receive<T>(team, turn, q, packet_at(row, row_vectors, i), patience);
            tsr_reduce_add(values.x[k], v);
        }
    }
}

template <typename T, int K>
static __device__ __forceinline__ void load_row(const void *data, int64_t ld, int row, int64_t cols,
                                                tsr_vector<T> *x)
{
    const T *from = (const T *)data + row * ld;
    bool aligned = tsr_reduce_aligned<T>(data, ld);
    for (int k = 0; k < K; k++)
        x[k] = tsr_reduce_read(from, aligned, threadIdx.x + (int64_t)k * blockDim.x, cols);
}

template <typename T, int K>
static __device__ __forceinline__ void finish_row(const tsr_reduce_team &team, const tsr_reduce_turn &turn,
                                                  const tsr_reduce_rows &a, int row, int64_t vectors,
                                                  const tsr_vector<T> *x, const tsr_reduce_weights<T> *held,
                                                  tsr_reduce_patience *patience, float *scratch)
{
    tsr_vector<T> residual[K];
    tsr_reduce_row<T, K> values;
    int64_t cols = tsr_reduce_cols(a, row);
    if (a.residual) load_row<T, K>(a.residual, a.residual_ld, row, cols, residual);
    add_ranks<T, K>(team, turn, row, vectors, x, values, patience);
    for (int k = 0; k < K; k++) {
        if (a.residual) tsr_reduce_add(values.x[k], residual[k]);
        tsr_reduce_keep(a, row, cols, k, values);
    }
    if (a.normed) tsr_reduce_norm(a, row, values, held, scratch);
}

template <typename T, int K>
static __global__ void __launch_bounds__(1024)
    push_rows(const __grid_constant__ tsr_reduce_team team, const __grid_constant__ tsr_reduce_rows a,
              int64_t vectors)
{
    __shared__ tsr_reduce_turn turn;
    __shared__ float scratch[TSR_WARP];
    tsr_reduce_patience patience = {};
    tsr_reduce_weights<T> weights;
    tsr_vector<T> x[K];
    if (threadIdx.x == 0) turn = tsr_reduce_take(team);
    if (K == 1 && a.normed) tsr_reduce_load_weights(a, threadIdx.x, &weights);
    tsr_grid_wait();
    load_row<T, K>(a.x, a.x_ld, blockIdx.x, tsr_reduce_cols(a, blockIdx.x), x);
    __syncthreads();
    tsr_grid_release();
    if (turn.failed) return;
    send_row<T, K>(team, turn, blockIdx.x, vectors, x);
    for (int row = blockIdx.x + gridDim.x; row < a.rows; row += gridDim.x) {
        load_row<T, K>(a.x, a.x_ld, row, tsr_reduce_cols(a, row), x);
        send_row<T, K>(team, turn, row, vectors, x);
    }
    for (int row = blockIdx.x; row < a.rows; row += gridDim.x) {
        if (gridDim.x < a.rows) load_row<T, K>(a.x, a.x_ld, row, tsr_reduce_cols(a, row), x);
        finish_row<T, K>(team, turn, a, row, vectors, x, K == 1 ? &weights : NULL, &patience, scratch);
    }
}

enum { THREADS = 1024 };

int64_t tsr_reduce_push_rows(const tsr_reduce_team *team, tsr_dtype dtype, int64_t cols)
{
    int64_t vectors = tsr_reduce_shape_of(dtype, cols, THREADS).vectors;
    int64_t row_bytes = (vectors + TSR_WARP - 1) / TSR_WARP * TSR_WARP * PACKETS * (int64_t)sizeof(uint4);
    return team->push_bytes / row_bytes;
}

tsr_status tsr_reduce_push(const tsr_reduce_team *team, const tsr_reduce_rows *rows, const tsr_cuda_step *step)
{
    tsr_reduce_shape s = tsr_reduce_shape_of(rows->dtype, rows->cols, THREADS);
    return TSR_CUDA_BY_DTYPE(rows->dtype, T, return TSR_REDUCE_BY_K(s.per_thread, K, {
                                 int grid;
                                 TSR_TRY(tsr_reduce_grid(push_rows<T, K>, s.threads, 0, step, rows->rows, &grid));
                                 return tsr_launch(step, "reduce_push", dim3(grid), dim3(s.threads), 0,
                                                   push_rows<T, K>, *team, *rows, s.vectors);
                             }));
}
