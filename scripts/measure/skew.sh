#!/usr/bin/env bash
# Clocks of two validators are wrong, by +400 ms and by -2 s: nothing that was
# accepted is lost or rejected. Needs libfaketime (Debian: apt install libfaketime).
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
library=$(find /usr/lib -name libfaketime.so.1 2>/dev/null | head -n1)
[ -n "$library" ] || { echo "libfaketime is missing: apt install libfaketime" >&2; exit 2; }
start_testnet

# The node's clock against the file system's, which no preloaded library changes.
offset() { python3 "$here/network.py" log-offset "$net/node-$1/log.txt"; }
restart_skewed() {
    local node=$1 skew=$2
    kill -TERM "$(pid "$node")"
    while kill -0 "$(pid "$node")" 2>/dev/null; do sleep 0.1; done
    LD_PRELOAD=$library FAKETIME=$skew FAKETIME_DONT_FAKE_MONOTONIC=1 \
        "$bizra" testnet up --dir "$net" --node "$node" --timeout 120 >/dev/null
}
restart_skewed 2 +0.4s || exit 1
restart_skewed 5 -2s || exit 1
timeouts=$(sum_of bizra_consensus_timeouts_total)
load=$("$bizra" load --testnet "$net" --rate "$rate" --duration "${DURATION:-20}" --json)
judge measure=skew rate="$rate" "$load" fast_by_ms="$(offset 2)" slow_by_ms="$(offset 5)" \
    timeouts=$(($(sum_of bizra_consensus_timeouts_total) - timeouts)) panics="$(panics)" -- \
    'abs(fast_by_ms - 400) < 150' 'abs(slow_by_ms + 2000) < 150' \
    'final > 0' 'lost == 0' 'rejected == 0' 'panics == 0'
