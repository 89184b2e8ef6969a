#!/usr/bin/env bash
# Asks a running server by each of its routes.
#
#   tessera serve --model examples/models/shakespeare &
#   examples/serve/ask.sh [http://127.0.0.1:8080]
#
# With a key: KEY=... examples/serve/ask.sh
set -euo pipefail
url=${1:-http://127.0.0.1:8080}
key=()
if [ -n "${KEY-}" ]; then key=(-H "Authorization: Bearer $KEY"); fi

ask() { # PATH JSON
    printf '==> %s %s\n' "$1" "$2"
    curl -sS --no-buffer "$url$1" "${key[@]}" -H 'Content-Type: application/json' -d "$2"
    echo
}

for path in /ping /health /v1/models; do
    printf '==> %s\n' "$path"
    curl -sS "$url$path" "${key[@]}"
done
ask /v1/completions '{"prompt": "ROMEO:", "max_tokens": 40, "temperature": 0}'
ask /v1/completions '{"prompt": "ROMEO:", "max_tokens": 8, "temperature": 0, "stream": true,
                      "stream_options": {"include_usage": true}}'
ask /v1/completions '{"prompt": ["JULIET:", "HAMLET:"], "n": 2, "max_tokens": 20, "seed": 7, "stop": "\n\n"}'
ask /invocations '{"inputs": "ROMEO:", "parameters": {"max_new_tokens": 20, "details": true}}'
ask /invocations '{"inputs": "ROMEO:", "parameters": {"max_new_tokens": 5}, "stream": true}'
