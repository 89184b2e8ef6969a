/* test_parallel_shm.c: the shared-memory sums, of vectors and of rows, with ranks played by threads of this process, so
 * that the thread sanitizer sees both sides of every flag. Small buffers force what large vectors do in real life. */
#include "parallel/comm_internal.h"
#include "tests/support_reduce.h"

#include "base/memory.h"

#include <math.h>
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
    int64_t rows, cols; /* of row jobs */
    bool dealt, whole, over;
    tsr_comm *comms[RANKS];
    pthread_barrier_t meet[RANKS]; /* the threads of a rank */
    float *data[RANKS];            /* [MOST] */
    float *out[RANKS][2];          /* [MOST] each */
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
        assert_int_equal(tsr_alloc_large(3 * MOST * sizeof(float), "test", &data), TSR_OK);
        j->data[q] = data;
        for (int k = 0; k < 2; k++) j->out[q][k] = j->data[q] + (k + 1) * MOST;
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
    for (int q = 0; q < j->ranks; q++) tsr_free_large(j->data[q], 3 * MOST * sizeof(float));
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

/* Rows: output 1 is the sum, output 0 twice the sum. */
static void finish(const tsr_row_job *r, int64_t row, const float *const *part)
{
    int ranks = *(const int *)r->arg;
    for (int64_t c = 0; c < r->cols; c++) {
        float sum = part[0][c];
        for (int q = 1; q < ranks; q++) sum += part[q][c];
        r->out[1].data[row * r->out[1].ld + c] = sum;
        r->out[0].data[row * r->out[0].ld + c] = 2 * sum;
    }
}

static tsr_row_job rows_of(const job *j, int rank, int64_t rows, int64_t cols)
{
    float *x = j->data[rank];
    return (tsr_row_job){
        .x = x,
        .rows = rows,
        .cols = cols,
        .dealt = j->dealt,
        .finish = finish,
        .n_out = 2,
        .out = {{j->over ? x : j->out[rank][0], cols, true}, {j->out[rank][1], cols, j->whole}},
        .arg = &j->ranks};
}

static void sum_rows(player *p, int64_t rows, int64_t cols, int call)
{
    job *j = p->job;
    tsr_comm *comm = j->comms[p->rank];
    tsr_row_job r = rows_of(j, p->rank, rows, cols);
    for (int64_t i = 0; i < rows * cols && p->thread == 0; i++) {
        j->data[p->rank][i] = reduce_input(p->rank, i, call);
        j->out[p->rank][0][i] = j->out[p->rank][1][i] = NAN;
    }
    pthread_barrier_wait(&j->meet[p->rank]);
    int status = comm->ops->reduce_rows(comm, &r, p->thread, threads_of(j, p->rank));
    if (status != TSR_OK) p->status = status;
    pthread_barrier_wait(&j->meet[p->rank]);
}

static void sum_rows_and_leave(player *p)
{
    if (p->job->comms[p->rank]->ops->takes_rows(p->job->comms[p->rank], p->job->rows, p->job->cols,
                                                p->job->dealt))
        sum_rows(p, p->job->rows, p->job->cols, 7);
    else
        p->wrong = -1;
}

/* Output 0 everywhere; output 1 at least where its rank must have it. */
static void check_rows(const job *j)
{
    for (int q = 0; q < j->ranks; q++) {
        int64_t begin = 0, end = j->rows;
        if (j->dealt && !j->whole) tsr_row_owner(j->rows, q, j->ranks, &begin, &end);
        const tsr_row_job r = rows_of(j, q, j->rows, j->cols), first = rows_of(j, 0, j->rows, j->cols);
        assert_int_equal(j->players[q][0].status, TSR_OK);
        assert_memory_equal(r.out[0].data, first.out[0].data, (size_t)(j->rows * j->cols) * sizeof(float));
        for (int64_t i = begin * j->cols; i < end * j->cols; i++) {
            assert_true(reduce_is_right(r.out[1].data[i], j->ranks, i, 7));
            assert_true(r.out[0].data[i] == 2 * r.out[1].data[i]);
        }
    }
}

/* One row, fewer rows than ranks, numbers that do not divide, rows that fill the slot or need many rounds. */
static void rows_are_right_and_equal(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{0, 16},   {1, 576},   {2, 33},   {3, 4097},  {17, 97},
                                        {64, 576}, {121, 576}, {61, 999}, {4361, 16}, {40, 1500}};
    int taken = 0;
    for (int ranks = 1; ranks <= RANKS; ranks++)
        for (int threads = 1; threads <= THREADS; threads++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                for (int way = 0; way < 8; way++) {
                    job j = {.ranks = ranks,
                             .threads = threads,
                             .play = sum_rows_and_leave,
                             .rows = shapes[s][0],
                             .cols = shapes[s][1],
                             .dealt = way & 1,
                             .whole = way & 2,
                             .over = way & 4};
                    run(&j, 30);
                    for (int q = 1; q < ranks; q++)
                        assert_int_equal(j.players[q][0].wrong, j.players[0][0].wrong);
                    if (j.players[0][0].wrong == 0) check_rows(&j), taken += j.dealt && j.rows > 60;
                    free_data(&j);
                }
    assert_true(taken >= 4 * 3 * 4 * 4);
}

