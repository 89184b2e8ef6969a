/* gemm_amx.c: products of bf16 weights on AMX tiles of 16 rows x 64 bytes.
 *
 * One step multiplies 16 x 32 of x by 32 x 16 of W^T into 16 x 16 float32. A panel holds its B tiles
 * ready-made (pairs of columns of W side by side: two tiles of 16 outputs, rows 128 bytes apart); phase 0
 * rounds x to bf16 and cuts it into A tiles, [row tile][depth tile][16][32], so that a tile is one contiguous
 * KiB and never a column of conflicting cache lines. Two row tiles times the two tiles of a panel make four
 * accumulators: each loaded tile is used twice.
 *
 * Blocking: CHUNK columns of a panel (32 KiB) stay in the first-level cache while the row tiles of a group,
 * which live in the second-level cache, pass by; sums wait in the worker's scratch between chunks. The next
 * panel is prefetched meanwhile.
 */
#include "layers/cpu/kernels/gemm.h"

#ifdef TSR_ISA_amx

#include "layers/cpu/kernels/amx.h"

enum {
    PANEL_STEP_BYTES = 2048, /* of a panel, per step */
    CHUNK = 512,             /* columns of W per pass while there are several row tiles */
    DEPTH = 2048,            /* columns of x per group: GROUP_ROWS x DEPTH bf16 is 1 MiB */
    GROUP_ROWS = 256,
    STREAM_AHEAD = 2048 /* bytes, prefetched when a panel is used once */
};

static int64_t shared_bytes(const tsr_call *call, int64_t rows)
{
    return tsr_round_up(rows, TSR_TILE_ROWS) * tsr_round_up(call->weight[0]->cols, TSR_PANEL_DEPTH) * 2;
}

/* 32 columns of one row as bf16; columns from `cols` on are zero */
static inline void round_columns(const float *x, int64_t col, int64_t cols, uint16_t *to)
{
    __m512 low, high;
    if (col + TSR_TILE_DEPTH <= cols) {
        low = _mm512_loadu_ps(x + col);
        high = _mm512_loadu_ps(x + col + 16);
    } else {
        int64_t n = cols - col;
        low = (__m512)v_load_n(x + col, tsr_min(n, 16));
        high = n > 16 ? (__m512)v_load_n(x + col + 16, n - 16) : _mm512_setzero_ps();
    }
    __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    memcpy(to, &both, 64);
}

static void prepare(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    const tsr_operand *x = &call->in[0];
    int64_t cols = call->weight[0]->cols, steps = (cols + TSR_TILE_DEPTH - 1) / TSR_TILE_DEPTH, row, end;
    tsr_share(tsr_round_up(rows, TSR_TILE_ROWS), TSR_TILE_ROWS, worker, &row, &end);
    for (; row < end; row++) {
        uint16_t *to = (uint16_t *)call->shared +
                       (row / TSR_TILE_ROWS * steps * TSR_TILE_ROWS + row % TSR_TILE_ROWS) * TSR_TILE_DEPTH;
        for (int64_t k = 0; k < steps; k++, to += TSR_TILE_ROWS * TSR_TILE_DEPTH) {
            if (row < rows)
                round_columns(x->data + row * x->ld, k * TSR_TILE_DEPTH, cols, to);
            else
                memset(to, 0, TSR_TILE_DEPTH * 2);
        }
    }
}

/* What one pass over a chunk needs: where sums begin, what to multiply, where they end. */
typedef struct pass {
    const char *a; /* first A tile; the second row of tiles is a_stride bytes on */
    int64_t a_stride;
    const char *b; /* panel */
    int64_t steps;
    const char *ahead; /* prefetched: `lines` cache lines per step */
    int lines;
    const float *from; /* sums so far, or NULL: begin with `bias`, or NULL: with zeros */
    const float *bias; /* [32] */
    int64_t from_ld;
    float *to;
    int64_t to_ld;
} pass;

