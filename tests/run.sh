#!/usr/bin/env bash
# Everything that must hold before a change lands: installs what is missing, builds with both compilers, warnings being
# errors, and runs the CTest suite on each build, the last one under AddressSanitizer and UndefinedBehaviorSanitizer.
# Ends with the line "N passed, N failed, N skipped", summed over the legs; fails if a test failed, if a leg could not be
# built, or if no test ran. Build folders are kept: running it again builds only what changed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
    cat <<END
usage: tests/run.sh [--no-install] [--gcc] [--clang] [--sanitize] [-- CTEST-OPTION...]
  --no-install  install no packages; stop and name them if some are missing
  --gcc         only the leg of the system's compiler, in build/
  --clang       only the leg of clang, in build-clang/
  --sanitize    only the leg under ASan and UBSan, in build-asan/
  -- OPTION...  handed to ctest, such as -R NAME to choose tests
END
}

say() { printf '%s\n' "$*"; }

install_options=()
legs=()
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install_options=(--no-install) ;;
    --gcc) legs+=("gcc release build") ;;
    --clang) legs+=("clang clang build-clang") ;;
    --sanitize) legs+=("sanitize asan build-asan") ;;
    --help | -h) usage && exit 0 ;;
    --) shift && break ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
ctest_options=("$@")
if [ ${#legs[@]} = 0 ]; then legs=("gcc release build" "clang clang build-clang" "sanitize asan build-asan"); fi

# Tests start more ranks than there are cores, and may be run by root; Open MPI wants to be told.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
# Open MPI leaks at its end, so leaks are looked for wherever no mpirun is in between, and not behind it.
export UBSAN_OPTIONS=print_stacktrace=1 OMPI_MCA_mca_base_env_list=LSAN_OPTIONS=detect_leaks=0
# Jobs of several ranks mostly wait for one another to start, so there is room for twice as many tests as there are cores;
# but each runs threads on all cores.
lanes=$((2 * $(nproc)))
if [ "$lanes" -gt 4 ]; then lanes=4; fi

# Adds the outcome of one ctest run to the sums. A test that could not be started counts as failed, one that says it
# cannot run here (exit code 77) as skipped.
passed=0 failed=0 skipped=0
count() {
    local sums
    sums=$(awk '
        /<testcase / { run += /status="run"/; fail += /status="fail"/; skip += /status="disabled"/ }
        /<skipped message="SKIP_/ { skip++; next }
        /<skipped / { fail++ }
        END { print run + 0, fail + 0, skip + 0 }' "$1") || return 1
    read -r run fail skip <<<"$sums"
    passed=$((passed + run)) failed=$((failed + fail)) skipped=$((skipped + skip))
    [ $((run + fail + skip)) -gt 0 ]
}

run_leg() {
    local name=$1 preset=$2 folder=$3 log report status fail=0
    log=$(mktemp) && report=$(mktemp) || return 1
    say "==> $name: building into $folder/"
    SECONDS=0
    if scripts/build.sh --tests "$preset" >"$log" 2>&1; then
        local built=$SECONDS
        ctest --preset "$preset" --parallel "$lanes" --output-junit "$report" "${ctest_options[@]}" </dev/null
        status=$?
        if ! count "$report" || [ $status != 0 ] && [ "$fail" = 0 ]; then
            say "==> $name: ctest ended with $status and no failed test to show for it"
            failed=$((failed + 1))
        fi
        say "==> $name: built in $built s, tested in $((SECONDS - built)) s"
    else
        tail -n 60 "$log"
        say "==> $name: the build failed"
        failed=$((failed + 1))
    fi
    rm -f "$log" "$report"
}

say "==> what building and testing needs"
scripts/install-deps.sh "${install_options[@]}" build test style || exit 1
for leg in "${legs[@]}"; do
    # shellcheck disable=SC2086 # name, preset, folder
    run_leg $leg
done
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
