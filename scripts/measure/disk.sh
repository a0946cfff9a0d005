#!/usr/bin/env bash
# How much disk a record takes at each of seven validators, and what a million
# would take.
#
# Two rounds of the same load. After each the validators are started and stopped
# once more, so that what was in write-ahead logs is in data files, and the
# folders are measured while nobody writes. What belongs to old versions of the
# state tree has been deleted by then, as always; batches, blocks and certificates
# are kept for ever. `gigabytes_per_million` is what the second round added for
# each record, times a million: it is extrapolated, for records of this size and
# blocks of so many of them. The two rounds show whether growth is even.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
rate=${RATE:-200} duration=${DURATION:-75}

stop() { kill -TERM "$supervisor" && wait "$supervisor"; supervisor=; }
data() { du -sb "$net"/node-*/data | awk '{ sum += $1 } END { print int(sum / 7) }'; }
status() { curl -sf --max-time 5 "$(api 0)/v1/status" | python3 -c "import json, sys
print(json.load(sys.stdin)['$1'])"; }
envelope() { python3 - "$(api 0)" <<'END'
import json, sys, urllib.request
def get(path):
    return urllib.request.urlopen(sys.argv[1] + path, timeout=5).read()
records = json.loads(get("/v1/records?limit=100"))["records"]
sizes = [len(get(f"/v1/records/{record['digest']}").split(b'"envelope":', 1)[1]) - 1
         for record in records]
print(sum(sizes) // len(sizes))
END
}

start_testnet
stop
sizes=("$(data)") heights=(0) logs=(0)
for round in 1 2; do
    start_testnet
    load=$("$bizra" load --testnet "$net" --rate "$rate" --duration "$duration" --json)
    echo "round $round: $load" >&2
    heights+=("$(status height)") logs+=("$(status log_size)")
    size=$(envelope)
    stop
    start_testnet
    stop
    sizes+=("$(data)")
done
judge measure=disk rate="$rate" envelope_bytes="$size" records="${logs[2]}" blocks="${heights[2]}" \
    bytes_empty="${sizes[0]}" bytes_first="${sizes[1]}" bytes_second="${sizes[2]}" \
    records_first="${logs[1]}" blocks_first="${heights[1]}" "$load" panics="$(panics)" \
    'bytes_per_record_first:=round((bytes_first - bytes_empty) / records_first)' \
    'bytes_per_record:=round((bytes_second - bytes_first) / (records - records_first))' \
    'records_per_block:=round((records - records_first) / (blocks - blocks_first), 1)' \
    'gigabytes_per_million:=round(bytes_per_record / 1000, 2)' \
    -- 'lost == 0' 'rejected == 0' 'panics == 0' 'bytes_per_record > envelope_bytes / 10'
