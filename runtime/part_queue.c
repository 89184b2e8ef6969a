/* part_queue.c: handing out the parts, and carrying the first failure over to the caller. */
#include "runtime/part_queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

typedef struct part_queue {
    const tsr_part_work *work;
    atomic_llong next;
    pthread_mutex_t lock;
    tsr_status status; /* the first failure, under the lock */
    char error[1024];  /* its text: error records belong to threads */
} part_queue;

static tsr_status take_parts(part_queue *q, void *state)
{
    const tsr_part_work *w = q->work;
    for (;;) {
        long long part = atomic_fetch_add(&q->next, 1);
        if (part >= w->n_parts) return w->finish ? w->finish(w->ctx, state) : TSR_OK;
        TSR_TRY(w->work(w->ctx, state, part));
    }
}

static void note_failure(part_queue *q, tsr_status s)
{
    pthread_mutex_lock(&q->lock);
    if (q->status == TSR_OK) {
        q->status = s;
        snprintf(q->error, sizeof q->error, "%s", tsr_error_text());
    }
    pthread_mutex_unlock(&q->lock);
    atomic_store(&q->next, q->work->n_parts); /* the others stop */
}

static void run(void *arg, int thread, int n_threads)
{
    (void)n_threads;
    part_queue *q = arg;
    const tsr_part_work *w = q->work;
    void *state = NULL;
    tsr_status s = w->prepare ? w->prepare(w->ctx, thread, &state) : TSR_OK;
    if (s == TSR_OK) s = take_parts(q, state);
    if (s != TSR_OK) note_failure(q, s);
    if (w->release) w->release(w->ctx, state);
}

tsr_status tsr_parts_run(tsr_pool *pool, const tsr_part_work *work)
{
    part_queue q = {.work = work, .lock = PTHREAD_MUTEX_INITIALIZER};
    tsr_pool_run(pool, run, &q);
    return q.status == TSR_OK ? TSR_OK : tsr_fail(q.status, "%s", q.error);
}
