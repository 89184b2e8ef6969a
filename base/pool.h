/* pool.h: the threads of one rank.
 *
 * A pool has n threads; the caller of tsr_pool_run is thread 0, the others are persistent and pinned when
 * CPUs are given. A job is one function that every thread runs at once. Waiting spins for some 50 us and
 * then sleeps; where the threads of a node outnumber its cores (`oversubscribed`), waiting gives the core
 * away at once. Local. tsr_pool_run must always be called by the thread that created the pool, never from
 * inside a job.
 *
 * tsr_pool_barrier is a dissemination barrier: in round k thread t signals thread t + 2^k and waits for t -
 * 2^k, each signal on a cache line of its own; for two threads that is one store and one awaited line each.
 */
#ifndef TSR_BASE_POOL_H
#define TSR_BASE_POOL_H

#include "base/status.h"

#include <stdbool.h>

typedef struct tsr_pool tsr_pool;

enum { TSR_POOL_MAX_THREADS = 1024 };

/* cpus: [n_threads] CPU numbers to pin to, or NULL. Thread 0 (the caller) is pinned too, until
 * tsr_pool_destroy gives it its old mask back. A CPU that the system refuses is logged, and that thread
 * runs unpinned. TSR_ERR_USAGE: n_threads outside 1 .. TSR_POOL_MAX_THREADS; TSR_ERR_MEMORY: no memory, or
 * no more threads. */
tsr_status tsr_pool_create(int n_threads, const int *cpus, bool oversubscribed, tsr_pool **out);
/* Waits for the threads to end. Accepts NULL. */
void tsr_pool_destroy(tsr_pool **pool);
int tsr_pool_threads(const tsr_pool *pool);

/* Runs job(arg, thread, n_threads) on every thread; returns when all have returned. */
void tsr_pool_run(tsr_pool *pool, void (*job)(void *arg, int thread, int n_threads), void *arg);

/* Inside a job, called by every thread of it: waits until all are here. Orders memory like a lock. */
void tsr_pool_barrier(tsr_pool *pool);

#endif
