#!/usr/bin/env bash
# idle.sh [MINUTES]: what seven validators cost that have nothing to do.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
minutes=${1:-5}
start_testnet
sleep 10 # Start-up is not idleness.

ticks() { for node in 0 1 2 3 4 5 6; do sed 's/.*) //' "/proc/$(pid $node)/stat"; done |
    awk '{ sum += $12 + $13 } END { print sum }'; }
resident() { for node in 0 1 2 3 4 5 6; do cat "/proc/$(pid $node)/statm"; done |
    awk '{ sum += $2 } END { print sum * '"$(getconf PAGESIZE)"' }'; }
data() { du -sb "$net"/node-*/data | awk '{ sum += $1 } END { print sum }'; }
now() { date +%s%N; }
# Views that did not lead to a final block, so far; from one scrape, between two blocks.
lost_views() { curl -sf --max-time 5 "http://127.0.0.1:$((base + 3))/metrics" |
    awk '/^bizra_consensus_view /{ v = $2 } /^bizra_consensus_height /{ h = $2 } END { print v - 1 - h }'; }

t=$(now) c=$(ticks) r=$(resident) d=$(data) h=$(metric 0 bizra_consensus_height)
timeouts=$(sum_of bizra_consensus_timeouts_total) lost=$(lost_views)
for ((minute = 1; minute <= minutes; minute++)); do
    sleep 60
    echo "minute $minute: RSS $(($(resident) / 7 / 1024)) KiB, data $(($(data) / 7 / 1024)) KiB each" >&2
done
judge measure=idle minutes="$minutes" seconds=$((($(now) - t) / 1000000000)) \
    cpu_ticks=$(($(ticks) - c)) ticks_per_second="$(getconf CLK_TCK)" \
    rss_bytes_each=$(($(resident) / 7)) rss_growth_each=$((($(resident) - r) / 7)) \
    data_bytes_each=$(($(data) / 7)) data_growth_each=$((($(data) - d) / 7)) \
    blocks=$(($(metric 0 bizra_consensus_height) - h)) \
    timeouts=$(($(sum_of bizra_consensus_timeouts_total) - timeouts)) \
    views_lost=$(($(lost_views) - lost)) panics="$(panics)" \
    'cpu_percent_each:=round(100 * cpu_ticks / ticks_per_second / seconds / 7, 2)' \
    'rss_growth_each_per_minute:=rss_growth_each // minutes' \
    'data_growth_each_per_minute:=data_growth_each // minutes' \
    'bytes_per_idle_block:=data_growth_each // max(blocks, 1)' \
    -- 'blocks > 0' 'views_lost == 0' 'cpu_percent_each <= 1' 'panics == 0'