/* Accumulators are tiles 0, 1 (first row of tiles) and 2, 3 (second). A macro because tile numbers are part
 * of the code. */
#define TSR_BEGIN_TILE(tile, row, col)                                                                       \
    do {                                                                                                     \
        if (p->from)                                                                                         \
            _tile_loadd(tile, p->from + (row)*p->from_ld + (col), p->from_ld * 4);                           \
        else if (p->bias)                                                                                    \
            _tile_loadd(tile, p->bias + (col), 0);                                                           \
        else                                                                                                 \
            _tile_zero(tile);                                                                                \
    } while (0)

static inline void prefetch_lines(const char *at, int lines)
{
    for (int i = 0; i < lines; i++) _mm_prefetch(at + i * 64, _MM_HINT_T1);
}

static void pass_two(const pass *p)
{
    TSR_BEGIN_TILE(0, 0, 0);
    TSR_BEGIN_TILE(1, 0, 16);
    TSR_BEGIN_TILE(2, 16, 0);
    TSR_BEGIN_TILE(3, 16, 16);
    const char *a = p->a, *b = p->b, *ahead = p->ahead;
    for (int64_t k = 0; k < p->steps;
         k++, a += TSR_TILE_BYTES, b += PANEL_STEP_BYTES, ahead += PANEL_STEP_BYTES) {
        _tile_loadd(6, b, 128);
        _tile_loadd(4, a, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 64, 128);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + p->a_stride, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        prefetch_lines(ahead, p->lines);
    }
    _tile_stored(0, p->to, p->to_ld * 4);
    _tile_stored(1, p->to + 16, p->to_ld * 4);
    _tile_stored(2, p->to + 16 * p->to_ld, p->to_ld * 4);
    _tile_stored(3, p->to + 16 * p->to_ld + 16, p->to_ld * 4);
}

static void pass_one(const pass *p)
{
    TSR_BEGIN_TILE(0, 0, 0);
    TSR_BEGIN_TILE(1, 0, 16);
    const char *a = p->a, *b = p->b, *ahead = p->ahead;
    for (int64_t k = 0; k < p->steps;
         k++, a += TSR_TILE_BYTES, b += PANEL_STEP_BYTES, ahead += PANEL_STEP_BYTES) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 64, 128);
        _tile_dpbf16ps(1, 4, 7);
        prefetch_lines(ahead, p->lines);
    }
    _tile_stored(0, p->to, p->to_ld * 4);
    _tile_stored(1, p->to + 16, p->to_ld * 4);
}

/* One panel times a group of rows, columns k .. k_end - 1 of W. */
typedef struct job {
    const tsr_call *call;
    int64_t rows, steps;  /* of the whole product; steps = depth tiles */
    int64_t row, row_end; /* of the group, in tiles */
    int64_t k, k_end;     /* in steps */
    float *sums;          /* [GROUP_ROWS][TSR_PANEL]: waiting, or at an edge */
} job;

/* Copies the part of a 32 x 32 block that exists. */
static void copy_block(const float *from, int64_t from_ld, float *to, int64_t to_ld, int64_t rows,
                       int64_t cols)
{
    for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_ld, from + r * from_ld, (size_t)cols * 4);
}

