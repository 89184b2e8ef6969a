/* test_parallel_world.c: a world and its communicators as they are: alone as a plain test, and with two,
 * three and four ranks under mpirun (tests/lists/parallel.cmake). Every rank runs every test, in step with
 * the others. */
#include "base/pool.h"
#include "parallel/affinity.h"
#include "parallel/comm.h"
#include "parallel/world.h"
#include "tests/support_reduce.h"

#include "base/log.h"
#include "base/memory.h"

#include <mpi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 1000000 };

static tsr_world *world;
static int rank, size;
static bool through_mpi;

static int begin(void **state)
{
    (void)state;
    through_mpi = getenv("TSR_TEST_THROUGH_MPI") != NULL;
    tsr_world_options o = {.deadline_seconds = 60, .through_mpi = through_mpi};
    if (tsr_world_create(&o, &world) != TSR_OK) return -1;
    rank = tsr_world_rank(world);
    size = tsr_world_size(world);
    return 0;
}

static int end(void **state)
{
    (void)state;
    tsr_world_destroy(&world);
    return world != NULL;
}

static void mpi_is_begun_for_several_ranks_only(void **state)
{
    (void)state;
    const char *expected = getenv("TSR_TEST_RANKS");
    int begun;
    MPI_Initialized(&begun);
    assert_int_equal(size, expected ? atoi(expected) : 1);
    assert_int_equal(begun, size > 1);
    assert_in_range(rank, 0, size - 1);
    assert_int_equal(tsr_world_local_size(world), size);
    assert_int_equal(tsr_world_local_rank(world), rank);
    assert_true(tsr_world_one_node(world));
    assert_true(strlen(tsr_world_hostname(world)) > 0);
}

static unsigned char byte_of(int q, int64_t i, int call)
{
    return (unsigned char)(q * 31 + i * 7 + call * 3 + i / 251);
}

static void broadcasts_reach_all(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 64, 65535, 65536, 65537, 300001};
    static unsigned char data[300001];
    for (int call = 0; call < 400; call++) {
        int64_t n = sizes[call % 6];
        int root = call / 3 % size;
        memset(data, 0, (size_t)n);
        for (int64_t i = 0; rank == root && i < n; i++) data[i] = byte_of(root, i, call);
        assert_int_equal(
            tsr_world_broadcast(world, data, n, root, call % 2 ? TSR_WAIT_IDLE : TSR_WAIT_DEADLINE), TSR_OK);
        for (int64_t i = 0; i < n; i += 1 + n / 1000) assert_int_equal(data[i], byte_of(root, i, call));
    }
}

static void check_gathered(const unsigned char *all, int64_t n, int call)
{
    for (int q = 0; q < size; q++)
        for (int64_t i = 0; i < n; i += 1 + n / 500) assert_int_equal(all[q * n + i], byte_of(q, i, call));
}

static void gathers_bring_all_parts(void **state)
{
    (void)state;
    static const int64_t sizes[] = {4, 1000, 65536, 70000};
    static unsigned char own[70000];
    unsigned char *all = malloc((size_t)size * 70000);
    assert_non_null(all);
    for (int call = 0; call < 300; call++) {
        int64_t n = sizes[call % 4];
        int root = call % size;
        for (int64_t i = 0; i < n; i++) own[i] = byte_of(rank, i, call);
        memset(all, 0, (size_t)(size * n));
        if (call % 3 == 0) {
            assert_int_equal(tsr_world_gather(world, own, n, rank == root ? all : NULL, root), TSR_OK);
            if (rank == root) check_gathered(all, n, call);
        } else if (call % 3 == 1) {
            assert_int_equal(tsr_world_all_gather(world, own, n, all), TSR_OK);
            check_gathered(all, n, call);
        } else {
            memcpy(all + rank * n, own, (size_t)n);
            assert_int_equal(tsr_world_all_gather(world, all + rank * n, n, all), TSR_OK);
            check_gathered(all, n, call);
        }
    }
    free(all);
}

