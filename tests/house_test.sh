#!/usr/bin/env bash
# scripts/check-house.sh finds each kind of breach, names its place, and finds nothing in a tree that has none.
set -euo pipefail
check=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/scripts/check-house.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{base,layers,launch,parallel}

clean() {
    rm -f "$tree"/*/*
    cat >"$tree/base/good.c" <<'END'
/* good.c: abort() and strcpy() may be spoken of. */
#include "base/good.h"

int good(void)
{
    return tsr_exit(on_exit) + snprintf(0, 0, "exit");
}
END
    printf '/* main.c */\n#include "base/good.h"\nvoid f(void)\n{\n    exit(1);\n}\n' >"$tree/launch/main.c"
}

expect() { # the line that a breach must give
    local found
    if found=$("$check" "$tree"); then echo "not found: $1" && exit 1; fi
    if [ "$found" != "$1" ]; then printf 'expected: %s\nfound:    %s\n' "$1" "$found" && exit 1; fi
}

clean
"$check" "$tree"

clean && echo 'int x;' >"$tree/base/bad.c"
expect "base/bad.c:1: no comment at its head"

clean && { echo '/* x */' && seq -f 'int x%g;' 600; } >"$tree/base/bad.c"
expect "base/bad.c: 601 lines, at most 600"

clean && { printf '/* x */\nint f(void)\n{\n' && seq -f '    x(%g);' 99 && echo '}'; } >"$tree/base/bad.c"
expect "base/bad.c:2: a function of 101 lines, at most 100"

clean && printf '/* x */\n#include "parallel/comm.h"\n' >"$tree/layers/bad.h"
expect "layers/bad.h:2: layers/ includes parallel/"

clean && printf '/* x */\nint f(void)\n{\n    strcpy(a, b);\n}\n' >"$tree/base/bad.c"
expect "base/bad.c:4: knows no bounds:  strcpy"

clean && printf '/* x */\nint f(void)\n{\n    return system(a);\n}\n' >"$tree/base/bad.c"
expect "base/bad.c:4: runs what it is told:  system"

clean && printf '/* x */\nint f(void)\n{\n    abort();\n}\n' >"$tree/parallel/bad.c"
expect "parallel/bad.c:4: ends the process:  abort"

clean
[[ $("$check" --sizes "$tree") == *"functions: 2, median 3 lines"* ]] || { echo "--sizes is wrong" && exit 1; }
