/* thread_clocks.c: threads that are known, and the sum of their CPU clocks. */
#include "launch/serve/thread_clocks.h"

void tsr_thread_clocks_init(tsr_thread_clocks *c)
{
    *c = (tsr_thread_clocks){0};
    pthread_mutex_init(&c->lock, NULL);
}

void tsr_thread_clocks_add_self(tsr_thread_clocks *c)
{
    int i = 0;
    pthread_t self = pthread_self();
    pthread_mutex_lock(&c->lock);
    while (i < c->n && !pthread_equal(c->threads[i], self)) i++;
    if (i == c->n && i < TSR_MOST_THREAD_CLOCKS && pthread_getcpuclockid(self, &c->clocks[i]) == 0)
        c->threads[c->n++] = self;
    pthread_mutex_unlock(&c->lock);
}

static double read_clock(clockid_t clock)
{
    struct timespec used;
    return clock_gettime(clock, &used) == 0 ? (double)used.tv_sec + 1e-9 * (double)used.tv_nsec : 0;
}

double tsr_thread_seconds(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

double tsr_thread_clocks_seconds(tsr_thread_clocks *c)
{
    double sum = 0;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < c->n; i++) sum += read_clock(c->clocks[i]);
    pthread_mutex_unlock(&c->lock);
    return sum;
}
