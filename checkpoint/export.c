/* export.c: the plan cut into chunks, and each chunk read, converted and written. */
#include "checkpoint/export.h"
#include "base/checked.h"
#include "checkpoint/convert.h"
#include "checkpoint/stream.h"

#include <stdatomic.h>
#include <string.h>

tsr_dtype tsr_export_dtype(const tsr_tensor_info *t, tsr_dtype wanted)
{
    return t->dtype != wanted && tsr_convert_from_ok(t->dtype) && tsr_convert_to_ok(wanted) ? wanted
                                                                                            : TSR_DTYPE_COUNT;
}

static int64_t cut_extent(const tsr_export_item *item)
{
    int64_t n = 0;
    for (int i = 0; i < item->n_ranges; i++) n += item->ranges[i].end - item->ranges[i].begin;
    return n;
}

/* Name, format, shape and size as they will stand in the file. */
static tsr_safetensors_item describe(const tsr_export_item *item)
{
    const tsr_tensor_info *t = item->tensor;
    tsr_safetensors_item out = {t->name, t->dtype_label, t->rank, {0}, t->bytes};
    memcpy(out.shape, t->shape, sizeof out.shape);
    if (item->dtype != TSR_DTYPE_COUNT) {
        out.bytes = out.bytes / tsr_dtype_bytes(t->dtype) * tsr_dtype_bytes(item->dtype);
        out.dtype_label = tsr_dtype_label(item->dtype);
    }
    if (item->n_ranges > 0) {
        out.shape[item->axis] = cut_extent(item);
        out.bytes = out.bytes / t->shape[item->axis] * out.shape[item->axis];
    }
    return out;
}

int64_t tsr_export_bytes(const tsr_export_item *item)
{
    return describe(item).bytes;
}

/* --- One file --- */

typedef struct file_job {
    tsr_safetensors_writer *writer;
    tsr_stream *streams; /* [n_items] */
    int64_t *first;      /* [n_items + 1] number of each item's first chunk, and of all */
    int64_t n_items;
    atomic_llong *infinite;
} file_job;

static void count_infinite(const tsr_stream *s, const void *bytes, int64_t n, atomic_llong *total)
{
    const uint16_t *half = bytes;
    int64_t found = 0;
    if (tsr_stream_converts_to(s) != TSR_F16) return;
    for (int64_t i = 0; i < n / 2; i++) found += (half[i] & 0x7FFF) == 0x7C00;
    if (found) atomic_fetch_add(total, found);
}

static int64_t item_of(const file_job *job, int64_t chunk)
{
    int64_t low = 0, high = job->n_items; /* first[low] <= chunk < first[high] */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (job->first[middle] <= chunk)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static tsr_status write_chunk(void *context, int64_t chunk, void *buffer, int64_t *done)
{
    file_job *job = context;
    int64_t i = item_of(job, chunk), at, n;
    const tsr_stream *s = &job->streams[i];
    tsr_stream_chunk(s, chunk - job->first[i], &at, &n);
    *done = n;
    if (s->file >= 0 && tsr_safetensors_writer_copy(job->writer, i, at, s->file, s->tensor->offset + at, n))
        return TSR_OK;
    TSR_TRY(tsr_stream_read(s, at, n, buffer));
    count_infinite(s, buffer, n, job->infinite);
    return tsr_safetensors_writer_put(job->writer, i, at, buffer, n);
}

static tsr_status open_streams(const tsr_source *source, const tsr_export_file *file, tsr_arena *arena,
                               file_job *job)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, file->n_items * (int64_t)sizeof *job->streams, &p));
    job->streams = p;
    TSR_TRY(tsr_arena_alloc(arena, (file->n_items + 1) * (int64_t)sizeof *job->first, &p));
    job->first = p;
    job->n_items = file->n_items;
    for (int64_t i = 0; i < file->n_items; i++) {
        TSR_TRY(tsr_stream_open(source, &file->items[i], arena, &job->streams[i]));
        job->first[i + 1] = job->first[i] + tsr_stream_chunks(&job->streams[i]);
    }
    return TSR_OK;
}

static tsr_status create_writer(const tsr_export_file *file, int dir, tsr_arena *arena,
                                tsr_safetensors_writer **out)
{
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, file->n_items * (int64_t)sizeof(tsr_safetensors_item), &p));
    tsr_safetensors_item *items = p;
    for (int64_t i = 0; i < file->n_items; i++) items[i] = describe(&file->items[i]);
    return tsr_safetensors_writer_create(dir, file->name, items, file->n_items, file->notes, file->n_notes,
                                         out);
}

static tsr_status write_file(const tsr_export_plan *plan, const tsr_export_file *file, int dir,
                             tsr_pool *pool, int64_t before, atomic_llong *infinite)
{
    tsr_arena *arena;
    file_job job = {.infinite = infinite};
    TSR_TRY(tsr_arena_create("an export", &arena));
    tsr_status s = open_streams(plan->source, file, arena, &job);
    if (s == TSR_OK) s = create_writer(file, dir, arena, &job.writer);
    tsr_chunk_work work = {.chunks = s == TSR_OK ? job.first[file->n_items] : 0,
                           .buffer_bytes = TSR_EXPORT_CHUNK,
                           .work = write_chunk,
                           .context = &job,
                           .progress = plan->progress,
                           .progress_context = plan->progress_context,
                           .done_before = before};
    if (s == TSR_OK) s = tsr_chunks_run(&work, pool);
    if (s == TSR_OK) s = tsr_safetensors_writer_finish(job.writer);
    tsr_safetensors_writer_close(&job.writer);
    tsr_arena_destroy(&arena);
    return s;
}

tsr_status tsr_export_run(const tsr_export_plan *plan, int dir, tsr_pool *pool, int64_t *infinite)
{
    atomic_llong count = 0;
    int64_t before = 0;
    for (int64_t i = 0; i < plan->n_files; i++) {
        const tsr_export_file *file = &plan->files[i];
        TSR_TRY(write_file(plan, file, dir, pool, before, &count));
        for (int64_t k = 0; k < file->n_items; k++) before += tsr_export_bytes(&file->items[k]);
    }
    *infinite = atomic_load(&count);
    return TSR_OK;
}
