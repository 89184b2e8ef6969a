#!/usr/bin/env bash
# Is the C code formatted as .clang-format says? Names the files that are not; --fix formats them.
# Only clang-format 14 is asked, since each release formats a little differently; without it: exit status 77.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in clang-format-14 clang-format ""; do
    if [ -n "$tool" ] && "$tool" --version 2>/dev/null | grep -q 'version 14\.'; then break; fi
done
if [ -z "$tool" ]; then
    echo "clang-format 14 is not installed" >&2
    exit 77
fi

mapfile -t files < <(find base checkpoint layers parallel runtime launch include tests examples -name '*.[ch]' | sort)
if [ "${1-}" = --fix ]; then exec "$tool" -i "${files[@]}"; fi
# One warning for each place; the files they stand in are enough.
wrong=$("$tool" --dry-run "${files[@]}" 2>&1 | sed -n 's/^\([^ :]*\):[0-9].*/\1/p' | sort -u)
if [ -n "$wrong" ]; then
    printf '%s: not formatted\n' $wrong
    echo "scripts/check-format.sh --fix formats them"
    exit 1
fi
