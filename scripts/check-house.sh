#!/usr/bin/env bash
# Holds the tree to those house rules that a script can see:
#
#   files      at most 600 lines; a comment at the head
#   functions  at most 100 lines
#   floors     lower folders never include higher ones: base, checkpoint, layers, parallel, runtime, launch
#   calls      none that overruns buffers, runs programs, or ends the process below main
#
#   scripts/check-house.sh [ROOT]            one line for each breach; exit status 1 if there is one
#   scripts/check-house.sh --sizes [ROOT]    how long files and functions are, and the longest
#
# Functions are found by the format of the code: their braces, and no others, stand in the first column.
set -euo pipefail

sizes=false
if [ "${1-}" = --sizes ]; then sizes=true && shift; fi
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

sources() {
    local folders=()
    for folder in base checkpoint layers parallel runtime launch include tests examples scripts; do
        if [ -d "$folder" ]; then folders+=("$folder"); fi
    done
    find "${folders[@]}" -type f \( "$@" \) | sort
}
c_files() { sources -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh'; }
all_files() { sources -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.py' -o -name '*.sh'; }

# "LINES FILE:LINE" for each function.
functions() {
    c_files | xargs -r awk '
        FNR == 1 { open = 0 }
        /^\{/ { open = FNR }
        /^\}/ && open { print FNR - open + 1, FILENAME ":" open - 1; open = 0 }'
}

lengths() { # of what, from "LINES NAME" lines
    sort -n | awk -v what="$1" '
        { n[NR] = $1; name[NR] = $2 }
        END {
            if (!NR) exit
            printf "%s: %d, median %d lines, nine in ten at most %d, longest %d\n", what, NR, n[int((NR + 1) / 2)],
                   n[int((NR * 9 + 9) / 10)], n[NR]
            for (i = NR; i > NR - 5 && i > 0; i--) printf "  %5d  %s\n", n[i], name[i]
        }'
}

if $sizes; then
    c_files | xargs -r wc -l | awk '$2 != "total"' | lengths files
    functions | lengths functions
    exit 0
fi

check_files() {
    all_files | xargs -r awk '
        function close_file() { if (lines > 600) printf "%s: %d lines, at most 600\n", file, lines }
        FNR == 1 {
            close_file()
            file = FILENAME
            if (!/^(\/\*|#|""")/) printf "%s:1: no comment at its head\n", file
        }
        { lines = FNR }
        END { close_file() }'
}

check_functions() {
    functions | awk '$1 > 100 { printf "%s: a function of %d lines, at most 100\n", $2, $1 }'
}

check_floors() {
    c_files | xargs -r awk '
        BEGIN {
            n = split("base checkpoint layers parallel runtime launch", floors)
            for (i = 1; i <= n; i++) height[floors[i]] = i
        }
        /^#include "/ {
            split(FILENAME, from, "/")
            split($2, to, /["\/]/)
            if (height[from[1]] && height[to[2]] > height[from[1]])
                printf "%s:%d: %s/ includes %s/\n", FILENAME, FNR, from[1], to[2]
        }'
}

check_calls() {
    c_files | grep -v -e '^tests/' -e '^examples/' | xargs -r awk '
        BEGIN {
            start = "(^|[^A-Za-z_0-9.>])"
            overruns = start "(gets|strcpy|strcat|sprintf|vsprintf|atoi|atol|atof|strtok|alloca) *\\("
            runs = start "(system|popen|exec[lv][pe]*|dlopen) *\\("
            ends = start "(exit|_exit|_Exit|quick_exit|abort|MPI_Abort) *\\("
        }
        function breach(pattern, what) {
            if (match(code, pattern))
                printf "%s:%d: %s: %s\n", FILENAME, FNR, what, substr(code, RSTART, RLENGTH - 1)
        }
        {
            code = $0
            sub(/\/\*.*/, "", code)
            if (code ~ /^ +\*/) next
            breach(overruns, "knows no bounds")
            # The one file that opens libraries opens those of a fixed list.
            if (FILENAME != "layers/cuda/libraries.c") breach(runs, "runs what it is told")
            if (FILENAME !~ /^launch\// && FILENAME != "parallel/world_abort.c") breach(ends, "ends the process")
        }'
}

found=$(check_files && check_functions && check_floors && check_calls)
if [ -n "$found" ]; then
    printf '%s\n' "$found"
    exit 1
fi