/* A row so wide that no slot has room for it is left to all_reduce, by every rank alike. */
static void rows_wider_than_a_slot_are_not_taken(void **state)
{
    (void)state;
    void *part;
    tsr_comm *comm;
    assert_int_equal(tsr_alloc_large(tsr_comm_shm_part_bytes(SLOT), "test", &part), TSR_OK);
    void *parts[] = {part, part};
    assert_int_equal(tsr_comm_shm_over(1, 2, SLOT, parts, NULL, &comm), TSR_OK);
    assert_true(comm->ops->takes_rows(comm, 1, SLOT / 4, true));
    assert_false(comm->ops->takes_rows(comm, 1, SLOT / 4 + 1, true));
    assert_true(comm->ops->takes_rows(comm, 512, SLOT / 4 / 3 / 16 * 16, true));
    assert_false(comm->ops->takes_rows(comm, 512, SLOT / 4 / 2, true));
    tsr_comm_destroy(&comm);
    tsr_free_large(part, tsr_comm_shm_part_bytes(SLOT));
}

/* Vectors and rows of all sizes in turn, each checked before the next. */
static void sum_both(player *p)
{
    static const int64_t shapes[][2] = {{121, 576}, {1, 576}, {3, 0},   {64, 576},
                                        {20000, 0}, {5, 200}, {90, 700}};
    job *j = p->job;
    for (int call = 0; call < j->calls; call++) {
        const int64_t *shape = shapes[(call * 3 + call / 7) % 7];
        int64_t n = shape[1] ? shape[0] * shape[1] : shape[0];
        if (shape[1])
            sum_rows(p, shape[0], shape[1], call);
        else
            sum_once(p, n, call);
        const float *sums = shape[1] ? j->out[p->rank][0] : j->data[p->rank];
        for (int64_t i = 0; i < n && p->thread == 0; i += 1 + n / 200)
            p->wrong += !reduce_is_right(shape[1] ? sums[i] / 2 : sums[i], j->ranks, i, call);
    }
}

static void rows_and_vectors_in_turn(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= RANKS; ranks++)
        for (int dealt = 0; dealt < 2; dealt++) {
            job j = {
                .ranks = ranks, .threads = 1 + ranks % 2, .play = sum_both, .calls = 100, .dealt = dealt};
            run(&j, 60);
            for (int q = 0; q < ranks; q++) {
                assert_int_equal(j.players[q][0].status, TSR_OK);
                assert_int_equal(j.players[q][0].wrong, 0);
            }
            free_data(&j);
        }
}

/* Rank 1 stays away from the third call. */
static void desert_rows(player *p)
{
    job *j = p->job;
    tsr_comm *comm = j->comms[p->rank];
    for (int call = 0; call < 3; call++) {
        if (p->rank == 1 && call == 2) return;
        sum_rows(p, j->rows, j->cols, call);
    }
    strncpy(p->text, tsr_error_text(), sizeof p->text - 1);
    tsr_row_job r = rows_of(j, p->rank, j->rows, j->cols);
    if (tsr_comm_status(comm) != TSR_ERR_DEADLINE) p->wrong++;
    if (comm->ops->reduce_rows(comm, &r, 0, 1) != TSR_ERR_DEADLINE) p->wrong++;
    if (tsr_comm_all_reduce(comm, j->data[p->rank], 16, 0, 1) != TSR_ERR_DEADLINE) p->wrong++;
}

static void a_rank_missing_from_rows_is_named(void **state)
{
    (void)state;
    for (int dealt = 0; dealt < 2; dealt++) {
        job j = {.ranks = 3, .threads = 1, .play = desert_rows, .rows = 121, .cols = 576, .dealt = dealt};
        run(&j, 0.3);
        for (int q = 0; q < 3; q += 2) {
            assert_int_equal(j.players[q][0].status, TSR_ERR_DEADLINE);
            assert_string_equal(j.players[q][0].text,
                                "all-reduce number 3 passed its deadline of 0.3 s; not arrived: rank 1");
            assert_int_equal(j.players[q][0].wrong, 0);
        }
        free_data(&j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_right_and_equal),
        cmocka_unit_test(many_calls_in_a_row),
        cmocka_unit_test(a_missing_rank_is_named),
        cmocka_unit_test(rows_are_right_and_equal),
        cmocka_unit_test(rows_wider_than_a_slot_are_not_taken),
        cmocka_unit_test(rows_and_vectors_in_turn),
        cmocka_unit_test(a_rank_missing_from_rows_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
