/* reduce_push.cu: sums of small messages in one trip (reduce_peers.h).
 *
 * A packet is 16 bytes, {value, flag, value, flag} of 4 bytes each: each 8-byte half arrives whole or not at all, so
 * whoever finds the flag of this collective has the value beside it. A vector of 16 bytes travels as two packets, the
 * packets of a warp side by side. Where there are few rows each is spread over the blocks of a cluster, since few warps
 * wait faster than many; where there are more a block has a row, or several. All are sent before one is waited for. */
#include "layers/cuda/kernels/reduce_peers.cuh"

#include <assert.h>

/* --- Clusters --- */

static __device__ __forceinline__ void cluster_arrive(void)
{
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}

static __device__ __forceinline__ void cluster_wait(void)
{
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

/* *p of block `rank` of the cluster = x. */
static __device__ __forceinline__ void cluster_store(float *p, int rank, float x)
{
    unsigned here = (unsigned)__cvta_generic_to_shared(p), there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(there), "f"(x) : "memory");
}

/* The blocks of a row: each warp leaves its sum with all of them. Sums take turns in two places, so that one can be read
 * while the next is written. At most TSR_WARP warps a row. */
struct row_team {
    int part, parts; /* this block, of so many */
    float (*scratch)[TSR_WARP];
    int turn;
    __device__ __forceinline__ float sum(float x)
    {
        int lane = threadIdx.x % TSR_WARP, warps = blockDim.x / TSR_WARP;
        float *place = scratch[turn++ % 2];
        x = tsr_warp_sum(x);
        if (parts == 1) {
            if (lane == 0) place[threadIdx.x / TSR_WARP] = x;
            __syncthreads();
        } else {
            if (lane < parts) cluster_store(place + part * warps + threadIdx.x / TSR_WARP, lane, x);
            cluster_arrive();
            cluster_wait();
        }
        return tsr_warp_sum(lane < parts * warps ? place[lane] : 0);
    }
};

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

static __device__ __forceinline__ int padded(int vectors)
{
    return (vectors + TSR_WARP - 1) / TSR_WARP * TSR_WARP;
}

template <typename T, int K>
static __device__ __forceinline__ void send_row(const tsr_reduce_team &team, const tsr_reduce_turn &turn, int row,
                                                int vectors, tsr_reduce_place place, const tsr_vector<T> *x)
{
#pragma unroll 1
    for (int peer = 0; peer < team.size; peer++) {
        if (peer == team.rank) continue;
        uint4 *to = packets_of(team, peer, team.rank, turn.half);
        for (int k = 0; k < K; k++) {
            if (place.at(k) >= vectors) continue;
            uint4 v = *(const uint4 *)&x[k];
            uint4 *at = to + packet_at(row, padded(vectors), place.at(k));
            send_packet(at, v.x, v.y, turn.flag);
            send_packet(at + TSR_WARP, v.z, v.w, turn.flag);
        }
    }
}

/* A vector of a peer's row. */
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
                                                 int vectors, tsr_reduce_place place, const tsr_vector<T> *x,
                                                 tsr_reduce_row<T, K> &values, tsr_reduce_patience *patience)
{
    for (int k = 0; k < K; k++) {
        for (int j = 0; j < tsr_vector<T>::N; j++) values.x[k][j] = 0;
        if (place.at(k) >= vectors) continue;
        int64_t at = packet_at(row, padded(vectors), place.at(k));
#pragma unroll 1
        for (int q = 0; q < team.size; q++) {
            tsr_vector<T> v = x[k];
            if (q != team.rank) v = receive<T>(team, turn, q, at, patience);
            tsr_reduce_add(values.x[k], v);
        }
    }
}

template <typename T, int K>
static __device__ __forceinline__ void finish_row(const tsr_reduce_team &team, const tsr_reduce_turn &turn,
                                                  const tsr_reduce_rows &a, int row, int vectors,
                                                  tsr_reduce_place place, const tsr_vector<T> *x,
                                                  const tsr_reduce_weights<T> *held,
                                                  tsr_reduce_patience *patience, row_team &blocks)
{
    tsr_vector<T> residual[K];
    tsr_reduce_row<T, K> values;
    int64_t cols = tsr_reduce_cols(a, row);
    if (a.residual) tsr_reduce_read_row<T, K>(a.residual, a.residual_ld, row, cols, place, residual);
    add_ranks<T, K>(team, turn, row, vectors, place, x, values, patience);
    for (int k = 0; k < K; k++) {
        if (a.residual) tsr_reduce_add(values.x[k], residual[k]);
        tsr_reduce_keep<T>(a, row, cols, place.at(k), values.x[k]);
    }
    if (a.normed) tsr_reduce_norm<T, K>(a, row, place, values, held, [&](float s) { return blocks.sum(s); });
}

enum {
    THREADS = 512,     /* of a block, at most */
    FEW_THREADS = 128, /* of a block of a cluster, if it can be */
    MOST_PARTS = 8,    /* blocks of a row */
    ROW_THREADS = TSR_WARP * TSR_WARP /* of a row in all: a sum has a place for each warp */
};

