#!/usr/bin/env bash
# Fuzzes the parsers: builds tests/fuzz/fuzz_*.c with libFuzzer, ASan and UBSan, and runs each for a while.
#
# A target starts from what the file tests/fuzz/NAME.seeds lists (paths or patterns from the root, one a line) and from
# what earlier runs found, which is kept in build-fuzz/corpus/. An input that breaks a target is kept in
# build-fuzz/found/. Stops at the first target that breaks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<END
usage: scripts/fuzz.sh [--no-install] [--seconds N] [TARGET...]
  --no-install  install no packages; stop and name them if some are missing
  --seconds N   how long each target runs                        (default 60)
  TARGET        names such as fuzz_config; all if none is given
END
}

install_options=()
seconds=60
targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install_options=(--no-install) ;;
    --seconds) seconds=${2-} && shift ;;
    --help | -h) usage && exit 0 ;;
    fuzz_*) targets+=("$1") ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift || { usage >&2 && exit 2; }
done
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || { usage >&2 && exit 2; }

scripts/install-deps.sh "${install_options[@]}" build test fuzz
if [ ${#targets[@]} = 0 ]; then mapfile -t targets < <(cd tests/fuzz && ls fuzz_*.c | sed 's/\.c$//'); fi
scripts/build.sh --tests fuzz "${targets[@]}"

# Copies the seeds of a target under names made of their contents, so that equal ones are one.
gather_seeds() {
    local list=tests/fuzz/$1.seeds folder=$2 pattern seed
    [ -f "$list" ] || return 0
    while read -r pattern; do
        # shellcheck disable=SC2086 # patterns are to be expanded
        for seed in $pattern; do cp "$seed" "$folder/seed-$(cksum <"$seed" | tr ' ' -)"; done
    done < <(grep -v '^#' "$list")
}

for target in "${targets[@]}"; do
    corpus=build-fuzz/corpus/$target
    mkdir -p "$corpus" build-fuzz/found
    gather_seeds "$target" "$corpus"
    printf '==> %s: %s s, from %s inputs\n' "$target" "$seconds" "$(find "$corpus" -type f | wc -l)"
    log=build-fuzz/found/$target.log
    if ! "build-fuzz/tests/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/found/$target-" "$corpus" >"$log" 2>&1; then
        tail -n 40 "$log"
        printf '==> %s: broken; the input and the log are in build-fuzz/found/\n' "$target"
        exit 1
    fi
    grep -E '^stat::(number_of_executed_units|peak_rss_mb)' "$log"
done
