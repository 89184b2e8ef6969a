/* pool.c: persistent threads that meet in a dissemination barrier; a job is what lies between two barriers.
 *
 * One signal per thread and round has one writer and one reader, so an arrival costs the transfer of one
 * cache line. A reader that has spun long enough sleeps on the signal's futex; the writer looks for
 * sleepers after it stored.
 */
#include "base/pool.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/relax.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    ROUNDS = 10,      /* 2^ROUNDS = TSR_POOL_MAX_THREADS */
    LINE = 128,       /* two cache lines: x86 prefetches them in pairs */
    FIRST_LOOKS = 64, /* at the own signal before looking whether the other side sleeps */
    YIELDS = 32       /* times an oversubscribed thread gives its core away before it sleeps */
};
static const double SPIN_SECONDS = 50e-6;

typedef struct signal_line {
    _Alignas(LINE) _Atomic uint32_t value; /* the last barrier that the writer has reached; also the futex */
    _Atomic uint32_t sleeping;             /* 1: the reader sleeps, or is about to */
} signal_line;

typedef struct seat {
    signal_line in[ROUNDS];
    _Alignas(LINE) uint32_t barriers; /* how many this thread has entered */
    int thread;
    pthread_t handle;
    tsr_pool *pool;
} seat;

struct tsr_pool {
    int n_threads, n_started;
    bool oversubscribed, stop;
    bool stillborn; /* not all threads could be started: those that were end at the gate */
    pthread_mutex_t gate;
    bool repin; /* thread 0 was pinned: `caller_mask` is to be restored */
    cpu_set_t caller_mask;
    void (*job)(void *arg, int thread, int n_threads);
    void *arg;
    seat *seats; /* [n_threads] */
};

/* Thread 0 of any pool, or this worker's number in its only pool. */
static _Thread_local int own_thread;

/* Waiting ------------------------------------------------------------------------------------------ */

static bool reached(signal_line *s, uint32_t barrier)
{
    return (int32_t)(atomic_load_explicit(&s->value, memory_order_acquire) - barrier) >= 0;
}

static bool look_often(signal_line *s, uint32_t barrier, int looks)
{
    for (int i = 0; i < looks; i++) {
        if (reached(s, barrier)) return true;
        tsr_relax();
    }
    return reached(s, barrier);
}

static bool spin(signal_line *s, uint32_t barrier)
{
    double end = tsr_now() + SPIN_SECONDS;
    while (!look_often(s, barrier, FIRST_LOOKS))
        if (tsr_now() > end) return false;
    return true;
}

static bool yield_often(signal_line *s, uint32_t barrier)
{
    for (int i = 0; i < YIELDS && !reached(s, barrier); i++) sched_yield();
    return reached(s, barrier);
}

/* The writer stores its value and then loads `sleeping` without a fence in between, which would double the
 * price of a barrier. So it may miss a reader that announces itself in the same instant: for that the first
 * sleep is short, and at its end either the value has arrived or the announcement is long visible. */
static void sleep_until(signal_line *s, uint32_t barrier)
{
    struct timespec nap = {.tv_nsec = 1000000};
    atomic_store(&s->sleeping, 1);
    for (;;) {
        uint32_t seen = atomic_load(&s->value);
        if ((int32_t)(seen - barrier) >= 0) break;
        syscall(SYS_futex, &s->value, FUTEX_WAIT_PRIVATE, seen, &nap, NULL, 0);
        nap = (struct timespec){.tv_sec = 1};
    }
    atomic_store_explicit(&s->sleeping, 0, memory_order_relaxed);
}

