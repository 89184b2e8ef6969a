/* reduce_direct.cu: sums of large messages between few ranks, in one trip (reduce_peers.h).
 *
 * Some blocks send, and never wait: a few rows at a time, behind them a fence and the rows' flags, one for each rank and
 * one for this rank itself, whose sum may lie over what is sent. The others wait for all ranks' flags of a row and add
 * it up. So links and memory are busy at the same time, and no block stands still for a fence but its first warp.
 * Senders come first in the grid: whatever the device has room for, they are not kept waiting. */
#include "base/checked.h"
#include "layers/cuda/kernels/reduce_peers.cuh"

enum {
    THREADS = 256,
    IN_FLIGHT = 4, /* vectors a sending thread holds */
    SENDERS = 1    /* of a processor */
};

/* Row `row` of `from`, in the arena of `at_rank`. Nobody sends to itself: there are size - 1 places. */
static __device__ __forceinline__ uint4 *slot_of(const tsr_reduce_team &t, int at_rank, int from, int half, int row,
                                                 int vectors)
{
    int place = half * (t.size - 1) + (from < at_rank ? from : from - 1);
    return (uint4 *)(t.arena[at_rank] + t.share_at + place * (t.share_bytes * t.size)) + (int64_t)row * vectors;
}

static __device__ __forceinline__ unsigned *flag_of(const tsr_reduce_team &t, int at_rank, int from, int half, int row)
{
    return (unsigned *)(t.arena[at_rank] + t.share_flag_at) + (int64_t)(half * t.size + from) * TSR_REDUCE_ROWS + row;
}

/* ROWS rows from `first` on, as far as there are. */
template <typename T, int K, int ROWS>
static __device__ __forceinline__ void send_rows(const tsr_reduce_team &team, const tsr_reduce_rows &a,
                                                 const tsr_reduce_turn &turn, int vectors, int first)
{
    tsr_reduce_place place = tsr_reduce_whole_row();
    tsr_vector<T> x[ROWS][K];
    for (int r = 0; r < ROWS; r++)
        if (first + r < a.rows)
            tsr_reduce_read_row<T, K>(a.x, a.x_ld, first + r, tsr_reduce_cols(a, first + r), place, x[r]);
    for (int q = 0; q < team.size; q++) {
        if (q == team.rank) continue;
        for (int r = 0; r < ROWS; r++) {
            if (first + r >= a.rows) continue;
            uint4 *to = slot_of(team, q, team.rank, turn.half, first + r, vectors);
            for (int k = 0; k < K; k++)
                if (place.at(k) < vectors) to[place.at(k)] = *(const uint4 *)&x[r][k];
        }
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    __threadfence_system();
    for (int q = 0; q < team.size; q++)
        for (int r = 0; r < ROWS; r++)
            if (first + r < a.rows)
                *(volatile unsigned *)flag_of(team, q, team.rank, turn.half, first + r) = turn.flag;
}

template <typename T, int K>
static __device__ __forceinline__ void add_row(const tsr_reduce_team &team, const tsr_reduce_rows &a,
                                               const tsr_reduce_turn &turn, int vectors, int row,
                                               tsr_reduce_patience *patience, float *scratch)
{
    tsr_reduce_place place = tsr_reduce_whole_row();
    tsr_vector<T> x[K], residual[K];
    tsr_reduce_row<T, K> values;
    int64_t cols = tsr_reduce_cols(a, row);
    int peer = threadIdx.x;
    tsr_reduce_read_row<T, K>(a.x, a.x_ld, row, cols, place, x);
    if (a.residual) tsr_reduce_read_row<T, K>(a.residual, a.residual_ld, row, cols, place, residual);
    if (peer < team.size)
        tsr_reduce_wait_flag(team, turn, flag_of(team, team.rank, peer, turn.half, row), peer, patience);
    __syncthreads();
    for (int k = 0; k < K; k++) {
        for (int j = 0; j < tsr_vector<T>::N; j++) values.x[k][j] = 0;
        if (place.at(k) >= vectors) continue;
        for (int q = 0; q < team.size; q++) {
            tsr_vector<T> v = x[k];
            if (q != team.rank)
                v = tsr_reduce_arrived<T>(slot_of(team, team.rank, q, turn.half, row, vectors) + place.at(k));
            tsr_reduce_add(values.x[k], v);
        }
        if (a.residual) tsr_reduce_add(values.x[k], residual[k]);
    }
    for (int k = 0; k < K; k++) tsr_reduce_keep<T>(a, row, cols, place.at(k), values.x[k]);
    if (a.normed)
        tsr_reduce_norm<T, K>(a, row, place, values, NULL, [&](float s) { return tsr_block_sum(s, scratch); });
}

template <typename T, int K>
static __global__ void __launch_bounds__(K == 1 ? THREADS : 1024)
    direct_rows(const __grid_constant__ tsr_reduce_team team, const __grid_constant__ tsr_reduce_rows a, int vectors,
                int senders)
{
    __shared__ tsr_reduce_turn turn;
    __shared__ float scratch[TSR_WARP];
    const int ROWS = IN_FLIGHT / K;
    tsr_reduce_patience patience = {};
    if (threadIdx.x == 0) turn = tsr_reduce_take(team);
    tsr_grid_wait();
    __syncthreads();
    tsr_grid_release();
    if (turn.failed) return;
    if (blockIdx.x < senders) {
        for (int row = blockIdx.x * ROWS; row < a.rows; row += senders * ROWS)
            send_rows<T, K, ROWS>(team, a, turn, vectors, row);
        return;
    }
    for (int row = blockIdx.x - senders; row < a.rows; row += gridDim.x - senders)
        add_row<T, K>(team, a, turn, vectors, row, &patience, scratch);
}

int64_t tsr_reduce_direct_rows(const tsr_reduce_team *team, tsr_dtype dtype, int64_t cols)
{
    if (team->size > TSR_REDUCE_FEW) return 0;
    int64_t row_bytes = tsr_reduce_vectors(dtype, cols) * (int64_t)sizeof(uint4);
    return tsr_min(team->share_bytes * team->size / row_bytes, TSR_REDUCE_ROWS);
}

/* Some blocks of each processor send, as far as there are rows for them. */
template <typename T, int K>
static tsr_status launch(const tsr_reduce_team *team, const tsr_reduce_rows *rows, tsr_reduce_shape s,
                         const tsr_cuda_step *step)
{
    int grid, batches = (rows->rows + IN_FLIGHT / K - 1) / (IN_FLIGHT / K);
    int each = team->senders_per_processor > 0 ? team->senders_per_processor : SENDERS;
    int senders = (int)tsr_min(batches, each * step->n_processors);
    TSR_TRY(tsr_reduce_grid(direct_rows<T, K>, s.threads, team->blocks_per_processor, step, senders + rows->rows,
                            &grid));
    if (senders > grid / 2) senders = grid / 2;
    return tsr_launch(step, "reduce_direct", dim3(grid), dim3(s.threads), 0, direct_rows<T, K>, *team, *rows,
                      s.vectors, senders);
}

tsr_status tsr_reduce_direct(const tsr_reduce_team *team, const tsr_reduce_rows *rows, const tsr_cuda_step *step)
{
    tsr_reduce_shape s = tsr_reduce_shape_of(rows->dtype, rows->cols, THREADS);
    return TSR_CUDA_BY_DTYPE(
        rows->dtype, T, return TSR_REDUCE_BY_K(s.per_thread, K, return (launch<T, K>(team, rows, s, step))));
}
