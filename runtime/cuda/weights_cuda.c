/* weights_cuda.c: plans the block, then fills it part by part through pinned buffers. */
#include "runtime/cuda/weights_cuda.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/text.h"
#include "layers/cuda/fill.h"
#include "runtime/cuda/copy_lane.h"
#include "runtime/cuda/weights_cuda_cache.h"
#include "runtime/part_queue.h"
#include "runtime/weights.h"

#include <stdatomic.h>
#include <stdio.h>

enum { ALIGN_BYTES = 256, PART_BYTES = 4 << 20 };

struct tsr_cuda_weights {
    int64_t n;
    tsr_cuda_weight *data; /* [n]; data NULL where unused */
    int64_t *offset;       /* [n] in the block; -1: unused */
    int64_t *first_part;   /* [n + 1] parts are numbered through all weights */
    char *block;
    tsr_cuda_weights_sizes sizes;
};

/* --- Planning --- */

static int64_t row_bytes(const tsr_cuda_weight *d)
{
    return d->cols * tsr_dtype_bytes(d->dtype);
}

static int64_t rows_per_part(const tsr_cuda_weight *d)
{
    return tsr_max(PART_BYTES / tsr_max(row_bytes(d), 1), 1);
}

static tsr_status plan_weight(tsr_cuda_weights *w, tsr_weight i, bool linear)
{
    const tsr_cuda_weight *d = &w->data[i];
    int64_t bytes;
    if (!tsr_mul(d->rows, row_bytes(d), &bytes) || bytes > INT64_MAX / 4 ||
        !tsr_add(w->sizes.bytes, tsr_round_up(bytes, ALIGN_BYTES), &w->sizes.bytes))
        return tsr_fail(TSR_ERR_CAPACITY, "the weights are too large for any GPU");
    w->offset[i] = w->sizes.bytes - tsr_round_up(bytes, ALIGN_BYTES);
    if (linear) w->sizes.linear_bytes += bytes;
    return TSR_OK;
}

static tsr_status plan(const tsr_model *m, tsr_cuda_weights *w, tsr_dtype dtype, const bool *used,
                       const bool *linear)
{
    for (tsr_weight i = 0; i < w->n; i++) {
        const tsr_weight_info *info = &m->weights[i];
        tsr_cuda_weight *d = &w->data[i];
        *d = (tsr_cuda_weight){info->is_vector ? TSR_F32 : dtype, info->rows, info->cols, NULL};
        w->offset[i] = -1;
        if (used[i]) TSR_TRY(plan_weight(w, i, linear[i]));
        int64_t parts = used[i] ? (d->rows + rows_per_part(d) - 1) / rows_per_part(d) : 0;
        w->first_part[i + 1] = w->first_part[i] + parts;
    }
    return TSR_OK;
}

static tsr_status make_plan(const tsr_model *m, tsr_dtype dtype, tsr_cuda_weights **out)
{
    void *p, *used = NULL, *linear = NULL;
    tsr_status status;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_cuda_weights), "the weights", &p));
    tsr_cuda_weights *w = p;
    *out = w;
    w->n = m->n_weights;
    TSR_TRY(tsr_calloc(w->n, sizeof *w->data, "the weights", &p));
    w->data = p;
    TSR_TRY(tsr_calloc(w->n, sizeof *w->offset, "the weights", &p));
    w->offset = p;
    TSR_TRY(tsr_calloc(w->n + 1, sizeof *w->first_part, "the weights", &p));
    w->first_part = p;
    TSR_TRY_OUT(tsr_calloc(w->n, sizeof(bool), "the weights", &used));
    TSR_TRY_OUT(tsr_calloc(w->n, sizeof(bool), "the weights", &linear));
    tsr_weights_find_uses(m, used, linear);
    TSR_TRY_OUT(plan(m, w, dtype, used, linear));
out:
    tsr_free(used);
    tsr_free(linear);
    return status;
}

tsr_status tsr_cuda_weights_measure(const tsr_model *local, tsr_dtype dtype, tsr_cuda_weights_sizes *out)
{
    tsr_cuda_weights *w = NULL;
    tsr_status s = make_plan(local, dtype, &w);
    if (s == TSR_OK) *out = w->sizes;
    tsr_cuda_weights_destroy(&w);
    return s;
}

/* --- Filling --- */

typedef struct loader {
    const tsr_model *model;
    const tsr_source *source;
    tsr_cuda_weights *weights;
    int device;
    int64_t buffer_bytes;
    double start;
    atomic_llong copied, next_report; /* bytes; milliseconds since the start */
} loader;

