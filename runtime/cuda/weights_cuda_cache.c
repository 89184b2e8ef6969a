/* weights_cuda_cache.c: parts of a cache entry to the GPU on all threads, and the block back in order. */
#include "runtime/cuda/weights_cuda_cache.h"
#include "base/checked.h"
#include "layers/cuda/cuda_kernel.h"
#include "runtime/cuda/copy_lane.h"
#include "runtime/part_queue.h"

typedef struct reading {
    const tsr_cache_reader *reader;
    char *block; /* on the GPU */
    int64_t bytes;
    int device;
} reading;

static tsr_status make_lane(void *ctx, int thread, void **state)
{
    (void)thread;
    const reading *r = ctx;
    tsr_cuda_lane *lane;
    tsr_status s = tsr_cuda_lane_create(r->device, TSR_CACHE_PART_BYTES, &lane);
    *state = lane;
    return s;
}

static tsr_status read_part(void *ctx, void *state, int64_t part)
{
    const reading *r = ctx;
    void *buffer;
    TSR_TRY(tsr_cuda_lane_buffer(state, &buffer));
    TSR_TRY(tsr_cache_reader_part(r->reader, part, buffer));
    return tsr_cuda_lane_send(state, r->block + part * TSR_CACHE_PART_BYTES,
                              tsr_cache_part_bytes(r->bytes, part));
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

bool tsr_cuda_weights_from_cache(tsr_weights_cache *cache, const char *plan, int64_t bytes, tsr_pool *pool,
                                 int device, char *block)
{
    tsr_cache_reader *reader = cache ? tsr_weights_cache_find(cache, plan, bytes) : NULL;
    if (!reader) return false;
    reading r = {reader, block, bytes, device};
    tsr_part_work work = {.ctx = &r,
                          .n_parts = tsr_cache_parts(bytes),
                          .prepare = make_lane,
                          .work = read_part,
                          .finish = finish_lane,
                          .release = free_lane};
    tsr_status s = tsr_parts_run(pool, &work);
    tsr_cache_reader_close(&reader);
    if (s == TSR_OK)
        tsr_weights_cache_served(cache, bytes);
    else
        tsr_weights_cache_doubt(cache);
    return s == TSR_OK;
}

typedef struct writing {
    const char *block; /* on the GPU */
    int64_t bytes;
    void *buffer; /* pinned, of one part */
} writing;

static tsr_status put_parts(void *ctx, tsr_cache_writer *writer)
{
    const writing *w = ctx;
    for (int64_t at = 0; at < w->bytes; at += TSR_CACHE_PART_BYTES) {
        int64_t n = tsr_min(w->bytes - at, TSR_CACHE_PART_BYTES);
        TSR_TRY(tsr_cuda_check(cudaMemcpy(w->buffer, w->block + at, (size_t)n, cudaMemcpyDeviceToHost),
                               "weights for the cache"));
        TSR_TRY(tsr_cache_writer_put(writer, w->buffer, n));
    }
    return TSR_OK;
}

void tsr_cuda_weights_to_cache(tsr_weights_cache *cache, const char *plan, int64_t bytes, const char *block)
{
    writing w = {block, bytes, NULL};
    if (!cache) return;
    if (tsr_cuda_check(cudaHostAlloc(&w.buffer, TSR_CACHE_PART_BYTES, 0), "a buffer for the cache") !=
        TSR_OK) {
        tsr_weights_cache_doubt(cache);
        return;
    }
    tsr_weights_cache_store_by(cache, plan, bytes, put_parts, &w);
    cudaFreeHost(w.buffer);
}
