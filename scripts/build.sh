#!/usr/bin/env bash
# Configures and builds one of the presets of CMakePresets.json, with Ninja where it is installed.
#
#   scripts/build.sh [--tests] PRESET [TARGET...]
#
# A new folder is configured without tests, so that building the program needs no test library; --tests configures them
# in, and a folder that has them keeps them. Output is that of the tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

options=()
if [ "${1-}" = --tests ]; then options=(-DTSR_BUILD_TESTS=ON) && shift; fi
preset=${1:?"usage: scripts/build.sh [--tests] PRESET [TARGET...]"}
shift
folder=build-$preset
if [ "$preset" = release ]; then folder=build; fi

if [ ! -f "$folder/build.ninja" ] && [ ! -f "$folder/Makefile" ]; then
    # What a failed attempt left would hold this one to its choices.
    rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles"
    if command -v ninja >/dev/null; then export CMAKE_GENERATOR=Ninja; fi
    if [ ${#options[@]} = 0 ]; then options=(-DTSR_BUILD_TESTS=OFF); fi
fi
if [ ${#options[@]} -gt 0 ]; then cmake --preset "$preset" "${options[@]}"; fi
if [ $# -gt 0 ]; then set -- --target "$@"; fi
exec cmake --build "$folder" --parallel "$(nproc)" "$@"