static tsr_status make_lane(void *ctx, int thread, void **state)
{
    (void)thread;
    const loader *l = ctx;
    tsr_cuda_lane *lane;
    tsr_status s = tsr_cuda_lane_create(l->device, l->buffer_bytes, &lane);
    *state = lane;
    return s;
}

static tsr_status finish_lane(void *ctx, void *state)
{
    (void)ctx;
    return tsr_cuda_lane_finish(state);
}

static void free_lane(void *ctx, void *state)
{
    (void)ctx;
    tsr_cuda_lane *lane = state;
    tsr_cuda_lane_destroy(&lane);
}

/* A line now and then while a large model is loading. */
static void report(loader *l, int64_t bytes)
{
    enum { FIRST_MS = 2000, EVERY_MS = 2000 };
    int64_t sum = atomic_fetch_add(&l->copied, bytes) + bytes;
    long long due = atomic_load(&l->next_report), now = (long long)((tsr_now() - l->start) * 1000);
    if (now < due + FIRST_MS ||
        !atomic_compare_exchange_strong(&l->next_report, &due, now - FIRST_MS + EVERY_MS))
        return;
    tsr_log(TSR_LOG_INFO, "loading: %.1f of %.1f GB, %.1f GB/s", (double)sum / 1e9,
            (double)l->weights->sizes.bytes / 1e9, (double)sum / 1e6 / (double)now);
}

static tsr_weight weight_of(const tsr_cuda_weights *w, int64_t part)
{
    int64_t low = 0, high = w->n; /* first_part[low] <= part < first_part[high] */
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (w->first_part[middle] <= part)
            low = middle;
        else
            high = middle;
    }
    return (tsr_weight)low;
}

static tsr_status load_part(void *ctx, void *state, int64_t part)
{
    loader *l = ctx;
    tsr_weight i = weight_of(l->weights, part);
    const tsr_cuda_weight *d = &l->weights->data[i];
    int64_t begin = (part - l->weights->first_part[i]) * rows_per_part(d);
    int64_t end = tsr_min(begin + rows_per_part(d), d->rows), bytes = (end - begin) * row_bytes(d);
    void *buffer;
    TSR_TRY(tsr_cuda_lane_buffer(state, &buffer));
    TSR_TRY(tsr_weights_read_rows(l->model, l->source, i, begin, end, d->dtype, buffer));
    TSR_TRY(tsr_cuda_lane_send(state, (char *)d->data + begin * row_bytes(d), bytes));
    report(l, bytes);
    return TSR_OK;
}

static int64_t largest_part(const tsr_cuda_weights *w)
{
    int64_t bytes = 1;
    for (int64_t i = 0; i < w->n; i++)
        if (w->data[i].data)
            bytes =
                tsr_max(bytes, tsr_min(rows_per_part(&w->data[i]), w->data[i].rows) * row_bytes(&w->data[i]));
    return bytes;
}

static tsr_status read_source(const tsr_model *m, const tsr_source *source, tsr_pool *pool, int device,
                              tsr_cuda_weights *w)
{
    loader l = {.model = m, .source = source, .weights = w, .device = device, .start = tsr_now()};
    l.buffer_bytes = largest_part(w);
    tsr_part_work work = {.ctx = &l,
                          .n_parts = w->first_part[w->n],
                          .prepare = make_lane,
                          .work = load_part,
                          .finish = finish_lane,
                          .release = free_lane};
    return tsr_parts_run(pool, &work);
}

/* What lies where in the block, made how: for the cache's key. */
static tsr_status describe_plan(const tsr_model *m, const tsr_cuda_weights *w, tsr_text *out)
{
    TSR_TRY(tsr_text_format(out, "layout cuda 1; prefix \"%s\"\n", m->name_prefix ? m->name_prefix : ""));
    for (tsr_weight i = 0; i < w->n; i++) {
        const tsr_cuda_weight *d = &w->data[i];
        if (!d->data) continue;
        TSR_TRY(tsr_text_format(out, "%lld %s rows [%lld,%lld] ", (long long)w->offset[i],
                                tsr_dtype_name(d->dtype), (long long)d->rows, (long long)d->cols));
        if (m->weights[i].view)
            TSR_TRY(tsr_view_print(m->weights[i].view, out));
        else
            TSR_TRY(tsr_text_puts(out, m->weights[i].name));
        TSR_TRY(tsr_text_puts(out, "\n"));
    }
    return TSR_OK;
}

