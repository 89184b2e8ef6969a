/* world_abort.c: the end of a whole job after a fatal error, the one place below main that ends the
 * process; and the wish to stop in peace. */
#include "base/log.h"
#include "parallel/world_internal.h"

#include <mpi.h>
#include <signal.h>
#include <unistd.h>

enum { ABORT_SECONDS = 10, GRACE_SECONDS = 2 };

static bool first_to_abort(tsr_world *w)
{
    return !w || !w->channel || atomic_exchange(tsr_channel_stage(w->channel, 0, TSR_LANE_ABORT), 1) == 0;
}

/* MPI_Abort may hang where the launcher itself is gone: the alarm then ends the process. */
_Noreturn void tsr_world_abort(tsr_world *world, tsr_status status, const char *text)
{
    if (first_to_abort(world)) {
        if (world && world->size > 1)
            tsr_log(TSR_LOG_ERROR, "rank %d of %d on %s: %s", world->rank, world->size, world->hostname,
                    text ? text : tsr_error_text());
        else
            tsr_log(TSR_LOG_ERROR, "%s", text ? text : tsr_error_text());
    } else {
        sleep(GRACE_SECONDS); /* the first one is ending the job */
    }
    int code = tsr_status_exit_code(status);
    if (world && world->comm != MPI_COMM_NULL) {
        signal(SIGALRM, SIG_DFL);
        alarm(ABORT_SECONDS);
        MPI_Abort(MPI_COMM_WORLD, code);
    }
    _exit(code);
}

static _Atomic int stop_requested; /* without locks, so a signal handler may set it */

void tsr_world_request_stop(void)
{
    stop_requested = 1;
}

bool tsr_world_stop_requested(void)
{
    return stop_requested;
}