static void wake_sleeper(signal_line *s)
{
    if (atomic_load_explicit(&s->sleeping, memory_order_relaxed))
        syscall(SYS_futex, &s->value, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void meet(tsr_pool *pool, seat *own)
{
    uint32_t barrier = ++own->barriers;
    signal_line *in = own->in;
    for (int step = 1; step < pool->n_threads; step *= 2, in++) {
        signal_line *out = &pool->seats[(own->thread + step) % pool->n_threads].in[in - own->in];
        atomic_store_explicit(&out->value, barrier, memory_order_release);
        bool here = look_often(in, barrier, pool->oversubscribed ? 0 : FIRST_LOOKS);
        wake_sleeper(out); /* after the first looks, by when the store is out */
        if (!here && !(pool->oversubscribed ? yield_often : spin)(in, barrier)) sleep_until(in, barrier);
    }
}

void tsr_pool_barrier(tsr_pool *pool)
{
    meet(pool, &pool->seats[own_thread]);
}

/* Threads ------------------------------------------------------------------------------------------ */

static void *work(void *arg)
{
    seat *own = arg;
    tsr_pool *pool = own->pool;
    own_thread = own->thread;
    pthread_mutex_lock(&pool->gate);
    bool stillborn = pool->stillborn;
    pthread_mutex_unlock(&pool->gate);
    while (!stillborn) {
        meet(pool, own);
        if (pool->stop) break;
        pool->job(pool->arg, own->thread, pool->n_threads);
        meet(pool, own);
    }
    return NULL;
}

static void pin(pthread_t thread, int number, int cpu)
{
    int error = EINVAL;
    if (cpu >= 0 && cpu < CPU_SETSIZE) {
        cpu_set_t mask;
        CPU_ZERO(&mask);
        CPU_SET(cpu, &mask);
        error = pthread_setaffinity_np(thread, sizeof mask, &mask);
    }
    if (error)
        tsr_log(TSR_LOG_WARNING, "thread %d cannot be pinned to CPU %d: %s", number, cpu, strerror(error));
}

/* Workers leave signals to the program's own threads, but for those that a thread's own fault raises. */
static int start_worker(seat *s)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&s->handle, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* The gate stays shut until all have started: where one cannot, the others must not wait for it in a
 * barrier.
 */
static tsr_status start_workers(tsr_pool *pool)
{
    int error = 0;
    pthread_mutex_lock(&pool->gate);
    for (pool->n_started = 1; pool->n_started < pool->n_threads && !error; pool->n_started += !error)
        error = start_worker(&pool->seats[pool->n_started]);
    pool->stillborn = error != 0;
    pthread_mutex_unlock(&pool->gate);
    if (!error) return TSR_OK;
    return tsr_fail(TSR_ERR_MEMORY, "cannot start thread %d of %d: %s", pool->n_started, pool->n_threads,
                    strerror(error));
}

static void pin_all(tsr_pool *pool, const int *cpus)
{
    pool->repin = pthread_getaffinity_np(pthread_self(), sizeof pool->caller_mask, &pool->caller_mask) == 0;
    pin(pthread_self(), 0, cpus[0]);
    for (int i = 1; i < pool->n_threads; i++) pin(pool->seats[i].handle, i, cpus[i]);
}

tsr_status tsr_pool_create(int n_threads, const int *cpus, bool oversubscribed, tsr_pool **out)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > TSR_POOL_MAX_THREADS)
        return tsr_fail(TSR_ERR_USAGE, "threads: expected 1 to %d, found %d", TSR_POOL_MAX_THREADS,
                        n_threads);
    void *pool_memory, *seats;
    TSR_TRY(tsr_calloc(1, sizeof(tsr_pool), "a thread pool", &pool_memory));
    tsr_pool *pool = pool_memory;
    tsr_status status = tsr_alloc_large(n_threads * (int64_t)sizeof(seat), "a thread pool", &seats);
    if (status != TSR_OK) {
        tsr_free(pool);
        return status;
    }
    pool->seats = seats;
    pool->n_threads = n_threads;
    pool->oversubscribed = oversubscribed;
    pthread_mutex_init(&pool->gate, NULL);
    for (int i = 0; i < n_threads; i++) {
        pool->seats[i].thread = i;
        pool->seats[i].pool = pool;
    }
    status = start_workers(pool);
    if (status != TSR_OK)
        tsr_pool_destroy(&pool);
    else if (cpus)
        pin_all(pool, cpus);
    *out = pool;
    return status;
}

void tsr_pool_destroy(tsr_pool **pool_address)
{
    tsr_pool *pool = *pool_address;
    if (!pool) return;
    if (!pool->stillborn) {
        pool->stop = true;
        meet(pool, &pool->seats[0]);
    }
    for (int i = 1; i < pool->n_started; i++) pthread_join(pool->seats[i].handle, NULL);
    if (pool->repin) pthread_setaffinity_np(pthread_self(), sizeof pool->caller_mask, &pool->caller_mask);
    pthread_mutex_destroy(&pool->gate);
    tsr_free_large(pool->seats, pool->n_threads * (int64_t)sizeof(seat));
    tsr_free(pool);
    *pool_address = NULL;
}

int tsr_pool_threads(const tsr_pool *pool)
{
    return pool->n_threads;
}

void tsr_pool_run(tsr_pool *pool, void (*job)(void *arg, int thread, int n_threads), void *arg)
{
    pool->job = job;
    pool->arg = arg;
    meet(pool, &pool->seats[0]);
    job(arg, 0, pool->n_threads);
    meet(pool, &pool->seats[0]);
}
