#!/usr/bin/env bash
# How fast the chain of a testnet is exported, and judged anew by whoever has its
# genesis file.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
start_testnet
load=$("$bizra" load --testnet "$net" --rate "${RATE:-200}" --duration "${DURATION:-75}" --json)
echo "load: $load" >&2
begun=$(date +%s%N)
exported=$("$bizra" audit export --endpoint "$(api 0)" --out "$folder/chain.export" --json) || exit 1
milliseconds=$((($(date +%s%N) - begun) / 1000000))
# Nothing else shall take the processor.
kill -TERM "$supervisor" && wait "$supervisor"
supervisor=
TIMEFORMAT=%U
{ time replayed=$("$bizra" audit replay "$folder/chain.export" --genesis "$net/genesis.json" \
    --json); } 2>"$folder/processor_time"
judge measure=replay "$exported" "$replayed" export_ms=$milliseconds panics="$(panics)" \
    'bytes_per_record:=round(bytes / records)' \
    processor_seconds="$(tail -n 1 "$folder/processor_time")" \
    'records_per_second:=round(records_per_second)' \
    'records_per_processor_second:=round(records / processor_seconds)' \
    'records_per_block:=round(records / blocks, 1)' \
    -- 'replayed' 'records >= 10000' 'panics == 0'
