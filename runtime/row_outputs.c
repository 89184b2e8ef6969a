/* row_outputs.c: a gather of the ranks' columns, laid side by side. */
#include "runtime/row_outputs.h"

#include "base/checked.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { MESSAGE_BYTES = 4 << 20 };

/* What a rank sends: which columns it holds, then those of each row, back to back. */
typedef struct message {
    int32_t first, n;
    float values[];
} message;

struct tsr_row_outputs {
    int32_t cols, first, n_local;
    tsr_gather gather;
    void *sent, *received, *rows, *results;
    int64_t sent_bytes, received_bytes, rows_bytes, results_bytes; /* capacities */
};

tsr_status tsr_row_outputs_create(int32_t cols, int32_t first, int32_t n_local, const tsr_gather *gather,
                                  tsr_row_outputs **out)
{
    void *p;
    *out = NULL;
    if (cols < 1 || first < 0 || n_local < 0 || n_local > cols - first || gather->size < 1)
        return tsr_fail(TSR_ERR_INTERNAL, "%d columns from %d on are no part of %d", n_local, first, cols);
    TSR_TRY(tsr_calloc(1, sizeof(tsr_row_outputs), "rows of outputs", &p));
    tsr_row_outputs *o = p;
    *o = (tsr_row_outputs){.cols = cols, .first = first, .n_local = n_local, .gather = *gather};
    *out = o;
    return TSR_OK;
}

void tsr_row_outputs_destroy(tsr_row_outputs **outputs)
{
    tsr_row_outputs *o = *outputs;
    if (!o) return;
    tsr_free(o->sent);
    tsr_free(o->received);
    tsr_free(o->rows);
    tsr_free(o->results);
    tsr_free(o);
    *outputs = NULL;
}

static tsr_status need(void **data, int64_t *capacity, int64_t bytes)
{
    return tsr_grow(data, capacity, bytes, 1, "rows of outputs");
}

/* Whichever columns a rank has, there is room for all: messages of all ranks have one size. */
static int64_t message_bytes(const tsr_row_outputs *o, int32_t n_rows)
{
    return (int64_t)sizeof(message) + (int64_t)n_rows * o->cols * (int64_t)sizeof(float);
}

static tsr_status spread(const tsr_row_outputs *o, const message *m, int32_t n_rows, float *out)
{
    if (m->first < 0 || m->n < 0 || m->n > o->cols - m->first)
        return tsr_fail(TSR_ERR_INTERNAL, "a rank gives %d columns from %d on of %d", m->n, m->first,
                        o->cols);
    for (int32_t r = 0; r < n_rows && m->n > 0; r++)
        memcpy(out + (int64_t)r * o->cols + m->first, m->values + (int64_t)r * m->n,
               (size_t)m->n * sizeof(float));
    return TSR_OK;
}

static tsr_status gather_rows(tsr_row_outputs *o, const float *values, int64_t ld, int32_t n_rows, float *out)
{
    int64_t bytes = message_bytes(o, n_rows);
    TSR_TRY(need(&o->sent, &o->sent_bytes, bytes));
    TSR_TRY(need(&o->received, &o->received_bytes, bytes * o->gather.size));
    message *mine = o->sent;
    memset(mine, 0, (size_t)bytes);
    mine->first = o->first;
    mine->n = o->n_local;
    for (int32_t r = 0; r < n_rows && o->n_local > 0; r++)
        memcpy(mine->values + (int64_t)r * o->n_local, values + r * ld, (size_t)o->n_local * sizeof(float));
    if (o->gather.size == 1) return spread(o, mine, n_rows, out);
    TSR_TRY(o->gather.all_gather(o->gather.ctx, mine, bytes, o->received));
    for (int i = 0; i < o->gather.size; i++)
        TSR_TRY(spread(o, (const message *)((const char *)o->received + i * bytes), n_rows, out));
    return TSR_OK;
}

static tsr_sample_result result_of(const float *row, int32_t cols)
{
    bool failed = false;
    for (int32_t i = 0; i < cols; i++) failed |= !isfinite(row[i]);
    return (tsr_sample_result){.id = -1, .logprob = NAN, .failed = failed, .outputs = row};
}

tsr_status tsr_row_outputs_run(tsr_row_outputs *o, const float *values, int64_t ld, int32_t n_rows,
                               const tsr_sample_result **results)
{
    int64_t row_bytes = o->cols * (int64_t)sizeof(float);
    int32_t batch = (int32_t)tsr_max(MESSAGE_BYTES / row_bytes, 1);
    *results = NULL;
    TSR_TRY(need(&o->rows, &o->rows_bytes, n_rows * row_bytes));
    TSR_TRY(need(&o->results, &o->results_bytes, n_rows * (int64_t)sizeof(tsr_sample_result)));
    float *rows = o->rows;
    tsr_sample_result *list = o->results;
    for (int32_t r = 0; r < n_rows; r += batch)
        TSR_TRY(gather_rows(o, values + r * ld, ld, (int32_t)tsr_min(batch, n_rows - r),
                            rows + (int64_t)r * o->cols));
    for (int32_t r = 0; r < n_rows; r++) list[r] = result_of(rows + (int64_t)r * o->cols, o->cols);
    *results = list;
    return TSR_OK;
}