/* Up to two row tiles from `tile` on, steps k .. k + steps - 1, of panel `panel`. */
static void do_pass(const job *j, int64_t panel, int64_t tile, int64_t k, int64_t steps)
{
    const tsr_weight_data *w = j->call->weight[0];
    const tsr_operand *out = &j->call->out[0];
    const tsr_weight_data *bias = j->call->weight[1];
    int64_t pairs = (j->row_end - j->row + 1) / 2, column = panel * TSR_PANEL, row = tile * TSR_TILE_ROWS;
    int64_t tiles = tsr_min(2, j->row_end - tile), rows = tsr_min(j->rows - row, tiles * TSR_TILE_ROWS);
    int64_t cols = tsr_min(TSR_PANEL, w->rows - column), panel_bytes = j->steps * PANEL_STEP_BYTES;
    bool whole = rows == tiles * TSR_TILE_ROWS && cols == TSR_PANEL;
    float *c = out->data + row * out->ld + column,
          *waiting = j->sums + (row - j->row * TSR_TILE_ROWS) * TSR_PANEL;
    float edge_bias[TSR_PANEL] = {0};

    pass p = {.a = (const char *)j->call->shared + (tile * j->steps + k) * TSR_TILE_BYTES,
              .a_stride = j->steps * TSR_TILE_BYTES};
    p.b = (const char *)w->data + panel * panel_bytes + k * PANEL_STEP_BYTES;
    p.steps = steps;
    p.lines = (int)((32 + pairs - 1) / pairs);
    p.ahead = pairs == 1 ? p.b + STREAM_AHEAD : p.b + panel_bytes + (tile - j->row) / 2 * p.lines * 64;
    if (k > j->k) {
        p.from = waiting;
        p.from_ld = TSR_PANEL;
    } else if (k > 0) {
        if (!whole) copy_block(c, out->ld, waiting, TSR_PANEL, rows, cols);
        p.from = whole ? c : waiting;
        p.from_ld = whole ? out->ld : TSR_PANEL;
    } else if (bias) {
        p.bias = (const float *)bias->data + column;
        if (cols < TSR_PANEL) p.bias = memcpy(edge_bias, p.bias, (size_t)cols * 4);
    }
    bool last = k + steps == j->k_end;
    p.to = last && whole ? c : waiting;
    p.to_ld = last && whole ? out->ld : TSR_PANEL;
    tsr_settle(p.bias);
    if (tiles == 2)
        pass_two(&p);
    else
        pass_one(&p);
    if (last && !whole) copy_block(waiting, TSR_PANEL, c, out->ld, rows, cols);
}

static void multiply(const tsr_call *call, int64_t rows, const tsr_worker *worker)
{
    const tsr_weight_data *w = call->weight[0];
    int64_t pairs = tsr_block_count(rows, 2 * TSR_TILE_ROWS), panels = (w->rows + TSR_PANEL - 1) / TSR_PANEL;
    tsr_gemm_part part = TSR_LOCAL(tsr_gemm_share)(pairs, panels, worker);
    job j = {.call = call,
             .rows = rows,
             .steps = (w->cols + TSR_TILE_DEPTH - 1) / TSR_TILE_DEPTH,
             .sums = worker->scratch};
    int64_t tile_end = tsr_min(2 * part.row_end, tsr_block_count(rows, TSR_TILE_ROWS));
    for (j.row = 2 * part.row; j.row < tile_end; j.row = j.row_end) {
        j.row_end = tsr_min(j.row + GROUP_ROWS / TSR_TILE_ROWS, tile_end);
        int64_t chunk = j.row_end - j.row > 2 ? CHUNK / TSR_TILE_DEPTH : DEPTH / TSR_TILE_DEPTH;
        for (j.k = 0; j.k < j.steps; j.k = j.k_end) {
            j.k_end = tsr_min(j.k + DEPTH / TSR_TILE_DEPTH, j.steps);
            for (int64_t p = part.panel; p < part.panel_end; p++)
                for (int64_t k = j.k; k < j.k_end; k += chunk)
                    for (int64_t t = j.row; t < j.row_end; t += 2)
                        do_pass(&j, p, t, k, tsr_min(chunk, j.k_end - k));
        }
    }
}

const tsr_gemm TSR_LOCAL(tsr_gemm_amx) = {prepare, multiply, shared_bytes};

/* All eight tiles 16 rows of 64 bytes, palette 1. */
void TSR_LOCAL(tsr_amx_thread_init)(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = TSR_TILE_ROWS;
    }
    tsr_settle(&config);
    _tile_loadconfig(&config);
}

#endif
