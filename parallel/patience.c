/* patience.c: spin, yield, nap. */
#include "parallel/patience.h"

#include "base/log.h"
#include "base/relax.h"

#include <sched.h>
#include <time.h>

enum { TURNS_PER_CLOCK = 64 };

static const double SPIN = 50e-6, YIELD = 2e-3, LOOK = 50e-3, NAP = 50e-6, LONGEST_NAP = 1e-3,
                    LONGEST_TURN = 0.5;

static void nap(tsr_patience *p)
{
    p->nap = p->nap == 0 ? NAP : p->nap;
    struct timespec t = {.tv_nsec = (long)(p->nap * 1e9)};
    nanosleep(&t, NULL);
    if (p->deadline == 0 && p->nap < LONGEST_NAP) p->nap *= 1.25;
}

static void count_time(tsr_patience *p)
{
    double now = tsr_now(), turn = now - p->last;
    p->waited += p->last == 0 ? 0 : turn < LONGEST_TURN ? turn : LONGEST_TURN;
    p->last = now;
}

bool tsr_patience_turn(tsr_patience *p)
{
    if (!p->yielding) {
        tsr_relax();
        if (++p->turns % TURNS_PER_CLOCK) return false;
        count_time(p);
        p->yielding = p->waited > SPIN;
        return false;
    }
    if (p->waited < YIELD)
        sched_yield();
    else
        nap(p);
    count_time(p);
    if (p->waited < p->next_look + LOOK) return false;
    p->next_look = p->waited;
    return true;
}