/* The last to come sets a clock that all compare with: nobody leaves a barrier before. */
static void barriers_hold(void **state)
{
    (void)state;
    double left[64], came[64];
    for (int call = 0; call < 20; call++) {
        if (rank == call % size) usleep(3000);
        double now = tsr_now(), after;
        assert_int_equal(tsr_world_barrier(world), TSR_OK);
        after = tsr_now();
        assert_int_equal(tsr_world_all_gather(world, &now, sizeof now, came), TSR_OK);
        assert_int_equal(tsr_world_all_gather(world, &after, sizeof after, left), TSR_OK);
        for (int a = 0; a < size; a++)
            for (int b = 0; b < size; b++) assert_true(left[a] >= came[b]);
    }
}

static void agreement_finds_the_failing_rank(void **state)
{
    (void)state;
    tsr_error_clear();
    assert_int_equal(tsr_world_agree(world, TSR_OK), TSR_OK);
    for (int failing = 0; failing < size; failing++) {
        tsr_status own = rank == failing ? tsr_fail(TSR_ERR_FORMAT, "w.bin: torn at %d", failing) : TSR_OK;
        char text[64];
        assert_int_equal(tsr_world_agree(world, own), TSR_ERR_FORMAT);
        snprintf(text, sizeof text, failing ? "rank %d: w.bin: torn at %d" : "w.bin: torn at 0", failing,
                 failing);
        assert_string_equal(tsr_error_text(), text);
    }
    tsr_status own = rank ? tsr_fail(TSR_ERR_MEMORY, "no room") : tsr_fail(TSR_ERR_CANCELLED, "stopped");
    assert_int_equal(tsr_world_agree(world, own), size > 1 ? TSR_ERR_MEMORY : TSR_ERR_CANCELLED);
    assert_string_equal(tsr_error_text(), size > 1 ? "rank 1: no room" : "stopped");
    assert_int_equal(tsr_world_agree(world, TSR_OK), TSR_OK);
}

/* Sums -------------------------------------------------------------------------------------------------- */

typedef struct sum_job {
    tsr_comm *comm;
    float *data;
    int64_t n;
    int status[4];
} sum_job;

static void sum_with_all_threads(void *arg, int thread, int n_threads)
{
    sum_job *j = arg;
    j->status[thread] = tsr_comm_all_reduce(j->comm, j->data, j->n, thread, n_threads);
}

