#!/usr/bin/env bash
# Seven validators under a fixed load: nothing is lost or rejected.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
start_testnet
load=$("$bizra" load --testnet "$net" --rate "$rate" --duration "${DURATION:-60}" --json)
judge measure=load rate="$rate" "$load" timeouts="$(sum_of bizra_consensus_timeouts_total)" \
    panics="$(panics)" -- 'final > 0' 'lost == 0' 'rejected == 0' 'panics == 0'
