/* row_outputs.h: whole rows of a graph's output on every rank, from the columns that each rank holds.
 *
 * For heads whose rows are short and wanted as they are: the labels of a classifier. Each rank holds [R, n_local],
 * columns first .. first + n_local - 1 of `cols`; together the ranks hold every column once (where the rows are whole
 * everywhere, rank 0 gives them and the others give none). One all_gather for all rows of a step, in several parts
 * where they would exceed 4 MiB. Collective and blocking; scratch grows to the largest step seen.
 */
#ifndef TSR_RUNTIME_ROW_OUTPUTS_H
#define TSR_RUNTIME_ROW_OUTPUTS_H

#include "runtime/sampler.h"

typedef struct tsr_row_outputs tsr_row_outputs;

/* Local. */
tsr_status tsr_row_outputs_create(int32_t cols, int32_t first, int32_t n_local, const tsr_gather *gather,
                                  tsr_row_outputs **out);
void tsr_row_outputs_destroy(tsr_row_outputs **outputs);

/* values: row r begins at values + r*ld, n_local of them. *results: [n_rows] with `outputs` [cols] alone, and `failed`
 * for a row that holds NaN or an infinity; until the next run. */
tsr_status tsr_row_outputs_run(tsr_row_outputs *outputs, const float *values, int64_t ld, int32_t n_rows,
                               const tsr_sample_result **results);

#endif
