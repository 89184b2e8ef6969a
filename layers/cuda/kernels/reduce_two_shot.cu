/* reduce_two_shot.cu: sums of large messages in two trips (reduce_peers.h).
 *
 * Group g is the rows g*n .. g*n + n - 1, one of each of the n owners. A block walks over groups and is at work on
 * three of them at a time: it sends its shares of one to their owners, adds up its own row of the group before, and
 * takes in the others' sums of the group before that. Flags follow the rows they speak of, behind a fence. */
#include "base/checked.h"
#include "layers/cuda/kernels/reduce_peers.cuh"

struct two_shot {
    const tsr_reduce_team &team;
    const tsr_reduce_rows &a;
    const tsr_reduce_turn &turn;
    int vectors;
    tsr_reduce_place place;
    tsr_reduce_patience patience;
    float *scratch;
};

static __device__ __forceinline__ uint4 *share_of(const two_shot &w, int at_rank, int from, int group)
{
    const tsr_reduce_team &t = w.team;
    return (uint4 *)(t.arena[at_rank] + t.share_at + (w.turn.half * t.size + from) * t.share_bytes) +
           group * w.vectors;
}

static __device__ __forceinline__ uint4 *sum_of(const two_shot &w, int at_rank, int row)
{
    const tsr_reduce_team &t = w.team;
    return (uint4 *)(t.arena[at_rank] + t.sum_at + w.turn.half * t.size * t.share_bytes) + row * w.vectors;
}

static __device__ __forceinline__ unsigned *share_flag(const two_shot &w, int at_rank, int from, int group)
{
    const tsr_reduce_team &t = w.team;
    return (unsigned *)(t.arena[at_rank] + t.share_flag_at) +
           (int64_t)(w.turn.half * t.size + from) * TSR_REDUCE_ROWS + group;
}

static __device__ __forceinline__ unsigned *sum_flag(const two_shot &w, int at_rank, int row)
{
    const tsr_reduce_team &t = w.team;
    return (unsigned *)(t.arena[at_rank] + t.sum_flag_at) + (int64_t)w.turn.half * TSR_REDUCE_ROWS + row;
}

template <typename T, int K> static __device__ __forceinline__ void send_shares(const two_shot &w, int group)
{
    const tsr_reduce_rows &a = w.a;
    for (int owner = 0; owner < w.team.size; owner++) {
        int row = group * w.team.size + owner;
        if (owner == w.team.rank || row >= a.rows) continue;
        uint4 *to = share_of(w, owner, w.team.rank, group);
        int64_t cols = tsr_reduce_cols(a, row);
        tsr_vector<T> v[K];
        tsr_reduce_read_row<T, K>(a.x, a.x_ld, row, cols, w.place, v);
        for (int k = 0; k < K; k++)
            if (w.place.at(k) < w.vectors) to[w.place.at(k)] = *(const uint4 *)&v[k];
    }
}

/* Our own row of the group: the sum, to all. */
template <typename T, int K> static __device__ __forceinline__ void add_up(two_shot &w, int group)
{
    const tsr_reduce_team &team = w.team;
    const tsr_reduce_rows &a = w.a;
    int row = group * team.size + team.rank;
    if (row >= a.rows) return;
    int64_t cols = tsr_reduce_cols(a, row);
    bool x_aligned = tsr_reduce_aligned<T>(a.x, a.x_ld), r_aligned = tsr_reduce_aligned<T>(a.residual, a.residual_ld);
    tsr_reduce_row<T, K> values;
    if (threadIdx.x < team.size && threadIdx.x != team.rank)
        tsr_reduce_wait_flag(team, w.turn, share_flag(w, team.rank, threadIdx.x, group), threadIdx.x, &w.patience);
    __syncthreads();
    for (int k = 0; k < K; k++) {
        int i = w.place.at(k);
        for (int j = 0; j < tsr_vector<T>::N; j++) values.x[k][j] = 0;
        if (i >= w.vectors) continue;
        for (int q = 0; q < team.size; q++)
            tsr_reduce_add(values.x[k], q == team.rank
                                            ? tsr_reduce_read((const T *)a.x + row * a.x_ld, x_aligned, i, cols)
                                            : tsr_reduce_arrived<T>(share_of(w, team.rank, q, group) + i));
        if (a.residual)
            tsr_reduce_add(values.x[k],
                           tsr_reduce_read((const T *)a.residual + row * a.residual_ld, r_aligned, i, cols));
    }
    for (int k = 0; k < K; k++) {
        tsr_vector<T> v = tsr_reduce_keep<T>(a, row, cols, w.place.at(k), values.x[k]);
        for (int q = 0; q < team.size; q++)
            if (q != team.rank && w.place.at(k) < w.vectors) sum_of(w, q, row)[w.place.at(k)] = *(const uint4 *)&v;
    }
    if (a.normed)
        tsr_reduce_norm<T, K>(a, row, w.place, values, NULL, [&](float x) { return tsr_block_sum(x, w.scratch); });
}

