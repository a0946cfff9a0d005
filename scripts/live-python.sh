#!/usr/bin/env bash
# Runs the Python client's tests, and those of the API's description, against a
# network of real validators, which it starts on free ports and stops again.
#
#   scripts/live-python.sh [VALIDATORS]        4 if not given
#
# Needs the binary `bizra` in the target directory (`make build`) and the
# Python of `scripts/setup.sh tests`.
set -euo pipefail
cd "$(dirname "$0")/.."

validators=${1:-4}
target=${CARGO_TARGET_DIR:-target}
bizra=$target/debug/bizra
python=$target/python/bin/python
for program in "$bizra" "$python"; do
    [ -x "$program" ] || { echo "live-python: $program is missing: make build" >&2; exit 1; }
done

folder=$(mktemp -d)
network=
finish() {
    status=$?
    trap - EXIT
    if [ -n "$network" ]; then
        kill -TERM "$network" 2>/dev/null || true
        wait "$network" || { echo "live-python: testnet up ended with $?" >&2; status=1; }
    fi
    if [ "$status" -ne 0 ]; then
        tail -n 8 "$folder"/up.log "$folder"/net/node-*/log.txt 2>/dev/null | cut -c 1-160 >&2 || true
    fi
    rm -rf "$folder"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Below the range from which the system hands out ports by itself.
base=$("$python" - "$((10 * validators))" <<'PYTHON'
import random, socket, sys

def free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True

count = int(sys.argv[1])
bases = list(range(10_000, 32_000 - count, count))
random.shuffle(bases)
print(next(base for base in bases if all(free(base + i) for i in range(count))))
PYTHON
)

"$bizra" testnet init --validators "$validators" --dir "$folder/net" --base-port "$base" >/dev/null
exec {said}< <(exec "$bizra" testnet up --dir "$folder/net" --timeout 120 2>"$folder/up.log")
network=$!
ready=no
while read -r line; do
    if [ "$line" = ready ]; then ready=yes && break; fi
done <&"$said"
[ $ready = yes ] || { echo "live-python: the network did not become ready" >&2; exit 1; }
echo "live-python: $validators validators are ready, API of the first at port $((base + 2))"

export BIZRA_ENDPOINT=http://127.0.0.1:$((base + 2))
"$python" -B clients/python/test_pci.py
# What is told of a proposal is described too.
"$bizra" gov propose parameter snr_min_ppm 860000 \
    --key "$folder/net/node-0/keys/consensus.key" --endpoint "$BIZRA_ENDPOINT" >/dev/null
"$python" -B clients/python/test_openapi.py