/* From the cache, or from the checkpoint and then into the cache. */
static tsr_status read_by_cache(const tsr_model *m, const tsr_source *source, tsr_weights_cache *cache,
                                tsr_pool *pool, int device, tsr_cuda_weights *w)
{
    tsr_text text;
    TSR_TRY(tsr_text_init(&text, TSR_CACHE_TEXT_CAP - 1));
    /* The gaps between weights are stored too. */
    tsr_status s = tsr_cuda_check(cudaMemset(w->block, 0, (size_t)w->sizes.bytes), "the weights");
    if (s == TSR_OK) s = tsr_cuda_check(cudaDeviceSynchronize(), "the weights");
    if (s == TSR_OK) s = describe_plan(m, w, &text);
    if (s == TSR_OK &&
        !tsr_cuda_weights_from_cache(cache, text.data, w->sizes.bytes, pool, device, w->block)) {
        s = read_source(m, source, pool, device, w);
        if (s == TSR_OK) tsr_cuda_weights_to_cache(cache, text.data, w->sizes.bytes, w->block);
    }
    tsr_text_free(&text);
    return s;
}

/* What a rule computes is part of the model, not of its checkpoint: the same numbers with made-up weights. */
static tsr_status make_computed(const tsr_model *m, tsr_weight i, const tsr_cuda_weight *d)
{
    void *rows;
    TSR_TRY(tsr_alloc(d->rows * row_bytes(d), "a computed weight", &rows));
    tsr_status status = tsr_weights_read_rows(m, NULL, i, 0, d->rows, d->dtype, rows);
    if (status == TSR_OK)
        status = tsr_cuda_check(cudaMemcpy((void *)(uintptr_t)d->data, rows, (size_t)(d->rows * row_bytes(d)),
                                           cudaMemcpyHostToDevice),
                                "a computed weight");
    tsr_free(rows);
    return status;
}

static tsr_status make_random(const tsr_model *m, uint64_t seed, tsr_cuda_weights *w)
{
    for (tsr_weight i = 0; i < w->n; i++) {
        const tsr_cuda_weight *d = &w->data[i];
        if (!d->data) continue;
        if (m->weights[i].rule)
            TSR_TRY(make_computed(m, i, d));
        else if (m->weights[i].is_vector)
            TSR_TRY(tsr_cuda_constant_fill((float *)(uintptr_t)d->data,
                                           tsr_weights_is_scale(m->weights[i].name), d->rows, NULL));
        else
            TSR_TRY(tsr_cuda_random_fill((void *)(uintptr_t)d->data, d->dtype, 0, d->rows * d->cols, seed, i,
                                         NULL));
    }
    return tsr_cuda_check(cudaDeviceSynchronize(), "making random weights");
}

/* --- Life --- */

static tsr_status fill(const tsr_model *local, const tsr_source *source, tsr_weights_cache *cache,
                       uint64_t seed, tsr_pool *pool, int device, tsr_cuda_weights *w)
{
    if (!source) return make_random(local, seed, w);
    if (cache) return read_by_cache(local, source, cache, pool, device, w);
    return read_source(local, source, pool, device, w);
}

tsr_status tsr_cuda_weights_load(const tsr_model *local, const tsr_source *source, tsr_weights_cache *cache,
                                 tsr_dtype dtype, uint64_t seed, tsr_pool *pool, int device,
                                 tsr_cuda_weights **out)
{
    tsr_cuda_weights *w = NULL;
    tsr_status status = make_plan(local, dtype, &w);
    void *block = NULL;
    if (status == TSR_OK)
        status = tsr_cuda_check(cudaMalloc(&block, (size_t)tsr_max(w->sizes.bytes, 1)), "the weights");
    if (status == TSR_OK) {
        w->block = block;
        for (int64_t i = 0; i < w->n; i++)
            if (w->offset[i] >= 0) w->data[i].data = w->block + w->offset[i];
        status = fill(local, source, cache, seed, pool, device, w);
    }
    if (status != TSR_OK) tsr_cuda_weights_destroy(&w);
    *out = w;
    return status;
}

void tsr_cuda_weights_destroy(tsr_cuda_weights **weights)
{
    tsr_cuda_weights *w = *weights;
    if (!w) return;
    if (w->block) cudaFree(w->block);
    tsr_free(w->data);
    tsr_free(w->offset);
    tsr_free(w->first_part);
    tsr_free(w);
    *weights = NULL;
}

const tsr_cuda_weight *tsr_cuda_weights_get(const tsr_cuda_weights *w, tsr_weight weight)
{
    return weight == TSR_NONE || !w->data[weight].data ? NULL : &w->data[weight];
}
