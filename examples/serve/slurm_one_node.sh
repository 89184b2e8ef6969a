#!/usr/bin/env bash
# A server on one node, a rank for each GPU. Submit with: sbatch slurm_one_node.sh /path/to/model
#SBATCH --job-name=tessera
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
set -euo pipefail
model=${1:?usage: sbatch slurm_one_node.sh MODEL}
echo "http://$(hostname):8080"

# The key comes from a file that only its owner can read; OPTION_ variables are options.
if [ -r "$HOME/.tessera-key" ]; then OPTION_API_KEY=$(<"$HOME/.tessera-key") && export OPTION_API_KEY; fi

# --gpu-bind=none: every rank sees all GPUs of its node and takes the one of its number. With --gpus-per-task each sees its
# own alone, and cannot read what its peers have. --kill-on-bad-exit: a rank that is lost ends the job at once.
exec srun --mpi=pmix --gpu-bind=none --kill-on-bad-exit=1 tessera serve --model "$model" --host 0.0.0.0 --port 8080
