#!/usr/bin/env bash
# Installs from the packages of Debian 12 or Ubuntu 24.04 what a group of tasks needs and this machine lacks.
#
#   scripts/install-deps.sh [--no-install] GROUP...
#
# A thing counts as there when it works, wherever it came from: packages are asked for only where a check fails. With
# nothing missing no package manager is run and no rights are needed, so running this again costs nothing.
set -euo pipefail

usage() {
    cat <<END
usage: scripts/install-deps.sh [--no-install] GROUP...
  build         what it takes to build and run the program
  test          what the test suite needs on top
  fuzz          what the fuzz targets need on top
  style         the formatter: installed if it can be had, no failure if not
  --no-install  only check; fail and name the packages if something is missing
END
}

# What is needed: GROUP "packages" "what for" CHECK...
list_needs() {
    need build "gcc libc6-dev" "a C compiler" compiles cc c
    need build cmake "the build system" has cmake
    need build ninja-build "runs the build" has ninja make
    need build pkg-config "finds libraries" has pkg-config
    need build libopenmpi-dev "MPI: how ranks find and reach one another" has mpicc
    need build openmpi-bin "mpirun" has mpirun
    need build libjansson-dev "reads JSON" pkg-config --exists jansson
    need build libutf8proc-dev "Unicode: normal forms, properties" pkg-config --exists libutf8proc
    need build libpcre2-dev "regular expressions of tokenizers" pkg-config --exists libpcre2-8
    need build libxxhash-dev "checksums" pkg-config --exists libxxhash
    need build libmicrohttpd-dev "the HTTP server" pkg-config --exists libmicrohttpd
    need build libhdf5-dev "the files of the weight cache" has h5cc
    need test libcmocka-dev "unit tests" pkg-config --exists cmocka
    need test python3 "test scripts; its standard library alone" has python3
    need test clang "the second compiler" compiles clang c
    need test g++ "C++ programs may include the header" compiles c++ c++
    need fuzz clang "fuzz targets" has clang
    need fuzz libclang-rt-dev "fuzz targets: libFuzzer and sanitizers" compiles clang c -fsanitize=fuzzer-no-link,address
    need style clang-format-14 "the format check" has clang-format-14
}

say() { printf '%s\n' "$*" >&2; }

# Is one of these commands there?
has() {
    local name
    for name in "$@"; do
        if command -v "$name" >/dev/null; then return 0; fi
    done
    return 1
}

# Does COMPILER make programs of LANGUAGE? It may be installed without the C library's headers.
compiles() {
    local compiler=$1 language=$2
    shift 2
    has "$compiler" && printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' |
        "$compiler" -x "$language" "$@" -o /dev/null -
}

missing=()
need() {
    local group=$1 packages=$2 purpose=$3
    shift 3
    [[ " ${groups[*]} " == *" $group "* ]] || return 0
    if "$@" >/dev/null 2>&1; then return 0; fi
    say "    missing: $purpose: $packages"
    # shellcheck disable=SC2206 # one row may name several packages
    missing+=($packages)
}

find_missing() {
    groups=("$@")
    missing=()
    list_needs
}

# The words in front of a command that needs root; fails where there is no way to become root.
become_root() {
    if [ "$(id -u)" = 0 ]; then return 0; fi
    has sudo || return 1
    printf 'sudo '
}

install_missing() {
    # shellcheck disable=SC2206 # `root` is no word or one
    local root
    if ! has apt-get; then
        say "error: this is no Debian or Ubuntu, so install the equivalents of: ${missing[*]}"
        return 1
    fi
    if ! root=$(become_root); then
        say "error: neither root nor sudo here; have an administrator run: apt-get install ${missing[*]}"
        return 1
    fi
    local apt=($root env DEBIAN_FRONTEND=noninteractive apt-get -q)
    local install=(install -y --no-install-recommends "${missing[@]}")
    say "    ${root}apt-get ${install[*]}"
    # A stale package list is no reason to stop: the install says so itself if it matters.
    quietly "${apt[@]}" update || say "    apt-get update failed; going on with the lists that are here"
    quietly "${apt[@]}" "${install[@]}"
}

# Runs a command that prints hundreds of lines; shows the last of them if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" </dev/null >"$log" 2>&1 || status=$?
    if [ $status != 0 ]; then tail -n 15 "$log" >&2; fi
    rm -f "$log"
    return $status
}

# Makes one set of groups present, or explains why it is not.
provide() {
    find_missing "$@"
    if [ ${#missing[@]} = 0 ]; then return 0; fi
    if $no_install; then
        say "error: not installing (--no-install); missing: ${missing[*]}"
        return 1
    fi
    install_missing || return 1
    find_missing "$@"
    if [ ${#missing[@]} = 0 ]; then return 0; fi
    say "error: installed, and still not usable: ${missing[*]}"
    return 1
}

no_install=false
wanted=()
style=false
for argument in "$@"; do
    case $argument in
    --no-install) no_install=true ;;
    --help | -h) usage && exit 0 ;;
    build | test | fuzz) wanted+=("$argument") ;;
    style) style=true ;;
    *) usage >&2 && exit 2 ;;
    esac
done
if [ ${#wanted[@]} -gt 0 ]; then provide "${wanted[@]}" || exit 1; fi
if $style; then provide style || say "    going on without it"; fi
