/* pack.c: weight matrices into panels (pack.h) and single rows back out of them.
 *
 * Packing is a transposition of TSR_PANEL rows. It runs once per weight at load time, on rows that may lie
 * unaligned in a mapped file, so elements are moved by memcpy; short column blocks keep the panel lines being
 * written in cache.
 */
#include "layers/cpu/pack.h"

#include "base/checked.h"

#include <assert.h>
#include <string.h>

enum { COLUMN_BLOCK = 16 };

static int64_t padded(tsr_dtype dtype, int64_t cols)
{
    return dtype == TSR_BF16 ? tsr_round_up(cols, TSR_PANEL_DEPTH) : cols;
}

int64_t tsr_panel_bytes(tsr_dtype dtype, int64_t cols)
{
    return padded(dtype, cols) * TSR_PANEL * tsr_dtype_bytes(dtype);
}

int64_t tsr_packed_bytes(tsr_dtype dtype, int64_t rows, int64_t cols)
{
    return (rows + TSR_PANEL - 1) / TSR_PANEL * tsr_panel_bytes(dtype, cols);
}

/* panel[c][r] = rows[r][c] for elements of `size` (2 or 4) bytes. A row begins every `stride` bytes. */
static inline void transpose(const char *rows, int64_t stride, int64_t n_rows, int64_t cols, size_t size,
                             char *panel)
{
    for (int64_t c0 = 0; c0 < cols; c0 += COLUMN_BLOCK) {
        int64_t c1 = tsr_min(cols, c0 + COLUMN_BLOCK);
        for (int64_t r = 0; r < n_rows; r++)
            for (int64_t c = c0; c < c1; c++)
                memcpy(panel + (c * TSR_PANEL + r) * (int64_t)size, rows + r * stride + c * (int64_t)size,
                       size);
    }
}

void tsr_pack_panel(tsr_dtype dtype, const void *rows, int64_t n_rows, int64_t cols, void *panel)
{
    assert(dtype == TSR_F32 || dtype == TSR_F16 || dtype == TSR_BF16);
    assert(n_rows >= 1 && n_rows <= TSR_PANEL);
    if (n_rows < TSR_PANEL || padded(dtype, cols) != cols)
        memset(panel, 0, (size_t)tsr_panel_bytes(dtype, cols));
    int64_t stride = cols * tsr_dtype_bytes(dtype);
    if (dtype == TSR_F32) transpose(rows, stride, n_rows, cols, 4, panel);
    if (dtype == TSR_F16) transpose(rows, stride, n_rows, cols, 2, panel);
    if (dtype ==
        TSR_BF16) { /* pairs of columns move as one 4-byte element; an odd last column stands alone */
        transpose(rows, stride, n_rows, cols / 2, 4, panel);
        if (cols % 2)
            for (int64_t r = 0; r < n_rows; r++)
                memcpy((char *)panel + (cols / 2 * TSR_PANEL + r) * 4,
                       (const char *)rows + r * stride + stride - 2, 2);
    }
}

void tsr_unpack_row(tsr_dtype dtype, const void *packed, int64_t cols, int64_t row, float *out)
{
    const char *panel = (const char *)packed + row / TSR_PANEL * tsr_panel_bytes(dtype, cols);
    int64_t r = row % TSR_PANEL;
    const uint16_t *half = (const uint16_t *)panel;
    switch (dtype) {
    case TSR_F32:
        for (int64_t c = 0; c < cols; c++) out[c] = ((const float *)panel)[c * TSR_PANEL + r];
        break;
    case TSR_F16:
        for (int64_t c = 0; c < cols; c++) out[c] = tsr_f16_to_f32(half[c * TSR_PANEL + r]);
        break;
    case TSR_BF16:
        for (int64_t c = 0; c < cols; c++)
            out[c] = tsr_bf16_to_f32(half[(c / 2 * TSR_PANEL + r) * 2 + c % 2]);
        break;
    default:
        assert(!"a packed matrix is F32, F16 or BF16");
    }
}
