/* view_read.c: rows of a view, once or panel by panel with reading ahead. */
#include "base/checked.h"
#include "checkpoint/convert.h"
#include "checkpoint/gather.h"
#include "checkpoint/view_bind.h"

#include <string.h>

/* Runs of GOOD_RUN bytes read at the speed of the page cache; shorter ones are worth reading ahead for. */
enum { AHEAD_BYTES = 4 << 20, GOOD_RUN = 4 << 10 };

struct tsr_view_reader {
    const tsr_view *view;         /* over what the tensors are made of, then in the arena */
    tsr_arena *arena;             /* NULL if it is the caller's */
    const tsr_tensor_info **leaf; /* [leaves] */
    tsr_gather gather;
    void *dst;                      /* of the read under way */
    char *ahead;                    /* [ahead_rows, cols], NULL until needed */
    int64_t ahead_begin, ahead_end; /* the rows it holds */
    int64_t ahead_rows;             /* as many as AHEAD_BYTES hold */
};

tsr_status tsr_view_reader_create(const tsr_view *v, const tsr_source *source, const char *prefix,
                                  tsr_dtype as, tsr_view_reader **out)
{
    void *p;
    *out = NULL;
    if (!tsr_convert_to_ok(as))
        return tsr_fail(TSR_ERR_INTERNAL, "weights cannot be read as dtype %d", (int)as);
    TSR_TRY(tsr_calloc(1, sizeof(tsr_view_reader), "a weight reader", &p));
    tsr_view_reader *r = p;
    r->gather = (tsr_gather){.source = source, .as = as};
    tsr_status status = tsr_view_bind_parts(v, source, prefix, &r->arena, &r->view, &r->leaf);
    if (status != TSR_OK) {
        tsr_view_reader_destroy(&r);
        return status;
    }
    int64_t cols = tsr_max(tsr_view_cols(v), 1), row_bytes;
    r->ahead_rows = tsr_mul(cols, tsr_dtype_bytes(as), &row_bytes) ? AHEAD_BYTES / row_bytes : 0;
    *out = r;
    return TSR_OK;
}

void tsr_view_reader_destroy(tsr_view_reader **reader)
{
    tsr_view_reader *r = *reader;
    if (!r) return;
    tsr_gather_free(&r->gather);
    tsr_arena_destroy(&r->arena);
    tsr_free(r->leaf);
    tsr_free(r->ahead);
    tsr_free(r);
    *reader = NULL;
}

static tsr_status read_piece(void *context, const tsr_piece *p)
{
    tsr_view_reader *r = context;
    return tsr_gather_piece(&r->gather, r->leaf[p->leaf], p, r->dst);
}

static tsr_status read_rows(tsr_view_reader *r, int64_t row_begin, int64_t row_end, void *dst)
{
    r->dst = dst;
    return tsr_view_lower(r->view, row_begin, row_end, read_piece, r);
}

typedef struct run_count {
    const tsr_view_reader *reader;
    int64_t runs, bytes;
} run_count;

static tsr_status count_runs(void *context, const tsr_piece *p)
{
    run_count *c = context;
    c->runs += tsr_piece_runs(p);
    c->bytes += tsr_piece_elements(p) * tsr_dtype_bytes(c->reader->leaf[p->leaf]->dtype);
    return TSR_OK;
}

/* Mean bytes of a run, when these rows are read at once. */
static tsr_status mean_run(const tsr_view_reader *r, int64_t row_begin, int64_t row_end, int64_t *out)
{
    run_count c = {.reader = r};
    TSR_TRY(tsr_view_lower(r->view, row_begin, row_end, count_runs, &c));
    *out = c.runs ? c.bytes / c.runs : GOOD_RUN;
    return TSR_OK;
}

/* Would reading up to row `far` make for runs at least twice as long? */
static tsr_status should_read_ahead(const tsr_view_reader *r, int64_t row_begin, int64_t row_end, int64_t far,
                                    bool *out)
{
    int64_t now, then;
    *out = false;
    if (far <= row_end) return TSR_OK;
    TSR_TRY(mean_run(r, row_begin, row_end, &now));
    if (now >= GOOD_RUN) return TSR_OK;
    TSR_TRY(mean_run(r, row_begin, far, &then));
    *out = then >= 2 * now;
    return TSR_OK;
}

static tsr_status fill_ahead(tsr_view_reader *r, int64_t row_begin, int64_t row_end)
{
    void *p;
    if (!r->ahead) {
        TSR_TRY(tsr_alloc(AHEAD_BYTES, "reading weights ahead", &p));
        r->ahead = p;
    }
    r->ahead_begin = r->ahead_end = 0;
    TSR_TRY(read_rows(r, row_begin, row_end, r->ahead));
    r->ahead_begin = row_begin;
    r->ahead_end = row_end;
    return TSR_OK;
}

tsr_status tsr_view_reader_rows(tsr_view_reader *r, int64_t row_begin, int64_t row_end, void *dst)
{
    int64_t rows = tsr_view_rows(r->view), row_bytes = tsr_view_cols(r->view) * tsr_dtype_bytes(r->gather.as);
    if (row_begin < 0 || row_end < row_begin || row_end > rows)
        return tsr_fail(TSR_ERR_INTERNAL, "rows %lld..%lld asked of a weight of %lld", (long long)row_begin,
                        (long long)row_end, (long long)rows);
    /* What is left of the rows read ahead comes first. */
    if (row_begin >= r->ahead_begin && row_begin < r->ahead_end && row_begin < row_end) {
        int64_t n = tsr_min(row_end, r->ahead_end) - row_begin;
        memcpy(dst, r->ahead + (row_begin - r->ahead_begin) * row_bytes, (size_t)(n * row_bytes));
        row_begin += n;
        dst = (char *)dst + n * row_bytes;
    }
    if (row_begin == row_end) return TSR_OK;
    bool ahead;
    int64_t far = row_begin + tsr_min(r->ahead_rows, rows - row_begin);
    TSR_TRY(should_read_ahead(r, row_begin, row_end, far, &ahead));
    if (!ahead) return read_rows(r, row_begin, row_end, dst);
    TSR_TRY(fill_ahead(r, row_begin, far));
    memcpy(dst, r->ahead, (size_t)((row_end - row_begin) * row_bytes));
    return TSR_OK;
}

tsr_status tsr_view_read(const tsr_view *v, const tsr_source *source, const char *prefix, int64_t row_begin,
                         int64_t row_end, tsr_dtype as, void *dst)
{
    tsr_view_reader *r;
    TSR_TRY(tsr_view_reader_create(v, source, prefix, as, &r));
    r->ahead_rows = 0; /* nobody will come back for more */
    tsr_status status = tsr_view_reader_rows(r, row_begin, row_end, dst);
    tsr_view_reader_destroy(&r);
    return status;
}

tsr_status tsr_view_read_f32(const tsr_view *v, const tsr_source *source, const char *prefix,
                             int64_t row_begin, int64_t row_end, float *dst)
{
    return tsr_view_read(v, source, prefix, row_begin, row_end, TSR_F32, dst);
}
