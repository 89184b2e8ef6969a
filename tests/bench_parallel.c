/* bench_parallel.c: what meeting costs, to run by hand: the barrier of a pool, sums and gathers over ranks.
 *
 *   bench_parallel [THREADS]                    the pool alone
 *   mpirun -n N bench_parallel [THREADS] [shm|mpi]   and the collectives; THREADS of each rank, 1 if not given
 */
#include "base/log.h"
#include "base/memory.h"
#include "base/pool.h"
#include "parallel/affinity.h"
#include "parallel/comm.h"
#include "parallel/world.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPEATS = 5, MOST_FLOATS = 1 << 20, BARRIERS = 100000 };

static tsr_world *world;
static tsr_pool *pool;
static bool speaks;

static double best_of(double best, double now)
{
    return best == 0 || now < best ? now : best;
}

static void meet(void *arg, int thread, int n_threads)
{
    (void)arg, (void)thread, (void)n_threads;
    for (int i = 0; i < BARRIERS; i++) tsr_pool_barrier(pool);
}

static void time_barrier(void)
{
    double best = 0;
    for (int r = 0; r < REPEATS; r++) {
        double start = tsr_now();
        tsr_pool_run(pool, meet, NULL);
        best = best_of(best, (tsr_now() - start) / BARRIERS);
    }
    if (speaks) printf("barrier of %d threads: %.0f ns\n", tsr_pool_threads(pool), best * 1e9);
}

typedef struct sums {
    tsr_comm *comm;
    float *data;
    int64_t n;
    int calls;
} sums;

/* As in a step: each sum between two barriers of the rank's threads. */
static void sum(void *arg, int thread, int n_threads)
{
    sums *s = arg;
    for (int i = 0; i < s->calls; i++) {
        tsr_comm_all_reduce(s->comm, s->data, s->n, thread, n_threads);
        if (n_threads > 1) tsr_pool_barrier(pool);
    }
}

static void time_sums(sums *s)
{
    static const int64_t sizes[] = {16, 576, 2048, 4096, 16384, 65536, 294912, MOST_FLOATS};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double best = 0;
        s->n = sizes[i];
        s->calls = (int)(20000000 / (s->n + 2000));
        for (int r = 0; r < REPEATS; r++) {
            tsr_world_barrier(world);
            double start = tsr_now();
            tsr_pool_run(pool, sum, s);
            best = best_of(best, (tsr_now() - start) / s->calls);
        }
        if (speaks)
            printf("all-reduce (%s) of %lld bytes: %.2f us\n", s->comm->ops->name, (long long)s->n * 4,
                   best * 1e6);
    }
}

static void time_gathers(char *data)
{
    static const int64_t sizes[] = {4, 256, 4096, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double best = 0;
        for (int r = 0; r < REPEATS; r++) {
            double start = tsr_now();
            for (int call = 0; call < 2000; call++)
                tsr_world_all_gather(world, data, sizes[i], data + MOST_FLOATS / 2);
            best = best_of(best, (tsr_now() - start) / 2000);
        }
        if (speaks) printf("all-gather of %lld bytes a rank: %.2f us\n", (long long)sizes[i], best * 1e6);
    }
}

static tsr_status run(int threads, const char *kind)
{
    static tsr_affinity plan;
    sums s = {0};
    void *data;
    TSR_TRY(tsr_world_create(NULL, &world));
    speaks = tsr_world_rank(world) == 0;
    TSR_TRY(tsr_affinity_plan(world, threads, &plan));
    TSR_TRY(tsr_pool_create(plan.n_threads, plan.cpus, plan.oversubscribed, &pool));
    TSR_TRY(tsr_alloc_large(MOST_FLOATS * sizeof(float), "vectors", &data));
    tsr_comm_options o = {.oversubscribed = plan.oversubscribed, .kind = kind};
    TSR_TRY(tsr_comm_create(world, &o, &s.comm));
    s.data = data;
    if (speaks)
        printf("%d ranks of %d threads%s\n", s.comm->size, threads,
               plan.oversubscribed ? ", sharing cores" : "");
    time_barrier();
    if (s.comm->size > 1) time_sums(&s);
    if (s.comm->size > 1) time_gathers(data);
    tsr_comm_destroy(&s.comm);
    tsr_pool_destroy(&pool);
    tsr_free_large(data, MOST_FLOATS * sizeof(float));
    tsr_world_destroy(&world);
    return TSR_OK;
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    tsr_status status = run(threads, argc > 2 ? argv[2] : NULL);
    if (status != TSR_OK) tsr_world_abort(world, status, NULL);
    return 0;
}
