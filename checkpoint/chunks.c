/* chunks.c: threads take pieces by number until none is left or one has failed. */
#include "checkpoint/chunks.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

typedef struct chunk_run {
    const tsr_chunk_work *work;
    atomic_llong next, done;
    pthread_mutex_t lock;
    tsr_status status; /* the first failure, under the lock */
    char error[1024];
} chunk_run;

/* Error records belong to threads: this one is carried over. */
static void note_failure(chunk_run *run, tsr_status s)
{
    pthread_mutex_lock(&run->lock);
    if (run->status == TSR_OK) {
        run->status = s;
        snprintf(run->error, sizeof run->error, "%s", tsr_error_text());
    }
    pthread_mutex_unlock(&run->lock);
    atomic_store(&run->next, INT64_MAX / 2); /* the others stop taking pieces */
}

static tsr_status tell(const chunk_run *run, long long done)
{
    const tsr_chunk_work *w = run->work;
    if (!w->progress || w->progress(w->progress_context, w->done_before + done)) return TSR_OK;
    return tsr_fail(TSR_ERR_CANCELLED, "stopped on request");
}

static tsr_status take_chunks(chunk_run *run, bool tells, void *buffer)
{
    for (long long i; (i = atomic_fetch_add(&run->next, 1)) < run->work->chunks;) {
        int64_t done = 0;
        TSR_TRY(run->work->work(run->work->context, i, buffer, &done));
        long long all = atomic_fetch_add(&run->done, done) + done;
        if (tells) TSR_TRY(tell(run, all));
    }
    return TSR_OK;
}

static void run_thread(void *arg, int thread, int n_threads)
{
    (void)n_threads;
    chunk_run *run = arg;
    void *buffer;
    tsr_status s = tsr_alloc(run->work->buffer_bytes, "a copying buffer", &buffer);
    if (s == TSR_OK) s = take_chunks(run, thread == 0, buffer);
    tsr_free(buffer);
    if (s != TSR_OK) note_failure(run, s);
}

tsr_status tsr_chunks_run(const tsr_chunk_work *work, tsr_pool *pool)
{
    chunk_run run = {.work = work, .lock = PTHREAD_MUTEX_INITIALIZER};
    tsr_pool_run(pool, run_thread, &run);
    return run.status == TSR_OK ? TSR_OK : tsr_fail(run.status, "%s", run.error);
}
