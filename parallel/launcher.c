/* launcher.c: the rules of launcher.h. */
#include "parallel/launcher.h"

#include <stdlib.h>
#include <string.h>

static const char *value_of(const char *const *environment, const char *name)
{
    size_t n = strlen(name);
    for (; *environment; environment++)
        if (!strncmp(*environment, name, n) && (*environment)[n] == '=') return *environment + n + 1;
    return NULL;
}

/* The variable as a count; 0 where it is absent or no number. */
static int count_of(const char *const *environment, const char *name)
{
    const char *text = value_of(environment, name);
    if (!text) return 0;
    char *end;
    long n = strtol(text, &end, 10);
    return *end || end == text || n < 0 || n > 1 << 24 ? 0 : (int)n;
}

static int slurm_tasks(const char *const *environment)
{
    int tasks = count_of(environment, "SLURM_STEP_NUM_TASKS");
    int least = count_of(environment, "SLURM_PROCID") + 1;
    return tasks > least ? tasks : least;
}

static tsr_status refuse_srun(int tasks)
{
    return tsr_fail(
        TSR_ERR_LAUNCH,
        "srun started %d tasks that cannot find one another: use srun --mpi=pmix (srun --mpi=list shows "
        "whether this Slurm has it), or mpirun",
        tasks);
}

static tsr_status from_open_mpi(int n, tsr_mpi_library library, tsr_launch *out)
{
    if (library != TSR_MPI_OPEN && n > 1)
        return tsr_fail(
            TSR_ERR_LAUNCH,
            "the mpirun of Open MPI started %d processes, but this program was built with another MPI: "
            "use the mpirun (or mpiexec) of that one",
            n);
    *out = (tsr_launch){.mpi = n > 1, .expected_size = n};
    return TSR_OK;
}

static tsr_status from_pmi(int n, int tasks, tsr_mpi_library library, tsr_launch *out)
{
    if (library == TSR_MPI_OPEN && tasks > 1) return refuse_srun(tasks);
    if (library == TSR_MPI_OPEN && n > 1)
        return tsr_fail(
            TSR_ERR_LAUNCH,
            "the mpirun of another MPI started %d processes (PMI_SIZE is set), but this program was built "
            "with Open MPI: use Open MPI's mpirun, or srun --mpi=pmix",
            n);
    *out = (tsr_launch){.mpi = n > 1, .expected_size = n, .by_srun = tasks > 1};
    return TSR_OK;
}

tsr_status tsr_launch_detect(const char *const *environment, tsr_mpi_library library, tsr_launch *out)
{
    *out = (tsr_launch){.expected_size = 1};
    int open_mpi = count_of(environment, "OMPI_COMM_WORLD_SIZE"), pmi = count_of(environment, "PMI_SIZE");
    int tasks = slurm_tasks(environment);
    if (open_mpi) return from_open_mpi(open_mpi, library, out);
    if (value_of(environment, "PMIX_RANK") && value_of(environment, "PMIX_NAMESPACE")) {
        int known = count_of(environment, "SLURM_STEP_NUM_TASKS");
        *out = (tsr_launch){.mpi = known != 1, .expected_size = known, .by_srun = known != 0};
        return TSR_OK;
    }
    if (pmi) return from_pmi(pmi, tasks, library, out);
    if (tasks == 1) return TSR_OK;
    if (library == TSR_MPI_OPEN) return refuse_srun(tasks);
    *out = (tsr_launch){.mpi = true, .expected_size = tasks, .by_srun = true};
    return TSR_OK;
}

tsr_status tsr_launch_verify(const tsr_launch *launch, int mpi_size)
{
    if (mpi_size >= launch->expected_size) return TSR_OK;
    if (launch->by_srun) return refuse_srun(launch->expected_size);
    return tsr_fail(
        TSR_ERR_LAUNCH,
        "the launcher started %d processes, but MPI finds %d: use the mpirun of the MPI that this program "
        "was built with",
        launch->expected_size, mpi_size);
}

double tsr_launch_grace(const char *const *environment)
{
    if (!value_of(environment, "OMPI_COMM_WORLD_SIZE")) return 0;
    int stated = count_of(environment, "OMPI_MCA_odls_base_sigkill_timeout");
    return stated > 0 ? stated : 1;
}
