/* weights_cache.c: loading and storing a block of weights, and noting why not. */
#include "runtime/weights_cache.h"
#include "base/memory.h"
#include "base/text.h"
#include "checkpoint/source_identity.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct tsr_weights_cache {
    tsr_cache *cache; /* NULL: the folder cannot be used */
    const tsr_source *source;
    char *about;
    tsr_text origin; /* `about` and the source's files as they were at the beginning */
    tsr_weights_cache_report report;
};

void tsr_weights_cache_doubt(tsr_weights_cache *c)
{
    if (!c->report.doubt[0]) snprintf(c->report.doubt, sizeof c->report.doubt, "%s", tsr_error_text());
}

void tsr_weights_cache_served(tsr_weights_cache *c, int64_t bytes)
{
    c->report.bytes_read = bytes;
    c->report.stored = true;
}

static tsr_status describe_origin(const tsr_weights_cache *c, tsr_text *out)
{
    TSR_TRY(tsr_text_init(out, TSR_CACHE_TEXT_CAP - 1));
    TSR_TRY(tsr_text_puts(out, c->about));
    return tsr_source_identify(c->source, out);
}

tsr_status tsr_weights_cache_create(const char *dir, const char *about, const tsr_source *source,
                                    tsr_weights_cache **out)
{
    void *p, *copy;
    int64_t n = (int64_t)strlen(about) + 1;
    *out = NULL;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_weights_cache), "the cache", &p));
    tsr_weights_cache *c = p;
    c->source = source;
    tsr_status s = tsr_alloc(n, "the cache", &copy);
    if (s != TSR_OK) {
        tsr_free(c);
        return s;
    }
    c->about = memcpy(copy, about, (size_t)n);
    *out = c;
    s = describe_origin(c, &c->origin);
    if (s == TSR_OK) s = tsr_cache_open(dir, &c->cache);
    if (s != TSR_OK) tsr_weights_cache_doubt(c);
    return TSR_OK;
}

void tsr_weights_cache_destroy(tsr_weights_cache **cache)
{
    tsr_weights_cache *c = *cache;
    if (!c) return;
    tsr_cache_close(&c->cache);
    tsr_text_free(&c->origin);
    tsr_free(c->about);
    tsr_free(c);
    *cache = NULL;
}

tsr_cache_reader *tsr_weights_cache_find(tsr_weights_cache *c, const char *plan, int64_t bytes)
{
    tsr_cache_key key = {c->origin.data, plan, bytes};
    tsr_cache_reader *reader = NULL;
    if (c->cache && bytes > 0 && tsr_cache_reader_open(c->cache, &key, &reader) != TSR_OK)
        tsr_weights_cache_doubt(c);
    return reader;
}

/* --- Loading --- */

typedef struct read_job {
    const tsr_cache_reader *reader;
    char *block;
    int64_t parts;
    atomic_llong next;
    pthread_mutex_t lock;
    tsr_status status; /* the first failure, under the lock */
    char error[1024];
} read_job;

static void read_parts(void *arg, int thread, int n_threads)
{
    (void)thread, (void)n_threads;
    read_job *job = arg;
    for (long long i; (i = atomic_fetch_add(&job->next, 1)) < job->parts;) {
        tsr_status s = tsr_cache_reader_part(job->reader, i, job->block + i * TSR_CACHE_PART_BYTES);
        if (s == TSR_OK) continue;
        pthread_mutex_lock(&job->lock); /* error records belong to threads: carry this one over */
        if (job->status == TSR_OK) {
            job->status = s;
            snprintf(job->error, sizeof job->error, "%s", tsr_error_text());
        }
        pthread_mutex_unlock(&job->lock);
        atomic_store(&job->next, job->parts);
    }
}

bool tsr_weights_cache_load(tsr_weights_cache *c, const char *plan, int64_t bytes, tsr_pool *pool,
                            void *block)
{
    tsr_cache_reader *reader = c ? tsr_weights_cache_find(c, plan, bytes) : NULL;
    if (!reader) return false;
    read_job job = {
        .reader = reader, .block = block, .parts = tsr_cache_parts(bytes), .lock = PTHREAD_MUTEX_INITIALIZER};
    tsr_pool_run(pool, read_parts, &job);
    tsr_cache_reader_close(&reader);
    if (job.status != TSR_OK) {
        tsr_fail(job.status, "%s", job.error);
        tsr_weights_cache_doubt(c);
        memset(block, 0, (size_t)bytes); /* nothing of a damaged entry stays between the weights */
        return false;
    }
    tsr_weights_cache_served(c, bytes);
    return true;
}

/* --- Storing --- */

static tsr_status check_unchanged(const tsr_weights_cache *c)
{
    tsr_text now = {0};
    tsr_status s = describe_origin(c, &now);
    if (s == TSR_OK && strcmp(now.data, c->origin.data) != 0)
        s = tsr_fail(TSR_ERR_IO, "%s: the checkpoint was changed while it was read",
                     tsr_source_folder(c->source));
    tsr_text_free(&now);
    return s;
}

static tsr_status store(tsr_weights_cache *c, const char *plan, int64_t bytes, tsr_weights_cache_put *put,
                        void *ctx)
{
    tsr_cache_key key = {c->origin.data, plan, bytes};
    tsr_cache_writer *writer;
    TSR_TRY(check_unchanged(c));
    TSR_TRY(tsr_cache_writer_open(c->cache, &key, &writer));
    if (!writer) return TSR_OK; /* somebody else is at it */
    tsr_status s = put(ctx, writer);
    if (s == TSR_OK) s = tsr_cache_writer_finish(writer);
    c->report.stored = s == TSR_OK;
    tsr_cache_writer_close(&writer);
    return s;
}

void tsr_weights_cache_store_by(tsr_weights_cache *c, const char *plan, int64_t bytes,
                                tsr_weights_cache_put *put, void *ctx)
{
    if (!c || !c->cache || bytes < 1) return;
    if (store(c, plan, bytes, put, ctx) != TSR_OK) tsr_weights_cache_doubt(c);
}

typedef struct whole_block {
    const void *data;
    int64_t bytes;
} whole_block;

static tsr_status put_block(void *ctx, tsr_cache_writer *writer)
{
    const whole_block *b = ctx;
    return tsr_cache_writer_put(writer, b->data, b->bytes);
}

void tsr_weights_cache_store(tsr_weights_cache *c, const char *plan, int64_t bytes, const void *block)
{
    whole_block all = {block, bytes};
    tsr_weights_cache_store_by(c, plan, bytes, put_block, &all);
}

void tsr_weights_cache_get_report(const tsr_weights_cache *c, tsr_weights_cache_report *out)
{
    *out = c ? c->report : (tsr_weights_cache_report){0};
}