/* All the block has written for others of these groups (-1: none) is there before the flags are. */
static __device__ __forceinline__ void raise_flags(const two_shot &w, int sent, int added)
{
    const tsr_reduce_team &team = w.team;
    __syncthreads();
    if (threadIdx.x != 0) return;
    __threadfence_system();
    int own = added * team.size + team.rank;
    for (int q = 0; q < team.size; q++) {
        if (q == team.rank) continue;
        if (sent >= 0 && sent * team.size + q < w.a.rows)
            *(volatile unsigned *)share_flag(w, q, team.rank, sent) = w.turn.flag;
        if (added >= 0 && own < w.a.rows) *(volatile unsigned *)sum_flag(w, q, own) = w.turn.flag;
    }
}

/* The others' rows of the group. */
template <typename T, int K> static __device__ __forceinline__ void take_in(two_shot &w, int group)
{
    const tsr_reduce_team &team = w.team;
    const tsr_reduce_rows &a = w.a;
    int first = group * team.size, mine = first + (int)threadIdx.x;
    if (threadIdx.x < team.size && threadIdx.x != team.rank && mine < a.rows)
        tsr_reduce_wait_flag(team, w.turn, sum_flag(w, team.rank, mine), threadIdx.x, &w.patience);
    __syncthreads();
    for (int row = first; row < first + team.size && row < a.rows; row++) {
        if (row == first + team.rank) continue;
        tsr_reduce_row<T, K> values;
        tsr_vector<T> v[K];
        const uint4 *from = sum_of(w, team.rank, row);
        for (int k = 0; k < K; k++) {
            uint4 none = {};
            v[k] = w.place.at(k) < w.vectors ? tsr_reduce_arrived<T>(from + w.place.at(k)) : *(const tsr_vector<T> *)&none;
        }
        for (int k = 0; k < K; k++) {
            for (int j = 0; j < tsr_vector<T>::N; j++) values.x[k][j] = tsr_float(v[k].x[j]);
            tsr_reduce_keep<T>(a, row, tsr_reduce_cols(a, row), w.place.at(k), values.x[k]);
        }
        if (a.normed)
        tsr_reduce_norm<T, K>(a, row, w.place, values, NULL, [&](float x) { return tsr_block_sum(x, w.scratch); });
    }
}

template <typename T, int K>
static __global__ void __launch_bounds__(K == 1 ? 512 : 1024)
    two_shot_rows(const __grid_constant__ tsr_reduce_team team, const __grid_constant__ tsr_reduce_rows a,
                  int vectors, int groups)
{
    __shared__ tsr_reduce_turn turn;
    __shared__ float scratch[TSR_WARP];
    if (threadIdx.x == 0) turn = tsr_reduce_take(team);
    tsr_grid_wait();
    __syncthreads();
    tsr_grid_release();
    if (turn.failed) return;
    two_shot w = {team, a, turn, vectors, tsr_reduce_whole_row(), {}, scratch};
    int step = gridDim.x;
    for (int sending = blockIdx.x; sending - 2 * step < groups; sending += step) {
        int sent = sending < groups ? sending : -1;
        int added = sending - step >= 0 && sending - step < groups ? sending - step : -1;
        if (sent >= 0) send_shares<T, K>(w, sent);
        if (added >= 0) add_up<T, K>(w, added);
        raise_flags(w, sent, added);
        if (sending - 2 * step >= 0) take_in<T, K>(w, sending - 2 * step);
    }
}

enum { THREADS = 512 };

bool tsr_reduce_fits(tsr_dtype dtype, int64_t cols)
{
    return cols > 0 && tsr_reduce_shape_of(dtype, cols, THREADS).threads <= 1024;
}

int64_t tsr_reduce_two_shot_rows(const tsr_reduce_team *team, tsr_dtype dtype, int64_t cols)
{
    int64_t row_bytes = tsr_reduce_shape_of(dtype, cols, THREADS).vectors * (int64_t)sizeof(uint4);
    int64_t rows = team->share_bytes / row_bytes * team->size;
    return tsr_min(rows, TSR_REDUCE_ROWS);
}

tsr_status tsr_reduce_two_shot(const tsr_reduce_team *team, const tsr_reduce_rows *rows, const tsr_cuda_step *step)
{
    tsr_reduce_shape s = tsr_reduce_shape_of(rows->dtype, rows->cols, THREADS);
    int groups = (rows->rows + team->size - 1) / team->size;
    return TSR_CUDA_BY_DTYPE(rows->dtype, T, return TSR_REDUCE_BY_K(s.per_thread, K, {
                                 int grid;
                                 TSR_TRY(tsr_reduce_grid(two_shot_rows<T, K>, s.threads,
                                                         team->blocks_per_processor, step, groups, &grid));
                                 return tsr_launch(step, "reduce_two_shot", dim3(grid), dim3(s.threads), 0,
                                                   two_shot_rows<T, K>, *team, *rows, s.vectors, groups);
                             }));
}
