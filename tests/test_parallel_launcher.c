/* test_parallel_launcher.c: what the environment says about who started the process, as a table of invented ones. */
#include "parallel/launcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 };

typedef struct launch_case {
    const char *name;
    const char *environment[MOST];
    tsr_mpi_library library;
    tsr_status status;
    bool mpi;
    int expected_size;
    const char *says; /* part of the text of a refusal */
} launch_case;

static const launch_case cases[] = {
    {"a shell", {"HOME=/root", "PATH=/bin"}, TSR_MPI_OPEN, TSR_OK, false, 1, NULL},
    {"mpirun -n 2",
     {"OMPI_COMM_WORLD_SIZE=2", "PMIX_RANK=0", "PMIX_NAMESPACE=x"},
     TSR_MPI_OPEN,
     TSR_OK,
     true,
     2,
     NULL},
    {"mpirun -n 1",
     {"OMPI_COMM_WORLD_SIZE=1", "PMIX_RANK=0", "PMIX_NAMESPACE=x"},
     TSR_MPI_OPEN,
     TSR_OK,
     false,
     1,
     NULL},
    {"mpirun in an allocation",
     {"SLURM_JOB_ID=7", "SLURM_NTASKS=8", "SLURM_PROCID=0", "OMPI_COMM_WORLD_SIZE=8"},
     TSR_MPI_OPEN,
     TSR_OK,
     true,
     8,
     NULL},
    {"a rank of mpirun on another node, whose daemon srun started",
     {"SLURM_STEP_NUM_TASKS=2", "SLURM_PROCID=1", "SLURM_STEP_ID=0", "OMPI_COMM_WORLD_SIZE=16"},
     TSR_MPI_OPEN,
     TSR_OK,
     true,
     16,
     NULL},
    {"sbatch -n 4, run directly",
     {"SLURM_JOB_ID=7", "SLURM_NTASKS=4", "SLURM_PROCID=0", "SLURM_LOCALID=0"},
     TSR_MPI_OPEN,
     TSR_OK,
     false,
     1,
     NULL},
    {"salloc -n 4, run directly",
     {"SLURM_JOB_ID=7", "SLURM_NTASKS=4", "SLURM_NPROCS=4"},
     TSR_MPI_OPEN,
     TSR_OK,
     false,
     1,
     NULL},
    {"salloc with an interactive step",
     {"SLURM_NTASKS=4", "SLURM_STEP_NUM_TASKS=1", "SLURM_PROCID=0"},
     TSR_MPI_OPEN,
     TSR_OK,
     false,
     1,
     NULL},
    {"srun -n 4",
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID=0", "SLURM_STEP_ID=0"},
     TSR_MPI_OPEN,
     TSR_ERR_LAUNCH,
     false,
     0,
     "srun --mpi=pmix"},
    {"srun without a count",
     {"SLURM_PROCID=3", "SLURM_STEP_ID=0"},
     TSR_MPI_OPEN,
     TSR_ERR_LAUNCH,
     false,
     0,
     "srun --mpi=pmix"},
    {"srun -n 1",
     {"SLURM_STEP_NUM_TASKS=1", "SLURM_PROCID=0", "SLURM_NTASKS=1"},
     TSR_MPI_OPEN,
     TSR_OK,
     false,
     1,
     NULL},
    {"srun --mpi=pmix -n 4",
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID=2", "PMIX_RANK=2", "PMIX_NAMESPACE=slurm.1"},
     TSR_MPI_OPEN,
     TSR_OK,
     true,
     4,
     NULL},
    {"srun --mpi=pmix -n 1",
     {"SLURM_STEP_NUM_TASKS=1", "SLURM_PROCID=0", "PMIX_RANK=0", "PMIX_NAMESPACE=slurm.1"},
     TSR_MPI_OPEN,
     TSR_OK,
     false,
     1,
     NULL},
    {"srun --mpi=pmi2 -n 4",
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID=0", "PMI_RANK=0", "PMI_SIZE=4"},
     TSR_MPI_OPEN,
     TSR_ERR_LAUNCH,
     false,
     0,
     "srun --mpi=pmix"},
    {"prterun", {"PMIX_RANK=0", "PMIX_NAMESPACE=prterun-1"}, TSR_MPI_OPEN, TSR_OK, true, 0, NULL},
    {"the mpirun of MPICH",
     {"PMI_RANK=0", "PMI_SIZE=4", "MPI_LOCALNRANKS=4"},
     TSR_MPI_OPEN,
     TSR_ERR_LAUNCH,
     false,
     0,
     "Open MPI's mpirun"},
    {"the mpirun of MPICH -n 1", {"PMI_RANK=0", "PMI_SIZE=1"}, TSR_MPI_OPEN, TSR_OK, false, 1, NULL},
    {"MPICH's, and built with it", {"PMI_RANK=0", "PMI_SIZE=4"}, TSR_MPI_OTHER, TSR_OK, true, 4, NULL},
    {"Open MPI's, but built with MPICH",
     {"OMPI_COMM_WORLD_SIZE=4", "PMIX_RANK=0", "PMIX_NAMESPACE=x"},
     TSR_MPI_OTHER,
     TSR_ERR_LAUNCH,
     false,
     0,
     "another MPI"},
    {"plain srun, built with MPICH",
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID=0"},
     TSR_MPI_OTHER,
     TSR_OK,
     true,
     4,
     NULL},
    {"numbers that are none",
     {"OMPI_COMM_WORLD_SIZE=two", "PMI_SIZE=", "SLURM_STEP_NUM_TASKS=-3"},
     TSR_MPI_OPEN,
     TSR_OK,
     false,
     1,
     NULL},
    {"a name that only begins alike", {"OMPI_COMM_WORLD_SIZE_X=9"}, TSR_MPI_OPEN, TSR_OK, false, 1, NULL},
};

