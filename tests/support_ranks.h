/* support_ranks.h: several ranks of a model inside one process, each on a thread of its own, for tests. */
#ifndef TSR_TESTS_SUPPORT_RANKS_H
#define TSR_TESTS_SUPPORT_RANKS_H

#include "checkpoint/source.h"
#include "layers/fuse.h"
#include "layers/model.h"
#include "parallel/shard.h"
#include "runtime/executor.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEST_RANKS = 8, MAX_TEST_TOKENS = 128 };

/* A communicator over threads: every rank leaves its vector, all meet, every rank adds them up in rank order.
 */
typedef struct thread_comm {
    tsr_comm comm;
    struct rank_team *team;
} thread_comm;

typedef struct rank_team {
    int n;
    pthread_barrier_t barrier;
    const float *vector[MAX_TEST_RANKS];
    const tsr_row_job *job[MAX_TEST_RANKS];
    long calls, dealt;
} rank_team;

static int team_all_reduce(tsr_comm *comm, float *data, int64_t n, int thread, int n_threads)
{
    rank_team *team = ((thread_comm *)comm)->team;
    (void)thread, (void)n_threads; /* one thread a rank here */
    float *sum = calloc((size_t)n, sizeof *sum);
    team->vector[comm->rank] = data;
    pthread_barrier_wait(&team->barrier);
    for (int r = 0; r < team->n; r++)
        for (int64_t i = 0; i < n; i++) sum[i] += team->vector[r][i];
    pthread_barrier_wait(&team->barrier);
    memcpy(data, sum, (size_t)n * sizeof *sum);
    free(sum);
    if (comm->rank == 0) team->calls++;
    pthread_barrier_wait(&team->barrier);
    return TSR_OK;
}

static bool team_takes_rows(const tsr_comm *comm, int64_t rows, int64_t cols, bool dealt)
{
    (void)comm, (void)rows, (void)cols, (void)dealt;
    return true;
}

/* What a rank leaves undone must not matter: it becomes NaN, or comes from the owner where it must be whole. */
static void team_complete(const rank_team *team, const tsr_row_job *job, int64_t row, int owner)
{
    for (int o = 0; o < job->n_out; o++) {
        float *to = job->out[o].data + row * job->out[o].ld;
        const struct tsr_row_out *from = &team->job[owner]->out[o];
        for (int64_t c = 0; c < job->cols; c++)
            to[c] = job->out[o].whole ? from->data[row * from->ld + c] : NAN;
    }
}

/* Deals rows whenever it is allowed, however few. */
static int team_reduce_rows(tsr_comm *comm, const tsr_row_job *job, int thread, int n_threads)
{
    rank_team *team = ((thread_comm *)comm)->team;
    int64_t floats = job->rows * job->cols, first = 0, end = job->rows;
    (void)thread, (void)n_threads;
    float *copy = malloc((size_t)(floats + 1) * sizeof *copy); /* outputs may lie over x */
    memcpy(copy, job->x, (size_t)floats * sizeof *copy);
    team->vector[comm->rank] = copy;
    team->job[comm->rank] = job;
    pthread_barrier_wait(&team->barrier);
    if (job->dealt) tsr_row_owner(job->rows, comm->rank, team->n, &first, &end);
    for (int64_t row = first; row < end; row++) {
        const float *part[MAX_TEST_RANKS];
        for (int r = 0; r < team->n; r++) part[r] = team->vector[r] + row * job->cols;
        job->finish(job, row, part);
    }
    pthread_barrier_wait(&team->barrier);
    for (int q = 0; q < team->n && job->dealt; q++) {
        tsr_row_owner(job->rows, q, team->n, &first, &end);
        for (int64_t row = first; row < end && q != comm->rank; row++) team_complete(team, job, row, q);
    }
    free(copy);
    if (comm->rank == 0) team->calls++, team->dealt += job->dealt;
    pthread_barrier_wait(&team->barrier);
    return TSR_OK;
}

static const tsr_comm_ops team_ops = {.name = "threads", .all_reduce = team_all_reduce},
                          team_row_ops = {.name = "threads by rows",
                                          .all_reduce = team_all_reduce,
                                          .takes_rows = team_takes_rows,
                                          .reduce_rows = team_reduce_rows};

/* One prompt, run by n ranks in chunks of at most `chunk` tokens; logits of every token. */
typedef struct rank_run {
    const char *model_dir;
    int n_ranks, chunk;
    tsr_kernels_choice kernels;
    tsr_dtype dtype;
    bool by_rows; /* the communicator takes rows, and deals them */
    int n_tokens;
    const int32_t *ids; /* [n_tokens] */
    int64_t vocabulary; /* out */
    float *logits;      /* out: [n_tokens][vocabulary]; free it */
    long reductions;    /* out; dealt: those whose rows were dealt */
    long dealt;
    char error[512]; /* out: "" if all went well */
} rank_run;

typedef struct rank_thread {
    rank_run *run;
    rank_team *team;
    int rank;
    tsr_status status;
} rank_thread;

