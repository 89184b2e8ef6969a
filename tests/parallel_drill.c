/* parallel_drill.c: a job that goes wrong on purpose, for tests/parallel_drill.sh to watch from outside.
 *
 *   parallel_drill lost | lost-idle | lost-mpi | late | late-mpi | torn | fine
 */
#include "base/log.h"
#include "parallel/comm.h"
#include "parallel/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_term(int signal)
{
    (void)signal;
    tsr_world_request_stop();
}

/* Rank 1 dies in the middle of a run of sums. */
static tsr_status lose_a_rank(tsr_world *world)
{
    float data[576] = {0};
    tsr_comm *comm;
    TSR_TRY(tsr_comm_create(world, NULL, &comm));
    for (int call = 1; call <= 100000; call++) {
        if (call == 123 && tsr_world_rank(world) == 1) raise(SIGKILL);
        TSR_TRY(tsr_comm_all_reduce(comm, data, 576, 0, 1));
    }
    tsr_comm_destroy(&comm);
    return TSR_OK;
}

/* Rank 0 dies while the others wait for work, without any deadline. */
static tsr_status lose_the_leader(tsr_world *world)
{
    char work;
    if (tsr_world_rank(world) == 0) {
        usleep(200000);
        raise(SIGKILL);
    }
    return tsr_world_broadcast(world, &work, 1, 0, TSR_WAIT_IDLE);
}

/* The last rank comes far too late. */
static tsr_status be_late(tsr_world *world)
{
    float data[4] = {0};
    tsr_comm_options o = {.deadline_seconds = 1};
    tsr_comm *comm;
    TSR_TRY(tsr_comm_create(world, &o, &comm));
    TSR_TRY(tsr_comm_all_reduce(comm, data, 4, 0, 1));
    if (tsr_world_rank(world) == tsr_world_size(world) - 1) sleep(8);
    TSR_TRY(tsr_comm_all_reduce(comm, data, 4, 0, 1));
    tsr_comm_destroy(&comm);
    return TSR_OK;
}

/* One rank cannot load: all leave in order. Returns the exit code. */
static int load(tsr_world *world)
{
    tsr_status own = TSR_OK;
    if (tsr_world_rank(world) == 1) own = tsr_fail(TSR_ERR_FORMAT, "model.safetensors: torn");
    tsr_status all = tsr_world_agree(world, own);
    if (all != TSR_OK && tsr_world_rank(world) == 0) tsr_log(TSR_LOG_ERROR, "%s", tsr_error_text());
    tsr_world_destroy(&world);
    return tsr_status_exit_code(all);
}

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";
    tsr_world *world;
    tsr_world_options o = {.through_mpi = strstr(what, "-mpi") != NULL};
    signal(SIGTERM, on_term);
    tsr_status status = tsr_world_create(&o, &world);
    if (status != TSR_OK) {
        tsr_log(TSR_LOG_ERROR, "%s", tsr_error_text());
        return tsr_status_exit_code(status);
    }
    if (tsr_world_size(world) > 1) tsr_log_setup(TSR_LOG_INFO, tsr_world_rank(world));
    if (!strcmp(what, "torn")) return load(world);
    if (!strcmp(what, "lost") || !strcmp(what, "lost-mpi")) status = lose_a_rank(world);
    if (!strcmp(what, "lost-idle")) status = lose_the_leader(world);
    if (!strcmp(what, "late") || !strcmp(what, "late-mpi")) status = be_late(world);
    if (status != TSR_OK) tsr_world_abort(world, status, NULL);
    printf("rank %d of %d is fine\n", tsr_world_rank(world), tsr_world_size(world));
    tsr_world_destroy(&world);
    return 0;
}
