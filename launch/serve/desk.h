/* desk.h: where HTTP threads hand exchanges over to the leader: a bounded queue, and the leader's bell.
 *
 * Bounded are the answers (jobs) that are waiting or being made. Thread-safe; nothing here blocks but tsr_desk_wait.
 */
#ifndef TSR_LAUNCH_SERVE_DESK_H
#define TSR_LAUNCH_SERVE_DESK_H

#include "launch/serve/exchange.h"

#include <semaphore.h>

typedef struct tsr_desk {
    pthread_mutex_t lock;
    tsr_exchange *first, *last;
    int64_t jobs, most_jobs;
    bool closed;
    sem_t bell;
} tsr_desk;

void tsr_desk_open(tsr_desk *desk, int64_t most_jobs);
/* Takes a reference of its own. Refuses with 429 what is too much now, 400 what is too much at any time, 503 after
 * closing. */
tsr_status tsr_desk_hand_over(tsr_desk *desk, tsr_exchange *x, tsr_refusal *why);
/* The oldest exchange, with the desk's reference; NULL if there is none. */
tsr_exchange *tsr_desk_take(tsr_desk *desk);
/* That many jobs have their end. */
void tsr_desk_forget(tsr_desk *desk, int64_t jobs);
/* Nothing is taken any longer. */
void tsr_desk_close(tsr_desk *desk);
void tsr_desk_free(tsr_desk *desk);

/* Safe in signal handlers. */
void tsr_desk_ring(tsr_desk *desk);
/* Until the bell has rung, or so many seconds. */
void tsr_desk_wait(tsr_desk *desk, double seconds);

#endif
