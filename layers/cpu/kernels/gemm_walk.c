/* gemm_walk.c: how the tiles of a product are dealt to threads and in which order a thread visits its own.
 *
 * One block of rows: panel after panel, each read once from front to back, as memory likes it. Many: a column
 * block of x for all rows (of a group that fits the second-level cache) stays while the panels pass, a column
 * block of a panel stays in the first-level cache while the row blocks pass. The first two row blocks
 * prefetch that block of the next panel.
 */
#include "layers/cpu/kernels/gemm.h"

#include <string.h>

enum { GROUP_ROWS = 480 };

tsr_gemm_part TSR_LOCAL(tsr_gemm_share)(int64_t row_blocks, int64_t panels, const tsr_worker *worker)
{
    /* a grid of n = across x down threads: the one whose largest part is smallest, reading weights least
     * often */
    int n = worker->n_threads, down = 1;
    int64_t best = INT64_MAX;
    for (int d = 1; d <= n && d <= row_blocks; d++) {
        if (n % d) continue;
        int64_t largest = ((row_blocks + d - 1) / d) * ((panels + n / d - 1) / (n / d));
        if (largest < best) {
            best = largest;
            down = d;
        }
    }
    int across = n / down, i = worker->thread / across, j = worker->thread % across;
    return (tsr_gemm_part){row_blocks * i / down, row_blocks * (i + 1) / down, panels * j / across,
                           panels * (j + 1) / across};
}

/* A tile of `rows` rows, `panels` panels and columns k .. of W; `cols` columns of it exist. */
typedef struct place {
    int64_t row, rows, panel, panels, k, cols;
} place;

static void begin_sums(const tsr_call *call, const place *at)
{
    const tsr_operand *out = &call->out[0];
    int64_t column = at->panel * TSR_PANEL;
    for (int64_t r = at->row; r < at->row + at->rows; r++) {
        float *c = out->data + r * out->ld + column;
        if (call->weight[1])
            memcpy(c, (const float *)call->weight[1]->data + column, (size_t)at->cols * 4);
        else
            memset(c, 0, (size_t)at->cols * 4);
    }
}

static void copy_rows(const float *from, int64_t from_ld, float *to, int64_t to_ld, const place *at)
{
    for (int64_t r = 0; r < at->rows; r++) memcpy(to + r * to_ld, from + r * from_ld, (size_t)at->cols * 4);
}

/* ahead: NULL for a panel that is read once and prefetches itself */
static void run_tile(const tsr_gemm_walk *walk, const tsr_call *call, place at, const char *ahead)
{
    enum { OWN_AHEAD = 2048 };
    const tsr_weight_data *w = call->weight[0];
    const tsr_operand *out = &call->out[0];
    int64_t size = tsr_dtype_bytes(w->dtype), edge_ld = at.panels * TSR_PANEL;
    float edge[12 * TSR_GEMM_PANELS * TSR_PANEL], *c = out->data + at.row * out->ld + at.panel * TSR_PANEL;
    at.cols = tsr_min(at.panels * TSR_PANEL, w->rows - at.panel * TSR_PANEL);
    tsr_tile t = {.panel_bytes = tsr_panel_bytes(w->dtype, w->cols), .c = c, .ldc = out->ld};
    t.x = walk->x + at.row * walk->x_row_bytes + at.k * at.rows * walk->x_bytes;
    t.w = (const char *)w->data + at.panel * t.panel_bytes + at.k * TSR_PANEL * size;
    t.k = tsr_min(TSR_GEMM_DEPTH, w->cols - at.k);
    t.ahead = ahead ? ahead : t.w + OWN_AHEAD;
    t.ahead_step = ahead ? 64 : w->dtype == TSR_F16 ? 64 : 128;
    if (at.k == 0) begin_sums(call, &at);
    bool whole = at.cols == edge_ld;
    if (!whole) {
        copy_rows(c, out->ld, edge, edge_ld, &at);
        t.c = edge;
        t.ldc = edge_ld;
    }
    (at.panels > 1 ? walk->multi : walk->single)[at.rows](&t);
    if (!whole) copy_rows(edge, edge_ld, c, out->ld, &at);
}

/* One block of rows: each panel, or some side by side, from front to back. */
static void run_streams(const tsr_gemm_walk *walk, const tsr_call *call, place at, const tsr_gemm_part *part)
{
    while (at.panel < part->panel_end) {
        bool multi = walk->panels > 1 && walk->multi[at.rows] && part->panel_end - at.panel >= walk->panels;
        at.panels = multi ? walk->panels : 1;
        for (at.k = 0; at.k < call->weight[0]->cols; at.k += TSR_GEMM_DEPTH) run_tile(walk, call, at, NULL);
        at.panel += at.panels;
    }
}

static place block_at(const tsr_gemm_walk *walk, int64_t rows, int64_t block)
{
    int64_t blocks = tsr_block_count(rows, walk->most_rows), row = tsr_block_start(rows, blocks, block);
    return (place){.row = row, .rows = tsr_block_start(rows, blocks, block + 1) - row, .panels = 1};
}

void TSR_LOCAL(tsr_gemm_run)(const tsr_gemm_walk *walk, const tsr_call *call, int64_t rows,
                             const tsr_worker *worker)
{
    const tsr_weight_data *w = call->weight[0];
    int64_t panels = (w->rows + TSR_PANEL - 1) / TSR_PANEL, panel_bytes = tsr_panel_bytes(w->dtype, w->cols);
    tsr_gemm_part part = TSR_LOCAL(tsr_gemm_share)(tsr_block_count(rows, walk->most_rows), panels, worker);
    if (part.row_end - part.row == 1) {
        place at = block_at(walk, rows, part.row);
        at.panel = part.panel;
        run_streams(walk, call, at, &part);
        return;
    }
    int64_t group = GROUP_ROWS / walk->most_rows, k_bytes = TSR_PANEL * tsr_dtype_bytes(w->dtype);
    for (int64_t g = part.row; g < part.row_end; g += group)
        for (int64_t k = 0; k < w->cols; k += TSR_GEMM_DEPTH)
            for (int64_t p = part.panel; p < part.panel_end; p++)
                for (int64_t b = g; b < tsr_min(g + group, part.row_end); b++) {
                    const char *next = (const char *)w->data + (p + 1) * panel_bytes + k * k_bytes;
                    place at = block_at(walk, rows, b);
                    at.panel = p;
                    at.k = k;
                    run_tile(walk, call, at, next + (b > g ? TSR_GEMM_DEPTH / 2 * k_bytes : 0));
                }
}
