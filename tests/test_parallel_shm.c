/* test_parallel_shm.c: the shared-memory sum with ranks played by threads of this process, so that the
 * thread sanitizer sees both sides of every flag. Small buffers force what large vectors do in real life. */
#include "parallel/comm_internal.h"
#include "tests/support_reduce.h"

#include "base/memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 4, THREADS = 3, SLOT = 32 << 10, MOST = 70001 };

typedef struct job job;

typedef struct player {
    job *job;
    int rank, thread;
    int wrong, status;
    char text[512];
} player;

/* One experiment: so many ranks of so many threads. */
struct job {
    int ranks, threads;
    void (*play)(player *p);
    int64_t n;
    int calls;
    tsr_comm *comms[RANKS];
    pthread_barrier_t meet[RANKS]; /* the threads of a rank */
    float *data[RANKS];            /* [MOST] */
    player players[RANKS][THREADS];
};

static void *start(void *arg)
{
    player *p = arg;
    p->job->play(p);
    return NULL;
}

/* threads of rank q: j->threads - (q odd and more than one): ranks need not have equal numbers. */
static int threads_of(const job *j, int q)
{
    return j->threads > 1 && q % 2 ? j->threads - 1 : j->threads;
}

static void run(job *j, double deadline)
{
    void *parts[RANKS];
    pthread_t handles[RANKS][THREADS];
    int64_t bytes = tsr_comm_shm_part_bytes(SLOT);
    for (int q = 0; q < j->ranks; q++) assert_int_equal(tsr_alloc_large(bytes, "test", &parts[q]), TSR_OK);
    tsr_comm_options o = {.deadline_seconds = deadline, .oversubscribed = true};
    for (int q = 0; q < j->ranks; q++) {
        void *data;
        assert_int_equal(tsr_comm_shm_over(q, j->ranks, SLOT, parts, &o, &j->comms[q]), TSR_OK);
        assert_int_equal(tsr_alloc_large(MOST * sizeof(float), "test", &data), TSR_OK);
        j->data[q] = data;
        pthread_barrier_init(&j->meet[q], NULL, (unsigned)threads_of(j, q));
        for (int t = 0; t < threads_of(j, q); t++)
            j->players[q][t] = (player){.job = j, .rank = q, .thread = t};
    }
    for (int q = 0; q < j->ranks; q++)
        for (int t = 0; t < threads_of(j, q); t++)
            assert_int_equal(pthread_create(&handles[q][t], NULL, start, &j->players[q][t]), 0);
    for (int q = 0; q < j->ranks; q++)
        for (int t = 0; t < threads_of(j, q); t++) pthread_join(handles[q][t], NULL);
    for (int q = 0; q < j->ranks; q++) {
        pthread_barrier_destroy(&j->meet[q]);
        tsr_comm_destroy(&j->comms[q]);
        tsr_free_large(parts[q], bytes);
    }
}

static void free_data(job *j)
{
    for (int q = 0; q < j->ranks; q++) tsr_free_large(j->data[q], MOST * sizeof(float));
}

static void sum_once(player *p, int64_t n, int call)
{
    job *j = p->job;
    float *data = j->data[p->rank];
    if (p->thread == 0)
        for (int64_t i = 0; i < n; i++) data[i] = reduce_input(p->rank, i, call);
    pthread_barrier_wait(&j->meet[p->rank]);
    int status = tsr_comm_all_reduce(j->comms[p->rank], data, n, p->thread, threads_of(j, p->rank));
    if (status != TSR_OK) p->status = status;
    pthread_barrier_wait(&j->meet[p->rank]);
}

static void sum_and_leave(player *p)
{
    sum_once(p, p->job->n, 7);
}

static void sums_are_right_and_equal(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 7, 16, 575, 4095, 4096, 4097, 8192 * 3 + 5, MOST};
    for (int ranks = 1; ranks <= RANKS; ranks++)
        for (int threads = 1; threads <= THREADS; threads++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                job j = {.ranks = ranks, .threads = threads, .play = sum_and_leave, .n = sizes[s]};
                run(&j, 30);
                for (int q = 0; q < ranks; q++) {
                    assert_int_equal(j.players[q][0].status, TSR_OK);
                    assert_memory_equal(j.data[q], j.data[0], (size_t)j.n * sizeof(float));
                }
                for (int64_t i = 0; i < j.n; i++) assert_true(reduce_is_right(j.data[0][i], ranks, i, 7));
                free_data(&j);
            }
}

/* Calls of all sizes in a row, each checked before the next: a buffer used again too early gives a wrong sum. */
static void sum_many(player *p)
{
    static const int64_t sizes[] = {3, 20000, 1, 4096, 9000, 576, 30000, 17};
    job *j = p->job;
    for (int call = 0; call < j->calls; call++) {
        int64_t n = sizes[(call * 5 + call / 8) % 8];
        sum_once(p, n, call);
        if (p->thread == 0)
            for (int64_t i = 0; i < n; i += 1 + n / 50)
                p->wrong += !reduce_is_right(j->data[p->rank][i], j->ranks, i, call);
    }
}

static void many_calls_in_a_row(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= RANKS; ranks++) {
        job j = {.ranks = ranks, .threads = 1 + ranks % 2, .play = sum_many, .calls = 400};
        run(&j, 60);
        for (int q = 0; q < ranks; q++) {
            assert_int_equal(j.players[q][0].status, TSR_OK);
            assert_int_equal(j.players[q][0].wrong, 0);
        }
        free_data(&j);
    }
}

/* Rank 1 stays away from the third call. */
static void desert(player *p)
{
    for (int call = 0; call < 3; call++) {
        if (p->rank == 1 && call == 2) return;
        sum_once(p, 576, call);
    }
    strncpy(p->text, tsr_error_text(), sizeof p->text - 1);
    tsr_error_clear();
    if (tsr_comm_status(p->job->comms[p->rank]) != TSR_ERR_DEADLINE || !*tsr_error_text()) p->wrong++;
    if (tsr_comm_all_reduce(p->job->comms[p->rank], p->job->data[p->rank], 576, p->thread, 1) !=
        TSR_ERR_DEADLINE)
        p->wrong++;
}

static void a_missing_rank_is_named(void **state)
{
    (void)state;
    job j = {.ranks = 3, .threads = 1, .play = desert};
    run(&j, 0.3);
    for (int q = 0; q < 3; q += 2) {
        assert_int_equal(j.players[q][0].status, TSR_ERR_DEADLINE);
        assert_string_equal(j.players[q][0].text,
                            "all-reduce number 3 passed its deadline of 0.3 s; not arrived: rank 1");
        assert_int_equal(j.players[q][0].wrong, 0);
    }
    free_data(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_right_and_equal),
        cmocka_unit_test(many_calls_in_a_row),
        cmocka_unit_test(a_missing_rank_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
