/* world.c: how a world begins and ends. */
#include "parallel/world.h"

#include "base/log.h"
#include "base/memory.h"
#include "parallel/launcher.h"
#include "parallel/world_internal.h"

#include <mpi.h>
#include <stdio.h>
#include <unistd.h>

#ifdef OPEN_MPI
static const tsr_mpi_library MPI_LIBRARY = TSR_MPI_OPEN;
#else
static const tsr_mpi_library MPI_LIBRARY = TSR_MPI_OTHER;
#endif

enum { DEADLINE = 60, LOAD_DEADLINE = 600 };

extern char **environ;

/* Beginning --------------------------------------------------------------------------------------------- */

static tsr_status mpi_failed(const char *what)
{
    return tsr_fail(TSR_ERR_INTERNAL, "MPI: %s failed", what);
}

/* A program that embeds Tessera may have begun MPI itself: then it also ends it. */
static tsr_status begin_mpi(tsr_world *w)
{
    int begun = 0, provided = MPI_THREAD_SINGLE;
    MPI_Initialized(&begun);
    if (begun) {
        MPI_Query_thread(&provided);
    } else {
        if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided))
            return mpi_failed("MPI_Init_thread");
        w->finalize = true;
    }
    if (provided < MPI_THREAD_FUNNELED)
        return tsr_fail(TSR_ERR_LAUNCH, "this MPI library does not allow programs with threads");
    return TSR_OK;
}

static tsr_status split(tsr_world *w)
{
    if (MPI_Comm_dup(MPI_COMM_WORLD, &w->comm)) return mpi_failed("MPI_Comm_dup");
    MPI_Comm_set_errhandler(w->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(w->comm, &w->rank);
    MPI_Comm_size(w->comm, &w->size);
    if (MPI_Comm_split_type(w->comm, MPI_COMM_TYPE_SHARED, w->rank, MPI_INFO_NULL, &w->node))
        return mpi_failed("MPI_Comm_split_type");
    MPI_Comm_set_errhandler(w->node, MPI_ERRORS_RETURN);
    MPI_Comm_rank(w->node, &w->local_rank);
    MPI_Comm_size(w->node, &w->local_size);
    w->one_node = w->local_size == w->size;
    return TSR_OK;
}

static tsr_status meet_peers(tsr_world *w)
{
    void *peers, *statuses;
    TSR_TRY(tsr_calloc(w->local_size, sizeof(tsr_peer), "the ranks of this node", &peers));
    w->peers = peers;
    TSR_TRY(tsr_calloc(w->size, sizeof(int32_t), "the ranks' statuses", &statuses));
    w->statuses = statuses;
    tsr_peer self = tsr_peer_self(w->rank);
    if (MPI_Allgather(&self, sizeof self, MPI_BYTE, peers, sizeof self, MPI_BYTE, w->node))
        return mpi_failed("MPI_Allgather");
    for (int q = 0; q < w->local_size; q++) w->peers[q].visible = tsr_peer_runs(&w->peers[q]);
    return MPI_Barrier(w->node) ? mpi_failed("MPI_Barrier") : TSR_OK; /* nobody leaves before he was seen */
}

/* Without shared memory a world still works, through MPI; whether it is there is the same on all ranks of a
 * node. */
static tsr_status share_memory(tsr_world *w)
{
    if (w->local_size == 1) return TSR_OK;
    int64_t bytes = w->one_node ? TSR_MESSAGE_BYTES : TSR_CHANNEL_LINE;
    tsr_status status = tsr_channel_create(w->node, TSR_LANES, bytes, w->peers, &w->channel);
    if (status == TSR_OK) return TSR_OK;
    if (w->local_rank == 0)
        tsr_log(TSR_LOG_WARNING, "%s; ranks of one node talk through MPI", tsr_error_text());
    w->channel = NULL;
    return TSR_OK;
}

static tsr_status join_job(tsr_world *w, const tsr_launch *launch)
{
    TSR_TRY(begin_mpi(w));
    TSR_TRY(split(w));
    TSR_TRY(tsr_launch_verify(launch, w->size));
    TSR_TRY(meet_peers(w));
    return share_memory(w);
}

static void fill_options(tsr_world_options *own, const tsr_world_options *given)
{
    if (given) *own = *given;
    if (own->deadline_seconds <= 0) own->deadline_seconds = DEADLINE;
    if (own->load_deadline_seconds <= 0) own->load_deadline_seconds = LOAD_DEADLINE;
}

tsr_status tsr_world_create(const tsr_world_options *options, tsr_world **out)
{
    void *memory;
    *out = NULL;
    tsr_launch launch = {.expected_size = 1};
    if (!options || !options->alone)
        TSR_TRY(tsr_launch_detect((const char *const *)environ, MPI_LIBRARY, &launch));
    TSR_TRY(tsr_calloc(1, sizeof(tsr_world), "the world", &memory));
    tsr_world *w = memory;
    *w = (tsr_world){
        .size = 1, .local_size = 1, .one_node = true, .comm = MPI_COMM_NULL, .node = MPI_COMM_NULL};
    fill_options(&w->options, options);
    if (gethostname(w->hostname, sizeof w->hostname - 1))
        snprintf(w->hostname, sizeof w->hostname, "unknown");
    tsr_status status = launch.mpi ? join_job(w, &launch) : TSR_OK;
    w->yielding = w->local_size > sysconf(_SC_NPROCESSORS_ONLN); /* until tsr_affinity_plan knows better */
    if (status != TSR_OK) {
        w->broken = status != TSR_ERR_LAUNCH; /* the other ranks may wait for this one: no farewell */
        tsr_world_destroy(&w);
    }
    *out = w;
    return status;
}

/* Ending ------------------------------------------------------------------------------------------------ */

void tsr_world_destroy(tsr_world **world)
{
    tsr_world *w = *world;
    if (!w) return;
    tsr_channel_destroy(&w->channel, w->broken);
    if (!w->broken) {
        if (w->node != MPI_COMM_NULL) MPI_Comm_free(&w->node);
        if (w->comm != MPI_COMM_NULL) MPI_Comm_free(&w->comm);
        if (w->finalize) MPI_Finalize();
    }
    tsr_free(w->peers);
    tsr_free(w->statuses);
    tsr_free(w);
    *world = NULL;
}

tsr_status tsr_world_break(tsr_world *world, tsr_status status)
{
    world->broken = true;
    return status;
}

void tsr_world_set_deadline(tsr_world *world, double seconds)
{
    if (seconds > 0) world->options.deadline_seconds = seconds;
}

/* Facts ------------------------------------------------------------------------------------------------- */

int tsr_world_rank(const tsr_world *world)
{
    return world->rank;
}

int tsr_world_size(const tsr_world *world)
{
    return world->size;
}

int tsr_world_local_rank(const tsr_world *world)
{
    return world->local_rank;
}

int tsr_world_local_size(const tsr_world *world)
{
    return world->local_size;
}

bool tsr_world_one_node(const tsr_world *world)
{
    return world->one_node;
}

const char *tsr_world_hostname(const tsr_world *world)
{
    return world->hostname;
}
