#!/usr/bin/env bash
# A server that may be preempted: 120 s before its end it gets SIGUSR1 and drains; then the job is queued again. (Before
# its time limit always; before a preemption where Slurm has PreemptParameters=send_user_signal.)
# Submit with: sbatch slurm_preemptible.sh /path/to/model
#SBATCH --job-name=tessera
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120
#SBATCH --time=04:00:00
set -euo pipefail
model=${1:?usage: sbatch slurm_preemptible.sh MODEL}
if [ -r "$HOME/.tessera-key" ]; then OPTION_API_KEY=$(<"$HOME/.tessera-key") && export OPTION_API_KEY; fi

# The signal goes to every rank; rank 0 acts on it. A cache makes the next start faster.
cache=${SCRATCH:-$HOME}/tessera-cache
(umask 077 && mkdir -p "$cache")
if srun --mpi=pmix --gpu-bind=none --kill-on-bad-exit=1 tessera serve --model "$model" --host 0.0.0.0 \
    --port 8080 --drain-timeout 90 --cache "$cache"; then
    scontrol requeue "$SLURM_JOB_ID"
fi
