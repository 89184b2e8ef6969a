/* export_compare.c: is what was written what was read? Tensor by tensor, byte by byte. */
#include "base/checked.h"
#include "checkpoint/shape.h"
#include "checkpoint/stream.h"

#include <string.h>

typedef struct compare_job {
    tsr_stream *source, *result; /* [n] */
    int64_t *first;              /* [n + 1] number of each tensor's first chunk */
    int64_t n;
} compare_job;

static tsr_status same_form(const tsr_tensor_info *a, tsr_dtype as, const tsr_tensor_info *b)
{
    char left[TSR_SHAPE_TEXT], right[TSR_SHAPE_TEXT];
    const char *label = as == TSR_DTYPE_COUNT ? a->dtype_label : tsr_dtype_label(as);
    bool same = a->rank == b->rank && strcmp(label, b->dtype_label) == 0;
    for (int i = 0; same && i < a->rank; i++) same = a->shape[i] == b->shape[i];
    if (same) return TSR_OK;
    return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\": expected %s %s, found %s %s", a->name, label,
                    tsr_shape_text(a->rank, a->shape, left), b->dtype_label,
                    tsr_shape_text(b->rank, b->shape, right));
}

static tsr_status pair(const tsr_source *source, const tsr_source *result, tsr_dtype wanted, tsr_arena *arena,
                       compare_job *job)
{
    for (int64_t i = 0; i < job->n; i++) {
        tsr_export_item from = {.tensor = tsr_source_tensor(source, i)};
        tsr_export_item to = {.tensor = tsr_source_find(result, from.tensor->name), .dtype = TSR_DTYPE_COUNT};
        if (!to.tensor)
            return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\": missing in the result", from.tensor->name);
        from.dtype = tsr_export_dtype(from.tensor, wanted);
        TSR_TRY(same_form(from.tensor, from.dtype, to.tensor));
        TSR_TRY(tsr_stream_open(source, &from, arena, &job->source[i]));
        TSR_TRY(tsr_stream_open(result, &to, arena, &job->result[i]));
        job->source[i].chunk = job->result[i].chunk = TSR_EXPORT_CHUNK / 4;
        job->first[i + 1] = job->first[i] + tsr_stream_chunks(&job->source[i]);
    }
    if (tsr_source_count(result) != job->n)
        return tsr_fail(TSR_ERR_FORMAT, "the result has %lld tensors, expected %lld",
                        (long long)tsr_source_count(result), (long long)job->n);
    return TSR_OK;
}

static tsr_status compare_chunk(void *context, int64_t chunk, void *buffer, int64_t *done)
{
    const compare_job *job = context;
    int64_t low = 0, high = job->n, at, n;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (job->first[middle] <= chunk)
            low = middle;
        else
            high = middle;
    }
    const tsr_stream *a = &job->source[low], *b = &job->result[low];
    char *left = buffer, *right = left + TSR_EXPORT_CHUNK / 4;
    tsr_stream_chunk(a, chunk - job->first[low], &at, &n);
    TSR_TRY(tsr_stream_read(a, at, n, left));
    TSR_TRY(tsr_stream_read(b, at, n, right));
    *done = n;
    if (memcmp(left, right, (size_t)n) == 0) return TSR_OK;
    int64_t k = 0;
    while (left[k] == right[k]) k++;
    return tsr_fail(TSR_ERR_FORMAT, "tensor \"%.200s\": byte %lld differs from what was converted",
                    a->tensor->name, (long long)(at + k));
}

static tsr_status compare(const tsr_source *source, const tsr_source *result, tsr_dtype wanted,
                          tsr_pool *pool, tsr_chunk_work *work, tsr_arena *arena)
{
    compare_job job = {.n = tsr_source_count(source)};
    void *p;
    TSR_TRY(tsr_arena_alloc(arena, job.n * (int64_t)sizeof(tsr_stream), &p));
    job.source = p;
    TSR_TRY(tsr_arena_alloc(arena, job.n * (int64_t)sizeof(tsr_stream), &p));
    job.result = p;
    TSR_TRY(tsr_arena_alloc(arena, (job.n + 1) * (int64_t)sizeof *job.first, &p));
    job.first = p;
    TSR_TRY(pair(source, result, wanted, arena, &job));
    work->chunks = job.first[job.n];
    work->context = &job;
    return tsr_chunks_run(work, pool);
}

tsr_status tsr_export_compare(const tsr_source *source, const tsr_source *result, tsr_dtype wanted,
                              tsr_pool *pool, tsr_progress *progress, void *progress_context)
{
    tsr_chunk_work work = {.buffer_bytes = TSR_EXPORT_CHUNK / 2,
                           .work = compare_chunk,
                           .progress = progress,
                           .progress_context = progress_context};
    tsr_arena *arena;
    TSR_TRY(tsr_arena_create("a comparison", &arena));
    tsr_status s = compare(source, result, wanted, pool, &work, arena);
    tsr_arena_destroy(&arena);
    return s;
}
