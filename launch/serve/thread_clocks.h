/* thread_clocks.h: the CPU time of a few threads that another library started: each makes itself known when it first
 * calls back, and whoever wants to know reads their clocks.
 *
 * Thread-safe. Threads beyond the most are not counted. None may be read after its thread has ended.
 */
#ifndef TSR_LAUNCH_SERVE_THREAD_CLOCKS_H
#define TSR_LAUNCH_SERVE_THREAD_CLOCKS_H

#include <pthread.h>
#include <time.h>

enum { TSR_MOST_THREAD_CLOCKS = 16 };

typedef struct tsr_thread_clocks {
    pthread_mutex_t lock;
    pthread_t threads[TSR_MOST_THREAD_CLOCKS]; /* [n] */
    clockid_t clocks[TSR_MOST_THREAD_CLOCKS];
    int n;
} tsr_thread_clocks;

void tsr_thread_clocks_init(tsr_thread_clocks *c);
/* The calling thread counts from now on, with what it has used before; at most once. */
void tsr_thread_clocks_add_self(tsr_thread_clocks *c);
/* CPU seconds of all that are known. */
double tsr_thread_clocks_seconds(tsr_thread_clocks *c);
/* CPU seconds of the calling thread. */
double tsr_thread_seconds(void);

#endif
