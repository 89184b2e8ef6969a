#!/usr/bin/env bash
# A server over several nodes. Rank 0, which listens, is on the first of them.
# Submit with: sbatch slurm_nodes.sh /path/to/model
#SBATCH --job-name=tessera
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
set -euo pipefail
model=${1:?usage: sbatch slurm_nodes.sh MODEL}
echo "http://$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):8080"
if [ -r "$HOME/.tessera-key" ]; then OPTION_API_KEY=$(<"$HOME/.tessera-key") && export OPTION_API_KEY; fi
exec srun --mpi=pmix --gpu-bind=none --kill-on-bad-exit=1 tessera serve --model "$model" --host 0.0.0.0 --port 8080
