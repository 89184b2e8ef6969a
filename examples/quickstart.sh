#!/usr/bin/env bash
# From a bare Debian 12 or Ubuntu 24.04 to generated text: installs what is missing, builds, runs the model that comes
# with Tessera on several ranks. What is there already is not done again. The text goes to stdout, the rest to stderr.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<END
usage: examples/quickstart.sh [--no-install] [--ranks N] [--prompt TEXT]
  --no-install   install no packages; stop and name them if some are missing
  --ranks N      ranks to run on, 1 to 64                        (default 2)
  --prompt TEXT  what the text begins with                       (default "ROMEO:" and a new line)
END
}

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "quickstart: $*"
    exit 2
}

install_options=()
ranks=2
prompt=$'ROMEO:\n'
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install_options=(--no-install) ;;
    --ranks) ranks=${2-} && shift ;;
    --prompt) prompt=${2-} && shift ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && fail "unknown option $1" ;;
    esac
    shift || fail "the last option wants a value"
done
[[ $ranks =~ ^[1-9][0-9]?$ && $ranks -le 64 ]] || fail "--ranks: expected 1 to 64, found \"$ranks\""

say "==> 1/3 what building and running needs: a C compiler, CMake, Open MPI, jansson, utf8proc, PCRE2, xxHash, HDF5, libmicrohttpd"
scripts/install-deps.sh "${install_options[@]}" build

say "==> 2/3 building the program into build/"
scripts/build.sh release tessera_program >&2

# Open MPI refuses two things unless told: to run as root, and to start more ranks than there are cores.
launch=(mpirun -n "$ranks")
cores=$(lscpu --parse=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
if [ "$(id -u)" = 0 ]; then launch+=(--allow-run-as-root); fi
if [ "$ranks" -gt "$cores" ]; then launch+=(--oversubscribe); fi
generate=(build/tessera generate --model examples/models/shakespeare --prompt "$prompt"
    --max-new-tokens 200 --temperature 0.7 --seed 1)

say "==> 3/3 running the model that comes with Tessera on $ranks ranks:"
say "    ${launch[*]} $(printf '%q ' "${generate[@]}")"
"${launch[@]}" "${generate[@]}" </dev/null
