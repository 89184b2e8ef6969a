/* stream.c: stored bytes are read as they are; what is cut or converted is a view laid flat. */
#include "checkpoint/stream.h"
#include "base/checked.h"
#include "checkpoint/convert.h"

/* Plain copies run best from the processor's caches. */
enum { PLAIN_CHUNK = 4 << 20 };

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
    *out =
        (tsr_stream){.source = source, .tensor = t, .as = TSR_DTYPE_COUNT, .bytes = tsr_export_bytes(item)};
    out->chunk = t->made_of ? TSR_EXPORT_CHUNK : PLAIN_CHUNK;
    if (item->dtype == TSR_DTYPE_COUNT && item->n_ranges == 0) return TSR_OK;
    return open_view(item, arena, out);
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
