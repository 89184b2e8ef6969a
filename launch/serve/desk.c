/* desk.c: the queue between HTTP threads and the leader. */
#include "launch/serve/desk.h"

#include <time.h>

void tsr_desk_open(tsr_desk *desk, int64_t most_jobs)
{
    *desk = (tsr_desk){.most_jobs = most_jobs};
    pthread_mutex_init(&desk->lock, NULL);
    sem_init(&desk->bell, 0, 0);
}

tsr_status tsr_desk_hand_over(tsr_desk *desk, tsr_exchange *x, tsr_refusal *why)
{
    tsr_status s = TSR_OK;
    if (x->n_jobs > desk->most_jobs)
        return tsr_refuse(why, 400, NULL, "the request asks for %lld answers, at most %lld may wait at once",
                          (long long)x->n_jobs, (long long)desk->most_jobs);
    pthread_mutex_lock(&desk->lock);
    if (desk->closed) {
        s = tsr_refuse(why, 503, NULL, "the server is shutting down");
    } else if (desk->jobs + x->n_jobs > desk->most_jobs) {
        s = tsr_refuse(why, 429, NULL, "%lld answers are being made or wait: try again later",
                       (long long)desk->jobs);
    } else {
        x->next = NULL;
        x->references++;
        desk->jobs += x->n_jobs;
        if (desk->last)
            desk->last->next = x;
        else
            desk->first = x;
        desk->last = x;
    }
    pthread_mutex_unlock(&desk->lock);
    if (s == TSR_OK) tsr_desk_ring(desk);
    return s;
}

tsr_exchange *tsr_desk_take(tsr_desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    tsr_exchange *x = desk->first;
    if (x) desk->first = x->next;
    if (!desk->first) desk->last = NULL;
    pthread_mutex_unlock(&desk->lock);
    return x;
}

void tsr_desk_forget(tsr_desk *desk, int64_t jobs)
{
    pthread_mutex_lock(&desk->lock);
    desk->jobs -= jobs;
    pthread_mutex_unlock(&desk->lock);
}

void tsr_desk_close(tsr_desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    desk->closed = true;
    pthread_mutex_unlock(&desk->lock);
}

void tsr_desk_free(tsr_desk *desk)
{
    sem_destroy(&desk->bell);
    pthread_mutex_destroy(&desk->lock);
}

void tsr_desk_ring(tsr_desk *desk)
{
    sem_post(&desk->bell);
}

void tsr_desk_wait(tsr_desk *desk, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t ns = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    sem_timedwait(&desk->bell, &until);
    while (sem_trywait(&desk->bell) == 0) {
    } /* many rings are one */
}