static void check_sum(const sum_job *j, int call)
{
    for (int64_t i = 0; i < j->n; i += 1 + j->n / 5000)
        assert_true(reduce_is_right(j->data[i], size, i, call));
    uint64_t hash = 0xcbf29ce484222325, all[64];
    const unsigned char *bytes = (const unsigned char *)j->data;
    for (int64_t i = 0; i < j->n * 4; i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
    assert_int_equal(tsr_world_all_gather(world, &hash, sizeof hash, all), TSR_OK);
    for (int q = 0; q < size; q++) assert_true(all[q] == all[0]);
}

static void try_sums(const char *kind, int threads)
{
    static const int64_t sizes[] = {1, 7, 576, 4096, 4097, 65536, MOST};
    static float *data;
    void *memory;
    tsr_comm_options o = {.kind = kind, .oversubscribed = true};
    tsr_pool *pool;
    sum_job j = {0};
    assert_int_equal(tsr_alloc_large(MOST * sizeof(float), "test", &memory), TSR_OK);
    assert_int_equal(tsr_comm_create(world, &o, &j.comm), TSR_OK);
    assert_string_equal(j.comm->ops->name, size == 1 ? "self" : kind ? kind : through_mpi ? "mpi" : "shm");
    assert_int_equal(tsr_pool_create(threads, NULL, true, &pool), TSR_OK);
    j.data = data = memory;
    for (int call = 0; call < 21; call++) {
        j.n = sizes[call * 2 % 7];
        for (int64_t i = 0; i < j.n; i++) data[i] = reduce_input(rank, i, call);
        tsr_pool_run(pool, sum_with_all_threads, &j);
        for (int t = 0; t < threads; t++) assert_int_equal(j.status[t], TSR_OK);
        check_sum(&j, call);
    }
    assert_int_equal(tsr_comm_status(j.comm), TSR_OK);
    tsr_pool_destroy(&pool);
    tsr_comm_destroy(&j.comm);
    tsr_free_large(memory, MOST * sizeof(float));
}

static void sums_through_shared_memory(void **state)
{
    (void)state;
    try_sums(NULL, 1);
    try_sums(NULL, 2);
}

static void sums_through_mpi(void **state)
{
    (void)state;
    try_sums("mpi", 1);
    try_sums("mpi", 2);
}

/* Small whole numbers, whose sums are exact: any slip in thousands of calls shows. */
static void thousands_of_sums(void **state)
{
    (void)state;
    float data[576];
    tsr_comm *comm;
    assert_int_equal(tsr_comm_create(world, NULL, &comm), TSR_OK);
    for (int call = 0; call < 5000; call++) {
        int n = 1 + call * 37 % 576, wrong = 0;
        for (int i = 0; i < n; i++) data[i] = (float)((rank + 1) * (call % 100 + i));
        assert_int_equal(tsr_comm_all_reduce(comm, data, n, 0, 1), TSR_OK);
        for (int i = 0; i < n; i++) wrong += data[i] != (float)(size * (size + 1) / 2 * (call % 100 + i));
        assert_int_equal(wrong, 0);
    }
    tsr_comm_destroy(&comm);
}

static void bad_kinds_are_refused(void **state)
{
    (void)state;
    tsr_comm_options o = {.kind = "telegraph"};
    tsr_comm *comm;
    assert_int_equal(tsr_comm_create(world, &o, &comm), TSR_ERR_USAGE);
    assert_non_null(strstr(tsr_error_text(), "telegraph"));
    assert_null(comm);
    o.kind = "shm";
    if (size == 1 || !through_mpi) return;
    assert_int_equal(tsr_comm_create(world, &o, &comm), TSR_ERR_USAGE);
    assert_non_null(strstr(tsr_error_text(), "needs all ranks on one node"));
}

/* The rest ---------------------------------------------------------------------------------------------- */

static void waiting_for_work_costs_little(void **state)
{
    (void)state;
    if (size == 1) return;
    char work = 0;
    struct timespec t[2];
    assert_int_equal(tsr_world_barrier(world), TSR_OK);
    if (rank == 0) usleep(500000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[0]);
    work = rank == 0;
    assert_int_equal(tsr_world_broadcast(world, &work, 1, 0, TSR_WAIT_IDLE), TSR_OK);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t[1]);
    assert_int_equal(work, 1);
    double used = (double)(t[1].tv_sec - t[0].tv_sec) + 1e-9 * (double)(t[1].tv_nsec - t[0].tv_nsec);
    assert_true(used < 0.15);
}

static void every_rank_gets_threads(void **state)
{
    (void)state;
    static tsr_affinity plan;
    int counts[64];
    assert_int_equal(tsr_affinity_plan(world, 0, &plan), TSR_OK);
    assert_int_equal(tsr_world_all_gather(world, &plan.n_threads, sizeof(int), counts), TSR_OK);
    long total = 0, cpus = sysconf(_SC_NPROCESSORS_ONLN);
    for (int q = 0; q < size; q++) total += counts[q];
    assert_true(total <= (cpus > size ? cpus : size));
    assert_int_equal(tsr_affinity_plan(world, 2, &plan), TSR_OK);
    assert_int_equal(plan.n_threads, 2);
    if (2 * size > cpus) assert_true(plan.oversubscribed);
    assert_int_equal(tsr_affinity_plan(world, rank == size - 1 ? -1 : 0, &plan), TSR_ERR_USAGE);
}

static void a_wish_to_stop_breaks_nothing(void **state)
{
    (void)state;
    assert_false(tsr_world_stop_requested());
    tsr_world_request_stop();
    assert_true(tsr_world_stop_requested());
    assert_int_equal(tsr_world_barrier(world), TSR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mpi_is_begun_for_several_ranks_only),
        cmocka_unit_test(broadcasts_reach_all),
        cmocka_unit_test(gathers_bring_all_parts),
        cmocka_unit_test(barriers_hold),
        cmocka_unit_test(agreement_finds_the_failing_rank),
        cmocka_unit_test(sums_through_shared_memory),
        cmocka_unit_test(sums_through_mpi),
        cmocka_unit_test(thousands_of_sums),
        cmocka_unit_test(bad_kinds_are_refused),
        cmocka_unit_test(waiting_for_work_costs_little),
        cmocka_unit_test(every_rank_gets_threads),
        cmocka_unit_test(a_wish_to_stop_breaks_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
