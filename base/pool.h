/* pool.h: the threads of one rank.
 *
 * A pool has n threads; the caller of tsr_pool_run is thread 0, the others are persistent and pinned when CPUs are
 * given. A job is one function that every thread runs at once. Waiting spins for a short while and then sleeps; where
 * the threads of a node outnumber its cores (`oversubscribed`), waiting gives the core away at once.
 * Local. tsr_pool_run must always be called by the thread that created the pool.
 */
#ifndef TSR_BASE_POOL_H
#define TSR_BASE_POOL_H

#include "base/status.h"

#include <stdbool.h>

typedef struct tsr_pool tsr_pool;

/* cpus: [n_threads] CPU numbers to pin to, or NULL. Thread 0 (the caller) is pinned too. */
tsr_status tsr_pool_create(int n_threads, const int *cpus, bool oversubscribed, tsr_pool **out);
void tsr_pool_destroy(tsr_pool **pool);
int tsr_pool_threads(const tsr_pool *pool);

/* Runs job(arg, thread, n_threads) on every thread; returns when all have returned. */
void tsr_pool_run(tsr_pool *pool, void (*job)(void *arg, int thread, int n_threads), void *arg);

/* Inside a job: waits until every thread of the pool is here. Orders memory like a lock. */
void tsr_pool_barrier(tsr_pool *pool);

#endif
