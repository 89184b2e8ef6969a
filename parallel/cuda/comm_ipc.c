/* comm_ipc.c: arenas that the ranks of a node map from each other, and sums by the kernels that write into them. */
#include "base/checked.h"
#include "base/log.h"
#include "base/memory.h"
#include "layers/cuda/kernels/reduce_peers.h"
#include "parallel/cuda/comm_cuda_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    PUSH_BYTES = 1 << 20,   /* up to here one trip is faster, over all peers together */
    LARGE_BYTES = 16 << 20, /* default of max_bytes */
    LARGE_MOST = 64 << 20,
    LARGE_LEAST = 1 << 20,
    PUSH_ROW = 2 << 10, /* bytes of the rows that a plain vector is cut into */
    LARGE_ROW = 8 << 10
};

typedef struct ipc_comm {
    tsr_cuda_comm_base base;
    tsr_reduce_team team;
    tsr_reduce_notice *notice; /* the same as team.notice, as the host sees it */
    bool two_trips;            /* of large sums */
} ipc_comm;

/* Sums -------------------------------------------------------------------------------------------------- */

/* Rows first .. first + count - 1 of a. */
static tsr_reduce_rows piece_of(const tsr_reduce_rows *a, int64_t first, int64_t count)
{
    int64_t bytes = tsr_dtype_bytes(a->dtype);
    tsr_reduce_rows p = *a;
    p.rows = (int)count;
    if (first + count < a->rows) p.last_cols = p.cols;
    p.x = (const char *)a->x + first * a->x_ld * bytes;
    p.sum = (char *)a->sum + first * a->sum_ld * bytes;
    if (a->residual) p.residual = (const char *)a->residual + first * a->residual_ld * bytes;
    if (a->normed) p.normed = (char *)a->normed + first * a->normed_ld * bytes;
    return p;
}

static tsr_status sum_large(const ipc_comm *c, const tsr_reduce_rows *a, const tsr_cuda_step *step)
{
    int64_t most =
        (c->two_trips ? tsr_reduce_two_shot_rows : tsr_reduce_direct_rows)(&c->team, a->dtype, a->cols);
    for (int64_t row = 0; row < a->rows; row += most) {
        tsr_reduce_rows p = piece_of(a, row, tsr_min(most, a->rows - row));
        TSR_TRY((c->two_trips ? tsr_reduce_two_shot : tsr_reduce_direct)(&c->team, &p, step));
    }
    return TSR_OK;
}

/* n elements as rows of `row_bytes`, the last one as long as it is. */
static tsr_reduce_rows rows_of_vector(void *data, tsr_dtype dtype, int64_t n, int64_t row_bytes)
{
    int64_t cols = row_bytes / tsr_dtype_bytes(dtype), rows = (n + cols - 1) / cols;
    return (tsr_reduce_rows){.dtype = dtype,
                             .rows = (int)rows,
                             .cols = cols,
                             .last_cols = n - (rows - 1) * cols,
                             .x = data,
                             .x_ld = cols,
                             .sum = data,
                             .sum_ld = cols};
}

static tsr_status all_reduce(tsr_cuda_comm *comm, void *data, tsr_dtype dtype, int64_t n,
                             const tsr_cuda_step *step)
{
    const ipc_comm *c = (const ipc_comm *)comm;
    if (n == 0) return TSR_OK;
    tsr_reduce_rows a = rows_of_vector(data, dtype, n, PUSH_ROW);
    if (a.rows <= tsr_reduce_push_rows(&c->team, dtype, a.cols)) return tsr_reduce_push(&c->team, &a, step);
    a = rows_of_vector(data, dtype, n, LARGE_ROW);
    return sum_large(c, &a, step);
}

static tsr_status reduce_add_norm(tsr_cuda_comm *comm, const tsr_cuda_call *call, const tsr_cuda_step *step)
{
    const ipc_comm *c = (const ipc_comm *)comm;
    tsr_reduce_rows a = tsr_reduce_rows_of(call, step);
    if (a.rows == 0) return TSR_OK;
    if (!tsr_reduce_fits(a.dtype, a.cols)) return tsr_cuda_reduce_then_add_norm(call, step);
    if (a.rows <= tsr_reduce_push_rows(&c->team, a.dtype, a.cols)) return tsr_reduce_push(&c->team, &a, step);
    return sum_large(c, &a, step);
}

