#!/usr/bin/env bash
# two-down.sh kill|stop: two of seven validators fail under load and come back.
#
# They are killed (or stand still) for the middle half of the load. A record
# that was accepted by nobody but a validator that then dies waits for it;
# `lane_bytes_at_failure` says how much that can be. A client notices a
# standing process only by its own patience, so that under `stop` the records
# go to the five others; SUBMIT_TO_ALL=1 sends them to all.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
how=${1:-kill}
case $how in kill | stop) ;; *) echo "usage: two-down.sh kill|stop" >&2; exit 2 ;; esac
duration=${DURATION:-60}
failing=(2 5)
start_testnet

if [ "$how" = kill ] || [ -n "${SUBMIT_TO_ALL:-}" ]; then
    target=(--testnet "$net")
    endpoints=7
else
    target=(--endpoint)
    for node in 0 1 3 4 6; do target+=("$(api $node)"); done
    endpoints=5
fi
"$bizra" load "${target[@]}" --rate "$rate" --duration "$duration" --json >"$folder/load.json" &
load=$!

sleep $((duration / 6))
lane=$(($(metric 2 bizra_lane_bytes) + $(metric 5 bizra_lane_bytes)))
pids=("$(pid 2)" "$(pid 5)")
if [ "$how" = kill ]; then kill -KILL "${pids[@]}"; else kill -STOP "${pids[@]}"; fi
before=$(metric 0 bizra_consensus_height)
sleep $((duration / 2))
after=$(metric 0 bizra_consensus_height)
back=$(date +%s%N)
if [ "$how" = kill ]; then
    starts=()
    for node in "${failing[@]}"; do
        "$bizra" testnet up --dir "$net" --node "$node" >/dev/null &
        starts+=($!)
    done
    wait "${starts[@]}"
else
    kill -CONT "${pids[@]}"
fi
since() { echo $((($(date +%s%N) - back) / 1000000)); }
is_ready() { curl -sf --max-time 2 "http://127.0.0.1:$((base + 10 * $1 + 3))/readyz" >/dev/null; }
has_caught_up() {
    [ $(($(metric "$1" bizra_consensus_height) + 5)) -ge "$(metric 0 bizra_consensus_height)" ]
}
for node in "${failing[@]}"; do until is_ready "$node"; do sleep 0.05; done; done
ready=$(since) caught_up=null
while [ "$(since)" -lt 120000 ]; do
    if has_caught_up 2 && has_caught_up 5; then
        caught_up=$(since)
        break
    fi
    sleep 0.05
done
wait "$load"
judge measure="two-down-$how" rate="$rate" endpoints="$endpoints" "$(cat "$folder/load.json")" \
    lane_bytes_at_failure="$lane" blocks_while_down=$((after - before)) ready_again_ms="$ready" \
    caught_up_ms="$caught_up" panics="$(panics)" -- \
    'final > 0' 'lost == 0' 'longest_gap_ms <= 1000' 'p95_ms <= 500' 'panics == 0'
