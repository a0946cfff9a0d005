#!/usr/bin/env bash
# Governance on a running network: four validators change parameters, a policy
# and, twice, their committee, while records flow. What is checked says
# scripts/live-governance.py.
#
#   scripts/live-governance.sh [BASE_PORT]        32000 if not given
#
# Needs the binary `bizra` in the target directory (`make build`) and the
# Python of `scripts/setup.sh tests`.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${1:-32000}
target=${CARGO_TARGET_DIR:-target}
bizra=${BIZRA:-$target/debug/bizra}
python=$target/python/bin/python
for program in "$bizra" "$python"; do
    [ -x "$program" ] || { echo "live-governance: $program is missing: make build" >&2; exit 1; }
done

folder=$(mktemp -d)
network=
finish() {
    status=$?
    trap - EXIT
    if [ -n "$network" ]; then
        kill -TERM "$network" 2>/dev/null || true
        wait "$network" || { echo "live-governance: testnet up ended with $?" >&2; status=1; }
    fi
    if grep "ended: signal" "$folder/up.log" >&2; then status=1; fi
    # Those that were started one by one.
    "$bizra" testnet down --dir "$folder/net" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        tail -n 8 "$folder"/up.log "$folder"/net/node-*/log.txt 2>/dev/null | cut -c 1-160 >&2 || true
    fi
    if [ "${KEEP:-0}" = 0 ]; then rm -rf "$folder"; else echo "kept: $folder"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$bizra" testnet init --validators 4 --dir "$folder/net" --base-port "$base" >/dev/null
exec {said}< <(exec "$bizra" testnet up --dir "$folder/net" --timeout 120 2>"$folder/up.log")
network=$!
ready=no
while read -r line; do
    if [ "$line" = ready ]; then ready=yes && break; fi
done <&"$said"
[ $ready = yes ] || { echo "live-governance: the network did not become ready" >&2; exit 1; }

"$python" -B scripts/live-governance.py "$bizra" "$folder/net"
