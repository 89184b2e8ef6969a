/* reduce_layout.c: how an arena for sums over peers is divided (layers/cuda/kernels/reduce_peers.h). */
#include "base/checked.h"
#include "layers/cuda/kernels/reduce_peers.h"

static int64_t place(int64_t *end, int64_t bytes)
{
    int64_t at = *end;
    *end += tsr_round_up(bytes, TSR_REDUCE_ALIGN);
    return at;
}

int64_t tsr_reduce_layout(tsr_reduce_team *team, int64_t push_bytes, int64_t large_bytes)
{
    int64_t end = 0, halves = 2, n = team->size, flags = TSR_REDUCE_ROWS * (int64_t)sizeof(uint32_t);
    team->push_bytes = tsr_round_up(2 * push_bytes, TSR_REDUCE_ALIGN); /* a flag beside each value */
    team->share_bytes = tsr_round_up((large_bytes + n - 1) / n, TSR_REDUCE_ALIGN);
    team->push_at = place(&end, halves * n * team->push_bytes);
    team->share_at = place(&end, halves * n * team->share_bytes);
    team->sum_at = place(&end, halves * n * team->share_bytes);
    team->share_flag_at = place(&end, halves * n * flags);
    team->sum_flag_at = place(&end, halves * flags);
    return end;
}