static const tsr_cuda_comm_ops ops = {
    .name = "ipc", .all_reduce = all_reduce, .reduce_add_norm = reduce_add_norm};

/* Failure ----------------------------------------------------------------------------------------------- */

static void let_go(tsr_cuda_comm_base *base)
{
    ((ipc_comm *)base)->notice->abort = 1;
}

static unsigned long long number(tsr_cuda_comm_base *base)
{
    tsr_reduce_notice *notice = ((ipc_comm *)base)->notice;
    struct timespec t = {.tv_nsec = 1000000};
    for (int i = 0; i < 100 && !notice->failed; i++) nanosleep(&t, NULL);
    return notice->failed ? notice->number : 0;
}

static tsr_status check(tsr_cuda_comm_base *base)
{
    ipc_comm *c = (ipc_comm *)base;
    if (!c->notice->failed) return TSR_OK;
    TSR_TRY(tsr_cuda_comm_look(base)); /* gone explains late */
    char ranks[8 * TSR_REDUCE_RANKS] = "";
    int at = 0, n = 0;
    for (int q = 0; q < c->team.size; q++)
        if (c->notice->missing[q])
            at += snprintf(ranks + at, sizeof ranks - (size_t)at, "%s %d", n++ ? "," : "", q);
    return tsr_cuda_comm_fail(
        base, tsr_fail(TSR_ERR_DEADLINE,
                       "GPU collective number %llu passed its deadline of %g s. not arrived: rank%s%s",
                       (unsigned long long)c->notice->number, base->deadline, n > 1 ? "s" : "", ranks));
}

/* Arenas ------------------------------------------------------------------------------------------------ */

typedef struct arena_card {
    cudaIpcMemHandle_t handle;
    int32_t good;
    char why[128]; /* where it is not */
} arena_card;

static void note(arena_card *card, cudaError_t error)
{
    card->good = error == cudaSuccess;
    if (!card->good) {
        snprintf(card->why, sizeof card->why, "%.100s", cudaGetErrorString(error));
        (void)cudaGetLastError(); /* it is dealt with */
    }
}

/* Whether all cards are good; where not, *why is what one says. */
static bool all_good(const arena_card *cards, int n, const char **why)
{
    static char text[256];
    for (int q = 0; q < n; q++)
        if (!cards[q].good) {
            snprintf(text, sizeof text, "rank %d cannot share memory with its peers (%s)", q, cards[q].why);
            *why = text;
            return false;
        }
    return true;
}

static void make_arena(ipc_comm *c, int64_t bytes, arena_card *card)
{
    void *arena = NULL;
    cudaError_t e = cudaMalloc(&arena, (size_t)bytes);
    if (e == cudaSuccess) e = cudaMemset(arena, 0, (size_t)bytes);
    if (e == cudaSuccess) e = cudaDeviceSynchronize();
    if (e == cudaSuccess) e = cudaIpcGetMemHandle(&card->handle, arena);
    c->team.arena[c->team.rank] = arena;
    note(card, e);
}

static void open_arenas(ipc_comm *c, const arena_card *cards, arena_card *own)
{
    cudaError_t e = cudaSuccess;
    for (int q = 0; q < c->team.size && e == cudaSuccess; q++) {
        void *arena = NULL;
        if (q == c->team.rank) continue;
        e = cudaIpcOpenMemHandle(&arena, cards[q].handle, cudaIpcMemLazyEnablePeerAccess);
        if (e == cudaSuccess) c->team.arena[q] = arena;
    }
    note(own, e);
}

static tsr_status map_arenas(ipc_comm *c, int64_t bytes, bool *mapped, const char **why)
{
    arena_card own = {.good = 0}, cards[TSR_REDUCE_RANKS];
    make_arena(c, bytes, &own);
    TSR_TRY(tsr_world_all_gather(c->base.world, &own, sizeof own, cards));
    *mapped = all_good(cards, c->team.size, why);
    if (!*mapped) return TSR_OK;
    open_arenas(c, cards, &own);
    TSR_TRY(tsr_world_all_gather(c->base.world, &own, sizeof own, cards));
    *mapped = all_good(cards, c->team.size, why);
    return TSR_OK;
}