static tsr_status run_chunk(rank_run *run, tsr_executor *e, const tsr_model *local, int at, int n)
{
    static const int32_t zeros[MAX_TEST_TOKENS];
    int32_t positions[MAX_TEST_TOKENS], sequence[MAX_TEST_TOKENS] = {0}, rows[MAX_TEST_TOKENS],
                                        pages[MAX_TEST_TOKENS];
    float *tables[8];
    int64_t ld, cols;
    for (int i = 0; i < n; i++) positions[i] = at + i, rows[i] = i;
    for (int i = 0; i < MAX_TEST_TOKENS; i++)
        pages[i] = (i * 3 + 1) % 7; /* out of order on purpose; 7 pages */
    for (int64_t k = 0; k < local->n_ropes; k++) {
        int dims = local->ropes[k].dims;
        tables[k] = calloc((size_t)n * (size_t)dims, sizeof(float));
        for (int i = 0; i < n; i++)
            tsr_rope_angles(&local->ropes[k], at + i, run->n_tokens, tables[k] + i * dims,
                            tables[k] + i * dims + dims / 2);
    }
    tsr_step_sequence s = {.first_token = 0, .n_tokens = n, .position = at, .pages = pages};
    tsr_step step = {.n_tokens = n,
                     .n_sequences = 1,
                     .n_rows = n,
                     .ids = run->ids + at,
                     .positions = positions,
                     .position_rows = {positions, zeros},
                     .sequence = sequence,
                     .rows = rows,
                     .sequences = &s,
                     .rope = (const float *const *)tables};
    tsr_status status = tsr_executor_run(e, &step);
    const float *out = tsr_executor_output(e, &ld, &cols);
    for (int i = 0; i < n && status == TSR_OK; i++)
        memcpy(run->logits + (at + i) * run->vocabulary + local->graphs[0].output_first, out + i * ld,
               (size_t)cols * sizeof(float));
    for (int64_t k = 0; k < local->n_ropes; k++) free(tables[k]);
    return status;
}

static tsr_status run_rank(rank_thread *t)
{
    rank_run *run = t->run;
    tsr_model *model = NULL, *local = NULL;
    tsr_sharding *sharding = NULL;
    tsr_source *source = NULL;
    tsr_pool *pool = NULL;
    tsr_executor *e = NULL;
    tsr_fuse_report report;
    thread_comm comm = {{run->by_rows ? &team_row_ops : &team_ops, t->rank, run->n_ranks}, t->team};
    tsr_status status;
    TSR_TRY_OUT(tsr_model_from_dir(run->model_dir, &model));
    TSR_TRY_OUT(tsr_source_open(run->model_dir, &source));
    TSR_TRY_OUT(tsr_sharding_derive(model, run->n_ranks, &sharding));
    TSR_TRY_OUT(tsr_sharding_localize(sharding, t->rank, &local));
    TSR_TRY_OUT(tsr_fuse(local, run->kernels, &report));
    TSR_TRY_OUT(tsr_pool_create(1, NULL, true, &pool));
    tsr_executor_options o = {.graph = "decode",
                              .max_tokens = MAX_TEST_TOKENS,
                              .max_rows = MAX_TEST_TOKENS,
                              .n_pages = 7,
                              .dtype = run->dtype,
                              .source = source,
                              .pool = pool,
                              .comm = &comm.comm};
    TSR_TRY_OUT(tsr_executor_create(local, &o, &e));
    if (t->rank == 0) {
        run->vocabulary = model->vocabulary;
        run->logits = calloc((size_t)run->n_tokens * (size_t)model->vocabulary, sizeof(float));
    }
    pthread_barrier_wait(&t->team->barrier);
    for (int at = 0; at < run->n_tokens && status == TSR_OK; at += run->chunk) {
        int left = run->n_tokens - at;
        status = run_chunk(run, e, local, at, left < run->chunk ? left : run->chunk);
    }
out:
    tsr_executor_destroy(&e);
    tsr_pool_destroy(&pool);
    tsr_source_destroy(&source);
    tsr_model_destroy(&local);
    tsr_sharding_destroy(&sharding);
    tsr_model_destroy(&model);
    return status;
}

static void *rank_main(void *arg)
{
    rank_thread *t = arg;
    t->status = run_rank(t);
    if (t->status != TSR_OK) snprintf(t->run->error, sizeof t->run->error, "%s", tsr_error_text());
    return NULL;
}

/* A failure to build hits every rank alike, so none is left waiting for the others. */
static void run_ranks(rank_run *run)
{
    rank_team team = {.n = run->n_ranks};
    rank_thread thread[MAX_TEST_RANKS];
    pthread_t id[MAX_TEST_RANKS];
    run->error[0] = '\0';
    run->logits = NULL;
    pthread_barrier_init(&team.barrier, NULL, (unsigned)run->n_ranks);
    for (int r = 0; r < run->n_ranks; r++) {
        thread[r] = (rank_thread){.run = run, .team = &team, .rank = r};
        pthread_create(&id[r], NULL, rank_main, &thread[r]);
    }
    for (int r = 0; r < run->n_ranks; r++) pthread_join(id[r], NULL);
    pthread_barrier_destroy(&team.barrier);
    run->reductions = team.calls;
    run->dealt = team.dealt;
}

#endif
