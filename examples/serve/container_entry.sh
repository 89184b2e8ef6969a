#!/usr/bin/env bash
# What the container runs: `tessera`, and of `serve` as many ranks as its options ask for (tensor_parallel_degree, from
# wherever options come; max: one for each GPU, without GPUs one).
#
# SIGTERM, by which containers are told to end, would have mpirun kill its ranks. SIGUSR1 drains them; mpirun of some
# releases passes it on and of others does not, so the ranks get it from here: mpirun's children.
set -euo pipefail
if [ "${1-}" != serve ]; then exec tessera "$@"; fi

ranks=$(tessera config --json "${@:2}" | sed -n 's/.*"tp":{"value":"*\([0-9a-z]*\).*/\1/p')
if [ "$ranks" = max ]; then
    ranks=1
    if [ -n "${CUDA_VISIBLE_DEVICES-}" ]; then
        ranks=$(tr ',' '\n' <<< "$CUDA_VISIBLE_DEVICES" | wc -l)
    elif command -v nvidia-smi > /dev/null; then
        ranks=$(nvidia-smi -L | wc -l)
    fi
fi
if [ "${ranks:-1}" -le 1 ]; then exec tessera "$@"; fi

# Containers often may not read another process' memory, which is one of mpirun's ways between ranks. The program places its
# own threads.
how=(--bind-to none --oversubscribe --mca btl_vader_single_copy_mechanism none)
if [ "$(id -u)" = 0 ]; then how+=(--allow-run-as-root); fi
mpirun -n "$ranks" "${how[@]}" tessera "$@" &
job=$!
drain() {
    local ranks tries
    for ((tries = 0; tries < 50; tries++)); do # mpirun may not have started them yet
        read -ra ranks < <(cat /proc/"$job"/task/*/children 2> /dev/null | tr '\n' ' ') || true
        if [ ${#ranks[@]} -gt 0 ]; then break; fi
        sleep 0.1
    done
    if [ ${#ranks[@]} -gt 0 ]; then kill -USR1 "${ranks[@]}" || true; fi
}
trap drain TERM INT USR1
code=0
while kill -0 "$job" 2> /dev/null; do # a signal ends `wait` before the job
    code=0
    wait "$job" || code=$?
done
exit "$code"
