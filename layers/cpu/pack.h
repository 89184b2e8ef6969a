/* pack.h: weight matrices as the CPU kernels want them.
 *
 * A panel holds TSR_PANEL consecutive rows (outputs) of W [rows, cols], so that one pass over it makes
 * TSR_PANEL outputs without a horizontal sum and a vector load of weights is contiguous:
 *
 *   F32, F16:  [panel][cols][TSR_PANEL]
 *   BF16:      [panel][padded_cols/2][TSR_PANEL][2]   pairs of columns, the operand order of the bf16 dot
 *              products and of AMX tiles; padded_cols = cols rounded up to TSR_PANEL_DEPTH
 *
 * Missing rows of the last panel and missing columns are zero.
 */
#ifndef TSR_LAYERS_CPU_PACK_H
#define TSR_LAYERS_CPU_PACK_H

#include "base/dtype.h"

#include <stdint.h>

enum { TSR_PANEL = 32, TSR_PANEL_DEPTH = 32 };

/* Bytes of one panel, and of a whole packed matrix. */
int64_t tsr_panel_bytes(tsr_dtype dtype, int64_t cols);
int64_t tsr_packed_bytes(tsr_dtype dtype, int64_t rows, int64_t cols);

/* Packs n_rows (1 .. TSR_PANEL) rows of `rows` [n_rows][cols], already in `dtype`, into one panel. */
void tsr_pack_panel(tsr_dtype dtype, const void *rows, int64_t n_rows, int64_t cols, void *panel);

/* Row `row` of a packed matrix as float32 out[cols] (the embedding of a tied table). */
void tsr_unpack_row(tsr_dtype dtype, const void *packed, int64_t cols, int64_t row, float *out);

#endif
