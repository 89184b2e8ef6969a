/* patience.h: how one call waits: what it does between two looks, when it checks on the others, when it
 * gives up.
 *
 * First it spins, for some 50 us; then it gives the core away at each turn; after 2 ms it sleeps between
 * looks, 50 us at a time, or, idle, up to 1 ms. Ranks that share cores skip the spinning. Every 50 ms it is
 * time to look for lost ranks and at the deadline. Time during which this process was stopped as a whole
 * (suspended job, debugger) hardly counts: no turn adds more than half a second. Local; one object per call
 * and thread. The fast path never reads a clock.
 */
#ifndef TSR_PARALLEL_PATIENCE_H
#define TSR_PARALLEL_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tsr_patience {
    const char *what; /* "all-reduce", for messages */
    uint64_t number;  /* which one */
    double deadline;  /* seconds; 0: none, and waiting is idle */
    bool yielding;    /* give the core away at once */

    uint32_t turns; /* the rest is the state; zero at first */
    double last, waited, next_look, nap;
} tsr_patience;

/* Waits a little. True when it is time to look. */
bool tsr_patience_turn(tsr_patience *p);

static inline bool tsr_patience_over(const tsr_patience *p)
{
    return p->deadline > 0 && p->waited > p->deadline;
}

#endif
