#!/usr/bin/env bash
# What `cmake --install` leaves behind is enough for somebody else's program.
#
#   tests/install_test.sh BUILD_FOLDER C_COMPILER [MODEL_FOLDER]
#
# Installs into a fresh folder and moves that to another place, where it must still work. There tessera.h must compile
# alone, as strict C and as C++, and examples/embed must build by find_package and by pkg-config; with a model given,
# both programs must print the same text, and some on two ranks, and fail in one line where there is no model.
set -euo pipefail
source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_folder=$1
compiler=$2
model=${3-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() { printf '%s\n' "== $*"; }

step "install, then move"
cmake --install "$build_folder" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/prefix"
prefix=$work/prefix
test -x "$prefix/bin/tessera"
if grep -rq "$source_folder\|$build_folder" --include='*.cmake' --include='*.pc' "$prefix"; then
    echo "an installed file names the folders of the build" && exit 1
fi

step "tessera.h alone"
printf '#include <tessera.h>\n' >"$work/alone.c"
cp "$work/alone.c" "$work/alone.cc"
strict=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$prefix/include")
"$compiler" -std=c11 "${strict[@]}" "$work/alone.c"
for cxx in c++ clang++; do
    if command -v "$cxx" >/dev/null; then "$cxx" -std=c++17 "${strict[@]}" "$work/alone.cc" && break; fi
done

step "by find_package"
cmake -S "$source_folder/examples/embed" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$compiler" >"$work/log" 2>&1 || { cat "$work/log" && exit 1; }
cmake --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log" && exit 1; }

step "by pkg-config"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name tessera.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # flags are words
"$compiler" -Wall -Wextra -Werror "$source_folder/examples/embed/embed.c" -o "$work/embed" \
    $(pkg-config --cflags --libs tessera)
test "$(pkg-config --modversion tessera)" = "$("$prefix/bin/tessera" --version | awk 'NR == 1 { print $2 }')"

step "a model that is not there"
if "$work/embed" "$work/nowhere" "hello" >"$work/out" 2>"$work/err"; then echo "exit status 0" && exit 1; fi
grep "nowhere" "$work/err"
test ! -s "$work/out"

[ -n "$model" ] || exit 0
step "text"
"$work/build/embed" "$model" "ROMEO:" >"$work/a"
"$work/embed" "$model" "ROMEO:" >"$work/b"
mpirun -n 2 "$work/embed" "$model" "ROMEO:" >"$work/c"
cat "$work/a"
cmp "$work/a" "$work/b"
test "$(wc -c <"$work/a")" -gt 100
test "$(wc -c <"$work/c")" -gt 100
