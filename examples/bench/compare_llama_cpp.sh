#!/usr/bin/env bash
# Compares Tessera with llama.cpp on this machine's CPU: prefill and decode of one model shape in bf16, one sequence.
#
#   LLAMA_BENCH=/path/to/llama-bench examples/bench/compare_llama_cpp.sh --gguf FILE.gguf --model DIR
#
# DIR holds a Hugging Face config.json; Tessera fills the weights at random. FILE is a bf16 GGUF of the same shape, made
# with llama.cpp's own converter from a Hugging Face folder of that shape:
#
#   python3 convert_hf_to_gguf.py --outtype bf16 --outfile FILE.gguf HF_FOLDER
#
# The converter wants the folder's weights and tokenizer. Any will do here, for no text is read or made, except weights
# of zeros, which run faster than real ones.
#
# How it is kept fair: the programs take turns within every round, so that a drift of the machine meets all alike;
# llama-bench warms up before each test; decode starts from an empty context (Tessera: one token) and prefill is timed
# without it; the table gives medians, extremes, and the read bandwidth of memory measured during the same runs. Both
# programs wait by spinning, so one busy neighbour on a core can slow either of them tenfold: use a quiet machine.
#
# The table, in Markdown, goes to stdout; progress and warnings go to stderr.
set -euo pipefail

readonly max_quiet_load=0.30
readonly ranks=2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly tessera=${TESSERA:-$here/../../build/tessera}
readonly mpirun=${MPIRUN:-mpirun}

rounds=5
threads=2
prompt_tokens=512
new_tokens=64
gguf=
model=
results=

usage() {
    cat <<EOF
usage: LLAMA_BENCH=PATH $(basename "$0") --gguf FILE --model DIR [options]
  --gguf FILE          the model for llama-bench
  --model DIR          the folder with config.json for tessera, of the same shape
  --rounds N           rounds of alternating runs                        (default $rounds)
  --threads N          threads in all, a multiple of $ranks                   (default $threads)
  --prompt-tokens N    tokens of the prefill test                        (default $prompt_tokens)
  --new-tokens N       tokens of the decode test                         (default $new_tokens)
environment:
  LLAMA_BENCH          path of llama-bench
  TESSERA              path of tessera                                   (default build/tessera)
  MPIRUN               the launcher of the run on $ranks ranks                (default mpirun)
EOF
}

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 2
}

say() {
    printf '%s\n' "$1" >&2
}

require_count() { # option value
    [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || fail "$1: expected a whole number from 1 to 999999, found '$2'"
}

parse_options() {
    while (($#)); do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --gguf | --model | --rounds | --threads | --prompt-tokens | --new-tokens)
                (($# >= 2)) || fail "$1 needs a value"
                ;;
            *) fail "unknown option '$1' (see --help)" ;;
        esac
        case $1 in
            --gguf) gguf=$2 ;;
            --model) model=$2 ;;
            --rounds) rounds=$2 ;;
            --threads) threads=$2 ;;
            --prompt-tokens) prompt_tokens=$2 ;;
            --new-tokens) new_tokens=$2 ;;
        esac
        shift 2
    done
}

check_options() {
    require_count --rounds "$rounds"
    require_count --threads "$threads"
    require_count --prompt-tokens "$prompt_tokens"
    require_count --new-tokens "$new_tokens"
    ((threads % ranks == 0)) || fail "--threads: expected a multiple of $ranks, found $threads"
    [[ -n $gguf ]] || fail "--gguf is missing (see --help)"
    [[ -n $model ]] || fail "--model is missing (see --help)"
    [[ -r $gguf ]] || fail "--gguf: cannot read '$gguf'"
    [[ -r $model/config.json ]] || fail "--model: cannot read '$model/config.json'"
    [[ -n ${LLAMA_BENCH:-} ]] || fail "LLAMA_BENCH is not set: give it the path of llama-bench"
    [[ -x $LLAMA_BENCH ]] || fail "LLAMA_BENCH: '$LLAMA_BENCH' is not a program"
    [[ -x $tessera ]] || fail "TESSERA: '$tessera' is not a program; build it first"
    command -v "$mpirun" >/dev/null || fail "MPIRUN: '$mpirun' not found"
    command -v python3 >/dev/null || fail "python3 not found"
}

warn_if_busy() {
    local load
    read -r load _ </proc/loadavg
    if awk -v load="$load" -v limit="$max_quiet_load" 'BEGIN { exit !(load > limit) }'; then
        say "warning: the load is already $load; the figures below tell little about either program"
    fi
}

run_llama_cpp() { # measure
    local tokens=(-p "$prompt_tokens" -n 0)
    [[ $1 == prefill ]] || tokens=(-p 0 -n "$new_tokens")
    "$LLAMA_BENCH" -m "$gguf" "${tokens[@]}" -t "$threads" -r 1 -o json
}

run_tessera() { # measure threads-per-rank [launcher...]
    local tokens=(--prompt-tokens "$prompt_tokens" --new-tokens 1)
    [[ $1 == prefill ]] || tokens=(--prompt-tokens 1 --new-tokens "$new_tokens")
    "${@:3}" "$tessera" bench --model "$model" --random-weights --dtype bfloat16 --batch 1 \
        "${tokens[@]}" --threads "$2" --json
}

run() { # program measure
    local per_rank=$((threads / ranks))
    case $1 in
        llama_cpp) run_llama_cpp "$2" ;;
        one_rank) run_tessera "$2" "$threads" ;;
        two_ranks) run_tessera "$2" "$per_rank" "$mpirun" -n "$ranks" --map-by "slot:PE=$per_rank" ;;
    esac
}

run_round() { # round
    local measure program errors=$results/errors
    for measure in prefill decode; do
        for program in llama_cpp one_rank two_ranks; do
            say "round $1 of $rounds: $measure, $program"
            if ! run "$program" "$measure" >"$results/$program.$measure.$1.json" 2>"$errors"; then
                tail -n 20 "$errors" >&2
                fail "$program failed at $measure"
            fi
        done
    done
}

main() {
    parse_options "$@"
    check_options
    # Open MPI refuses to start as root, which is who runs in most containers, until told twice.
    if ((EUID == 0)); then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    results=$(mktemp -d)
    trap 'rm -rf "$results"' EXIT
    warn_if_busy
    local round
    for ((round = 1; round <= rounds; round++)); do
        run_round "$round"
    done
    python3 "$here/compare_table.py" "$results" "$prompt_tokens" "$threads" "$ranks"
}

main "$@"
