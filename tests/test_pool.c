/* test_pool.c: the pool runs every thread once per job, its barrier separates phases, and no thread outlives
 * it. */
#include "base/pool.h"

#include "base/memory.h"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX = 8 };

static int threads_of_process(void)
{
    DIR *d = opendir("/proc/self/task");
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static tsr_pool *create(int n, bool oversubscribed)
{
    tsr_pool *pool;
    assert_int_equal(tsr_pool_create(n, NULL, oversubscribed, &pool), TSR_OK);
    assert_int_equal(tsr_pool_threads(pool), n);
    return pool;
}

/* A job that counts itself on its own thread's plain integer: a thread that ran twice or not at all shows. */
typedef struct counts {
    _Alignas(128) int64_t of[MAX][16];
    int n_seen;
} counts;

static void count(void *arg, int thread, int n_threads)
{
    counts *c = arg;
    c->of[thread][0]++;
    if (thread == 0) c->n_seen = n_threads;
}

static void every_thread_runs_each_job_once(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n++) {
        tsr_pool *pool = create(n, n > 2);
        counts c = {0};
        for (int run = 0; run < 3000; run++) tsr_pool_run(pool, count, &c);
        tsr_pool_destroy(&pool);
        assert_null(pool);
        assert_int_equal(c.n_seen, n);
        for (int t = 0; t < n; t++) assert_int_equal(c.of[t][0], 3000);
    }
}

/* Phases: every thread writes its cell, all meet, every thread reads all cells. Plain integers on purpose: a
 * barrier that let one through early, or did not order memory, gives a wrong sum (and a report of the thread
 * sanitizer). */
typedef struct phases {
    tsr_pool *pool;
    int rounds;
    int64_t cell[MAX], wrong[MAX];
} phases;

static void write_meet_read(void *arg, int thread, int n_threads)
{
    phases *p = arg;
    for (int round = 1; round <= p->rounds; round++) {
        p->cell[thread] = round;
        tsr_pool_barrier(p->pool);
        for (int t = 0; t < n_threads; t++) p->wrong[thread] += p->cell[t] != round;
        tsr_pool_barrier(p->pool);
    }
}

static void barrier_separates_phases(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++) {
        phases p = {.pool = create(n, n > 2), .rounds = 4000};
        tsr_pool_run(p.pool, write_meet_read, &p);
        tsr_pool_destroy(&p.pool);
        for (int t = 0; t < n; t++) assert_int_equal(p.wrong[t], 0);
    }
}

/* One thread is late by more than the spinning time in each phase, so that the others sleep and must be
 * woken. */
static void late_then_read(void *arg, int thread, int n_threads)
{
    phases *p = arg;
    for (int round = 1; round <= p->rounds; round++) {
        if (thread == round % n_threads) usleep(300);
        p->cell[thread] = round;
        tsr_pool_barrier(p->pool);
        for (int t = 0; t < n_threads; t++) p->wrong[thread] += p->cell[t] != round;
        tsr_pool_barrier(p->pool);
    }
}

static void sleepers_are_woken(void **state)
{
    (void)state;
    for (int n = 2; n <= 4; n++) {
        phases p = {.pool = create(n, n == 4), .rounds = 300};
        for (int run = 0; run < 3; run++) {
            tsr_pool_run(p.pool, late_then_read, &p);
            usleep(2000); /* the workers sleep for the next job too */
        }
        tsr_pool_destroy(&p.pool);
        for (int t = 0; t < n; t++) assert_int_equal(p.wrong[t], 0);
    }
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void idle_threads_sleep(void **state)
{
    (void)state;
    tsr_pool *pool = create(4, false);
    counts c = {0};
    tsr_pool_run(pool, count, &c);
    usleep(20000);
    double before = cpu_seconds();
    usleep(300000);
    double used = cpu_seconds() - before;
    tsr_pool_destroy(&pool);
    assert_true(used < 0.05);
}

static void threads_are_pinned_and_the_caller_restored(void **state)
{
    (void)state;
    cpu_set_t before, inside, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before)) cpu++;
    int cpus[2] = {cpu, cpu};
    tsr_pool *pool;
    assert_int_equal(tsr_pool_create(2, cpus, true, &pool), TSR_OK);
    assert_int_equal(sched_getaffinity(0, sizeof inside, &inside), 0);
    assert_int_equal(CPU_COUNT(&inside), 1);
    assert_true(CPU_ISSET(cpu, &inside));
    tsr_pool_destroy(&pool);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void no_thread_outlives_its_pool(void **state)
{
    (void)state;
    tsr_pool *warm = create(2, false); /* a sanitizer's own thread may start with the first one of ours */
    tsr_pool_destroy(&warm);
    int before = threads_of_process();
    for (int i = 0; i < 50; i++) {
        tsr_pool *pool = create(4, i % 2);
        assert_int_equal(threads_of_process(), before + 3);
        tsr_pool_destroy(&pool);
    }
    /* A joined thread's /proc entry may linger for a moment. */
    for (int i = 0; i < 100 && threads_of_process() != before; i++) usleep(1000);
    assert_int_equal(threads_of_process(), before);
    tsr_pool_destroy(&warm);
}

static void two_pools_live_side_by_side(void **state)
{
    (void)state;
    tsr_pool *a = create(2, false), *b = create(3, true);
    counts ca = {0}, cb = {0};
    for (int i = 0; i < 500; i++) {
        tsr_pool_run(a, count, &ca);
        tsr_pool_run(b, count, &cb);
    }
    tsr_pool_destroy(&a);
    tsr_pool_destroy(&b);
    for (int t = 0; t < 2; t++) assert_int_equal(ca.of[t][0], 500);
    for (int t = 0; t < 3; t++) assert_int_equal(cb.of[t][0], 500);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    tsr_pool *pool;
    assert_int_equal(tsr_pool_create(0, NULL, false, &pool), TSR_ERR_USAGE);
    assert_int_equal(tsr_pool_create(TSR_POOL_MAX_THREADS + 1, NULL, false, &pool), TSR_ERR_USAGE);
    assert_string_equal(tsr_error_text(), "threads: expected 1 to 1024, found 1025");
    for (int n = 1; n <= 2; n++) {
        tsr_memory_fail_after(n);
        assert_int_equal(tsr_pool_create(2, NULL, false, &pool), TSR_ERR_MEMORY);
        tsr_memory_fail_after(0);
        assert_null(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_runs_each_job_once),
        cmocka_unit_test(barrier_separates_phases),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(idle_threads_sleep),
        cmocka_unit_test(threads_are_pinned_and_the_caller_restored),
        cmocka_unit_test(no_thread_outlives_its_pool),
        cmocka_unit_test(two_pools_live_side_by_side),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
