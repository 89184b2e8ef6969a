/* wait_pace.c: napping, and looking often around the moment that is expected. */
#include "parallel/cuda/wait_pace.h"

#include "base/log.h"
#include "base/relax.h"

#include <time.h>

/* Seconds. FIRST: looks without pause at the beginning. AROUND: before and after the expected moment; a nap takes about
 * half of it, timers being as coarse as they are. */
static const double FIRST = 20e-6, AROUND = 150e-6, NAP = 20e-6;

void tsr_wait_begin(tsr_wait_pace *p)
{
    p->begin = tsr_now();
    p->waited = 0;
}

double tsr_wait_turn(tsr_wait_pace *p)
{
    p->waited = tsr_now() - p->begin;
    double off = p->waited - p->typical;
    if (p->waited < FIRST || (off > -AROUND && off < AROUND))
        tsr_relax();
    else
        nanosleep(&(struct timespec){.tv_nsec = (long)(NAP * 1e9)}, NULL);
    return p->waited;
}

void tsr_wait_end(tsr_wait_pace *p)
{
    p->typical = tsr_now() - p->begin;
}