template <typename T, int K>
static __global__ void __launch_bounds__(THREADS)
    push_rows(const __grid_constant__ tsr_reduce_team team, const __grid_constant__ tsr_reduce_rows a, int vectors,
              int parts)
{
    __shared__ tsr_reduce_turn turn;
    __shared__ float scratch[2][TSR_WARP];
    row_team blocks = {(int)blockIdx.x % parts, parts, scratch, 0};
    tsr_reduce_place place = {(int)threadIdx.x + blocks.part * (int)blockDim.x, (int)blockDim.x * parts};
    tsr_reduce_patience patience = {};
    tsr_reduce_weights<T> weights;
    tsr_vector<T> x[K];
    int first = blockIdx.x / parts, stride = gridDim.x / parts;
    if (parts > 1) cluster_arrive(); /* all blocks of the row have begun before one writes into another */
    if (threadIdx.x == 0) turn = tsr_reduce_take(team);
    if (K == 1 && a.normed) tsr_reduce_load_weights(a, place.first, &weights);
    tsr_grid_wait();
    tsr_reduce_read_row<T, K>(a.x, a.x_ld, first, tsr_reduce_cols(a, first), place, x);
    __syncthreads();
    tsr_grid_release();
    if (parts > 1) cluster_wait();
    patience.lost = turn.failed; /* but stay: blocks of a cluster may have seen different things */
    if (!turn.failed) send_row<T, K>(team, turn, first, vectors, place, x);
    for (int row = first + stride; row < a.rows && !turn.failed; row += stride) {
        tsr_reduce_read_row<T, K>(a.x, a.x_ld, row, tsr_reduce_cols(a, row), place, x);
        send_row<T, K>(team, turn, row, vectors, place, x);
    }
    for (int row = first; row < a.rows; row += stride) {
        if (stride < a.rows) tsr_reduce_read_row<T, K>(a.x, a.x_ld, row, tsr_reduce_cols(a, row), place, x);
        finish_row<T, K>(team, turn, a, row, vectors, place, x, K == 1 ? &weights : NULL, &patience, blocks);
    }
}

/* --- Host --- */

int64_t tsr_reduce_push_rows(const tsr_reduce_team *team, tsr_dtype dtype, int64_t cols)
{
    int vectors = tsr_reduce_vectors(dtype, cols);
    int64_t row_bytes = (vectors + TSR_WARP - 1) / TSR_WARP * TSR_WARP * PACKETS * (int64_t)sizeof(uint4);
    return team->push_bytes / row_bytes;
}

/* How a row is spread: over blocks first, then over the vectors of a thread. */
typedef struct push_shape {
    int vectors, parts, per_thread, threads;
} push_shape;

/* Measured on two H200 with rows of 4096 bfloat16 (8 KB), us in a graph; a row in 4 blocks | in one:
 * 1 row 2.95 | 3.13; 2 rows 3.07 | 3.15; 4 rows 3.25 | 3.17; 16 rows 4.56 | 3.80. Rows of 4 KB: 2.89 in 2 | 2.58. */
static bool worth_a_cluster(const tsr_reduce_rows *rows, int vectors)
{
    return rows->rows <= 2 && vectors > 2 * FEW_THREADS;
}

static push_shape shape_of(const tsr_reduce_team *team, const tsr_reduce_rows *rows)
{
    push_shape s = {tsr_reduce_vectors(rows->dtype, rows->cols), 1, 1, 0};
    int most = team->blocks_per_row > 0 ? team->blocks_per_row : worth_a_cluster(rows, s.vectors) ? MOST_PARTS : 1;
    while (s.parts * FEW_THREADS < s.vectors && 2 * s.parts <= most) s.parts *= 2;
    while (s.parts * THREADS < s.vectors && s.parts < MOST_PARTS) s.parts *= 2;
    while (s.per_thread * ROW_THREADS < s.vectors) s.per_thread *= 2;
    int each = s.parts * s.per_thread, wanted = (s.vectors + each - 1) / each;
    s.threads = (wanted + TSR_WARP - 1) / TSR_WARP * TSR_WARP;
    assert(s.threads <= THREADS && s.threads * s.parts <= ROW_THREADS);
    return s;
}

template <typename T, int K>
static tsr_status launch(const tsr_reduce_team *team, const tsr_reduce_rows *rows, push_shape s,
                         const tsr_cuda_step *step)
{
    cudaLaunchAttribute attributes[2] = {};
    int n = 0, grid;
    TSR_TRY(tsr_reduce_grid(push_rows<T, K>, s.threads, 0, step, rows->rows * s.parts, &grid));
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(grid / s.parts * s.parts);
    config.blockDim = dim3(s.threads);
    config.stream = step->stream;
    if (s.parts > 1) {
        attributes[n].id = cudaLaunchAttributeClusterDimension;
        attributes[n].val.clusterDim.x = s.parts;
        attributes[n].val.clusterDim.y = attributes[n].val.clusterDim.z = 1;
        n++;
    }
    if (step->overlap) {
        attributes[n].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[n++].val.programmaticStreamSerializationAllowed = 1;
    }
    config.attrs = attributes;
    config.numAttrs = n;
    return tsr_cuda_check(cudaLaunchKernelEx(&config, push_rows<T, K>, *team, *rows, s.vectors, s.parts),
                          "reduce_push");
}

tsr_status tsr_reduce_push(const tsr_reduce_team *team, const tsr_reduce_rows *rows, const tsr_cuda_step *step)
{
    push_shape s = shape_of(team, rows);
    return TSR_CUDA_BY_DTYPE(
        rows->dtype, T, return TSR_REDUCE_BY_K(s.per_thread, K, return (launch<T, K>(team, rows, s, step))));
}