/* What the kernels count by, and what they tell the host by. */
static tsr_status make_state(ipc_comm *c)
{
    void *state, *notice, *seen;
    TSR_TRY(tsr_cuda_check(cudaMalloc(&state, sizeof(tsr_reduce_state)), "the state of collectives"));
    c->team.state = state;
    TSR_TRY(tsr_cuda_check(cudaMemset(state, 0, sizeof(tsr_reduce_state)), "the state of collectives"));
    TSR_TRY(tsr_cuda_check(cudaHostAlloc(&notice, sizeof(tsr_reduce_notice), cudaHostAllocMapped),
                           "the notice of collectives"));
    c->notice = memset(notice, 0, sizeof(tsr_reduce_notice));
    TSR_TRY(tsr_cuda_check(cudaHostGetDevicePointer(&seen, notice, 0), "the notice of collectives"));
    c->team.notice = seen;
    return tsr_cuda_check(cudaDeviceSynchronize(), "the state of collectives");
}

/* Nobody frees an arena that another may still write to. */
static void destroy(tsr_cuda_comm_base *base)
{
    ipc_comm *c = (ipc_comm *)base;
    tsr_world *w = base->world;
    if (!w->broken) (void)tsr_world_barrier(w);
    for (int q = 0; q < c->team.size; q++)
        if (q != c->team.rank && c->team.arena[q]) (void)cudaIpcCloseMemHandle(c->team.arena[q]);
    if (!w->broken) (void)tsr_world_barrier(w);
    (void)cudaFree(c->team.arena[c->team.rank]);
    (void)cudaFree(c->team.state);
    (void)cudaFreeHost(c->notice);
    (void)cudaGetLastError();
    tsr_free(c);
}

static void plan(ipc_comm *c, const tsr_cuda_comm_options *o, int64_t *bytes)
{
    int n = c->team.size;
    int64_t push = o->push_bytes > 0 ? o->push_bytes : PUSH_BYTES / (n - 1);
    int64_t large = o->max_bytes > 0 ? o->max_bytes : LARGE_BYTES;
    c->team.blocks_per_processor = o->blocks_per_processor;
    c->team.senders_per_processor = o->senders_per_processor;
    c->team.blocks_per_row = o->blocks_per_row;
    c->two_trips = o->two_trips || n > TSR_REDUCE_FEW;
    c->team.limit = (unsigned long long)(c->base.deadline * 1e9);
    *bytes = tsr_reduce_layout(&c->team, push, tsr_max(tsr_min(large, LARGE_MOST), LARGE_LEAST));
}

static tsr_status build(ipc_comm *c, const tsr_cuda_comm_options *o, bool *mapped, const char **why)
{
    int64_t bytes;
    plan(c, o, &bytes);
    TSR_TRY(tsr_world_agree(c->base.world, make_state(c)));
    TSR_TRY(map_arenas(c, bytes, mapped, why));
    if (*mapped && c->team.rank == 0)
        tsr_log(TSR_LOG_INFO, "collectives of GPUs: own kernels, %lld MiB shared by each of %d ranks",
                (long long)(bytes >> 20), c->team.size);
    return TSR_OK;
}

tsr_status tsr_cuda_comm_ipc_create(tsr_world *world, const tsr_cuda_comm_options *options,
                                    tsr_cuda_comm **out, const char **why)
{
    void *memory;
    bool mapped = false;
    *why = !world->one_node ? "the ranks are on several nodes" : "there are more than 8 ranks";
    if (!world->one_node || world->size > TSR_REDUCE_RANKS) return TSR_OK;
    TSR_TRY(tsr_calloc(1, sizeof(ipc_comm), "a communicator", &memory));
    ipc_comm *c = memory;
    tsr_cuda_comm_base_init(&c->base, &ops, world, options);
    c->base.check = check;
    c->base.let_go = let_go;
    c->base.number = number;
    c->base.destroy = destroy;
    c->team.rank = world->rank;
    c->team.size = world->size;
    tsr_status status = build(c, options, &mapped, why);
    if (status != TSR_OK || !mapped)
        destroy(&c->base);
    else
        *out = &c->base.comm;
    return status;
}
