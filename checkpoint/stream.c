/* stream.c: stored bytes are read as they are; what is cut or converted is a view laid flat. */
#include "checkpoint/stream.h"
#include "base/checked.h"
#include "checkpoint/convert.h"
#include "checkpoint/format.h"
#include "checkpoint/gather.h"

/* What only passes through should stay in the processor's caches. Only where a small piece would be gathered from
 * runs that are hardly worth a read (a transposed matrix) are large ones better. */
enum { SMALL_CHUNK = 1 << 20, SHORT_RUN = 1 << 10 };

typedef struct run_count {
    int64_t runs, elements;
} run_count;

static tsr_status count_runs(void *context, const tsr_piece *p)
{
    run_count *c = context;
    c->runs += tsr_piece_runs(p);
    c->elements += tsr_piece_elements(p);
    return TSR_OK;
}

/* Judged by the first piece of a tensor that is put together from others. */
static tsr_status choose_chunk(const tsr_tensor_info *t, tsr_arena *arena, int64_t *out)
{
    const tsr_view *flat;
    run_count c = {0, 0};
    *out = SMALL_CHUNK;
    if (!t->made_of || t->bytes <= SMALL_CHUNK) return TSR_OK;
    int64_t elements = tsr_view_elements(t->made_of), width = t->bytes / elements;
    TSR_TRY(tsr_view_reshape(arena, t->made_of, 1, &elements, &flat));
    TSR_TRY(tsr_view_lower(flat, 0, SMALL_CHUNK / width, count_runs, &c));
    if (c.runs > 0 && c.elements * width / c.runs < SHORT_RUN) *out = TSR_EXPORT_CHUNK;
    return TSR_OK;
}

static tsr_status cut(const tsr_export_item *item, tsr_arena *arena, const tsr_view **view)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, item->n_ranges * (int64_t)sizeof(const tsr_view *), &p));
    const tsr_view **parts = p;
    for (int i = 0; i < item->n_ranges; i++)
        TSR_TRY(
            tsr_view_slice(arena, *view, item->axis, item->ranges[i].begin, item->ranges[i].end, &parts[i]));
    return tsr_view_concat(arena, item->axis, item->n_ranges, parts, view);
}

static tsr_status open_view(const tsr_export_item *item, tsr_arena *arena, tsr_stream *s)
{
    const tsr_tensor_info *t = item->tensor;
    s->as = item->dtype == TSR_DTYPE_COUNT ? t->dtype : item->dtype;
    if (!tsr_convert_to_ok(s->as))
        return tsr_fail(TSR_ERR_INTERNAL, "tensor \"%.200s\" of %s cannot be cut", t->name, t->dtype_label);
    TSR_TRY(tsr_view_tensor(arena, t->name, t->rank, t->shape, &s->view));
    if (item->n_ranges > 0) TSR_TRY(cut(item, arena, &s->view));
    int64_t elements = tsr_view_elements(s->view);
    return tsr_view_reshape(arena, s->view, 1, &elements, &s->view);
}

tsr_status tsr_stream_open(const tsr_source *source, const tsr_export_item *item, tsr_arena *arena,
                           tsr_stream *out)
{
    const tsr_tensor_info *t = item->tensor;
    *out = (tsr_stream){
        .source = source, .tensor = t, .as = TSR_DTYPE_COUNT, .file = -1, .bytes = tsr_export_bytes(item)};
    bool plain = !t->made_of && !t->sum_of && !source->read;
    TSR_TRY(choose_chunk(t, arena, &out->chunk));
    if (item->dtype != TSR_DTYPE_COUNT || item->n_ranges > 0) return open_view(item, arena, out);
    if (plain) {
        out->file = source->files[t->file].fd;
        out->chunk = TSR_EXPORT_CHUNK; /* the system copies by itself */
    }
    return TSR_OK;
}

tsr_dtype tsr_stream_converts_to(const tsr_stream *s)
{
    return s->view && s->as != s->tensor->dtype ? s->as : TSR_DTYPE_COUNT;
}

int64_t tsr_stream_chunks(const tsr_stream *s)
{
    return (s->bytes + s->chunk - 1) / s->chunk;
}

void tsr_stream_chunk(const tsr_stream *s, int64_t i, int64_t *at, int64_t *n)
{
    *at = i * s->chunk;
    *n = tsr_min(s->chunk, s->bytes - *at);
}

tsr_status tsr_stream_read(const tsr_stream *s, int64_t at, int64_t n, void *dst)
{
    if (!s->view) return tsr_source_read(s->source, s->tensor, at, n, dst);
    int64_t element = tsr_dtype_bytes(s->as);
    return tsr_view_read(s->view, s->source, NULL, at / element, (at + n) / element, s->as, dst);
}
