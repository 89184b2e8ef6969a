/* launcher.h: who started this process, told from its environment alone, before MPI is touched.
 *
 * Singletons are the trap: under plain `srun -n 4` Open MPI gives four processes that each believe to be
 * rank 0 of 1. The rules, first match wins:
 *  1. OMPI_COMM_WORLD_SIZE: Open MPI's mpirun. One process needs no MPI.
 *  2. PMIX_RANK and PMIX_NAMESPACE: a PMIx launcher, such as srun --mpi=pmix. One task needs no MPI.
 *  3. PMI_SIZE: the mpirun of MPICH, Intel MPI and their kin, or srun --mpi=pmi2. Fine if the program was
 *     built with such a library; Open MPI cannot join, so that more than one process is refused.
 *  4. SLURM_STEP_NUM_TASKS > 1 or SLURM_PROCID > 0: a task of a Slurm step without any of the above. Open
 *     MPI cannot join: refused. Other libraries may find Slurm's PMI without variables: tried, and verified
 *     after MPI_Init.
 *  5. Nothing: one process, alone.
 * A step is what srun starts. A batch script, a shell of salloc and an mpirun inside them also carry Slurm
 * variables (SLURM_NTASKS, SLURM_PROCID=0), but those tell of the allocation, not of processes:
 * SLURM_NTASKS is never looked at. (salloc's interactive step is a step of one task.) A wrapper that mpirun
 * or srun started inherits its variables.
 *
 * Local, pure.
 */
#ifndef TSR_PARALLEL_LAUNCHER_H
#define TSR_PARALLEL_LAUNCHER_H

#include "base/status.h"

#include <stdbool.h>

typedef enum tsr_mpi_library { TSR_MPI_OPEN, TSR_MPI_OTHER } tsr_mpi_library;

typedef struct tsr_launch {
    bool mpi;          /* MPI is to be initialised */
    int expected_size; /* ranks that the launcher told of; 0: it did not */
    bool by_srun;
} tsr_launch;

/* environment: "NAME=VALUE" strings, ended by NULL. TSR_ERR_LAUNCH: several processes that cannot find one
 * another; the text names the way to start them. */
tsr_status tsr_launch_detect(const char *const *environment, tsr_mpi_library library, tsr_launch *out);

/* After MPI_Init: TSR_ERR_LAUNCH if MPI found fewer ranks than the launcher started. */
tsr_status tsr_launch_verify(const tsr_launch *launch, int mpi_size);

/* How long the launcher lets a rank live after the SIGTERM by which it ends the whole job: one second for Open MPI's
 * mpirun, or what its parameter odls_base_sigkill_timeout says. 0: no such launcher is known of. */
double tsr_launch_grace(const char *const *environment);

#endif
