/* wait_pace.h: how a thread waits for a GPU: what it does between two looks at an event.
 *
 * Steps of one kind take about the same time. So the thread naps, tens of microseconds at a time, looks without pause
 * around the moment at which the wait before this one ended, and naps again after that. It is seldom late by more than
 * such a nap, and a core is free most of the time. Local; one object for each kind of wait.
 */
#ifndef TSR_PARALLEL_CUDA_WAIT_PACE_H
#define TSR_PARALLEL_CUDA_WAIT_PACE_H

typedef struct tsr_wait_pace {
    double typical;       /* seconds that the last wait took */
    double begin, waited; /* of this one */
} tsr_wait_pace;

void tsr_wait_begin(tsr_wait_pace *pace);
/* Waits a little; returns the seconds waited so far. */
double tsr_wait_turn(tsr_wait_pace *pace);
/* What was waited for is there. */
void tsr_wait_end(tsr_wait_pace *pace);

#endif
