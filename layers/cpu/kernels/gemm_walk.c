/* gemm_walk.c: how the tiles of a product are dealt to threads and in which order a thread visits its own.
 *
 * One block of rows: panel after panel, each read once from front to back, as memory likes it. Many: a column
 * block of x for all rows (of a group that fits the second-level cache) stays while the panels pass, a column
 * block of a panel stays in the first-level cache while the row blocks pass. The first two row blocks
 * prefetch that block of the next panel.
 */
#include "layers/cpu/kernels/gemm.h"

enum { GROUP_ROWS = 480, STREAM_AHEAD = 4096 };

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

typedef struct place {
    int64_t panel, panels, block, k;
} place;

static tsr_tile tile_at(const tsr_gemm_walk *walk, const tsr_call *call, int64_t rows, place at, int64_t *mr)
{
    const tsr_weight_data *w = call->weight[0];
    const tsr_operand *out = &call->out[0];
    int64_t blocks = tsr_block_count(rows, walk->most_rows), row = tsr_block_start(rows, blocks, at.block);
    int64_t column = at.panel * TSR_PANEL, panel_bytes = tsr_panel_bytes(w->dtype, w->cols);
    *mr = tsr_block_start(rows, blocks, at.block + 1) - row;
    return (tsr_tile){
        .x = walk->x + row * walk->x_row_bytes + at.k * *mr * walk->x_bytes,
        .w = (const char *)w->data + at.panel * panel_bytes + at.k * TSR_PANEL * tsr_dtype_bytes(w->dtype),
        .panel_bytes = panel_bytes,
        .panels = (int)at.panels,
        .k = tsr_min(TSR_GEMM_DEPTH, w->cols - at.k),
        .c = out->data + row * out->ld + column,
        .ldc = out->ld,
        .cols = tsr_min(at.panels * TSR_PANEL, w->rows - column),
        .bias = call->weight[1] ? (const float *)call->weight[1]->data + column : NULL,
        .first = at.k == 0,
    };
}

static void run_streams(const tsr_gemm_walk *walk, const tsr_call *call, int64_t rows,
                        const tsr_gemm_part *part)
{
    int64_t mr;
    for (int64_t p = part->panel; p < part->panel_end; p += walk->panels)
        for (int64_t k = 0; k < call->weight[0]->cols; k += TSR_GEMM_DEPTH) {
            int64_t panels = tsr_min(walk->panels, part->panel_end - p);
            tsr_tile t = tile_at(walk, call, rows, (place){p, panels, part->row, k}, &mr);
            t.ahead = t.w + STREAM_AHEAD;
            walk->streams[mr](&t);
        }
}

void TSR_LOCAL(tsr_gemm_run)(const tsr_gemm_walk *walk, const tsr_call *call, int64_t rows,
                             const tsr_worker *worker)
{
    const tsr_weight_data *w = call->weight[0];
    int64_t blocks = tsr_block_count(rows, walk->most_rows), panels = (w->rows + TSR_PANEL - 1) / TSR_PANEL,
            mr;
    tsr_gemm_part part = TSR_LOCAL(tsr_gemm_share)(blocks, panels, worker);
    if (part.row_end - part.row == 1) {
        run_streams(walk, call, rows, &part);
        return;
    }
    int64_t group = GROUP_ROWS / walk->most_rows;
    for (int64_t g = part.row; g < part.row_end; g += group)
        for (int64_t k = 0; k < w->cols; k += TSR_GEMM_DEPTH)
            for (int64_t p = part.panel; p < part.panel_end; p++)
                for (int64_t b = g; b < tsr_min(g + group, part.row_end); b++) {
                    tsr_tile t = tile_at(walk, call, rows, (place){p, 1, b, k}, &mr);
                    t.ahead =
                        t.w + t.panel_bytes + (b > g ? t.k * TSR_PANEL * tsr_dtype_bytes(w->dtype) / 2 : 0);
                    walk->tiles[mr](&t);
                }
}