static void each_environment_is_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const launch_case *c = &cases[i];
        tsr_launch launch;
        print_message("  %s\n", c->name);
        tsr_error_clear();
        assert_int_equal(tsr_launch_detect(c->environment, c->library, &launch), c->status);
        if (c->status != TSR_OK) {
            assert_non_null(strstr(tsr_error_text(), c->says));
            continue;
        }
        assert_int_equal(launch.mpi, c->mpi);
        assert_int_equal(launch.expected_size, c->expected_size);
    }
}

static void singletons_are_seen_after_the_fact(void **state)
{
    (void)state;
    tsr_launch srun = {.mpi = true, .expected_size = 4, .by_srun = true};
    assert_int_equal(tsr_launch_verify(&srun, 4), TSR_OK);
    assert_int_equal(tsr_launch_verify(&srun, 1), TSR_ERR_LAUNCH);
    assert_non_null(strstr(tsr_error_text(), "srun --mpi=pmix"));
    tsr_launch mpirun = {.mpi = true, .expected_size = 3};
    assert_int_equal(tsr_launch_verify(&mpirun, 1), TSR_ERR_LAUNCH);
    assert_non_null(strstr(tsr_error_text(), "started 3 processes, but MPI finds 1"));
    tsr_launch untold = {.mpi = true};
    assert_int_equal(tsr_launch_verify(&untold, 1), TSR_OK);
}

static void mpirun_leaves_its_ranks_a_second(void **state)
{
    (void)state;
    static const char *const shell[] = {"HOME=/root", NULL}, *const plain[] = {"OMPI_COMM_WORLD_SIZE=2",
                                                                               NULL};
    static const char *const told[] = {"OMPI_COMM_WORLD_SIZE=2", "OMPI_MCA_odls_base_sigkill_timeout=7",
                                       NULL};
    static const char *const wrong[] = {"OMPI_COMM_WORLD_SIZE=2", "OMPI_MCA_odls_base_sigkill_timeout=x",
                                        NULL};
    assert_true(tsr_launch_grace(shell) == 0);
    assert_true(tsr_launch_grace(plain) == 1);
    assert_true(tsr_launch_grace(told) == 7);
    assert_true(tsr_launch_grace(wrong) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mpirun_leaves_its_ranks_a_second),
        cmocka_unit_test(each_environment_is_told_apart),
        cmocka_unit_test(singletons_are_seen_after_the_fact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
