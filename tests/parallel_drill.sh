#!/usr/bin/env bash
# Watches a job that goes wrong (parallel_drill.c) from outside: it must end in time, with the right exit code, and with
# the right line, once.
#
#   parallel_drill.sh SECONDS CODE TIMES PATTERN COMMAND...
#
# CODE: the exit code, or "fails" for any but 0. TIMES: how many lines may match PATTERN.
set -uo pipefail
if [ $# -lt 5 ]; then sed -n '2,7p' "$0" >&2 && exit 2; fi
seconds=$1 code=$2 times=$3 pattern=$4
shift 4

begin=$SECONDS
output=$(timeout -k 5 "$seconds" "$@" 2>&1)
found=$?
took=$((SECONDS - begin))
lines=$(grep -cE -- "$pattern" <<<"$output")
printf '%s\n-- exit code %d after %d s, %d matching lines\n' "$output" "$found" "$took" "$lines"

[ "$found" -ne 77 ] || exit 77 # it needs what this machine has not
[ "$took" -lt "$seconds" ] || exit 1
if [ "$code" = fails ]; then
    [ "$found" -ne 0 ] || exit 1
else
    [ "$found" -eq "$code" ] || exit 1
fi
[ "$lines" -eq "$times" ]
