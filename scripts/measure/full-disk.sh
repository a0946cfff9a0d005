#!/usr/bin/env bash
# full-disk.sh: the disk of one of seven validators runs full under load, and
# there is room again later. The node stops signing and accepting, says so and
# serves reads; the others go on, nothing that was accepted is lost, and it
# comes back by itself. Killed meanwhile, it starts on a disk with a little room
# left, and refuses to in one sentence on one without any. Needs root for the
# mount of a disk in memory.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
[ "$(id -u)" = 0 ] || { echo "full-disk.sh mounts a file system: run it as root" >&2; exit 2; }
rate=${RATE:-20} duration=${DURATION:-60}
victim=3
make_testnet
data=$net/node-$victim/data
mount -t tmpfs -o size=256m full-disk "$data" || exit 2
mounted=$data
start_testnet

now() { echo $(($(date +%s%N) / 1000000)); }
admin() { echo "http://127.0.0.1:$((base + 10 * victim + 3))"; }
says_full() { curl -s --max-time 2 "$(admin)/readyz" | grep -q disk_unwritable; }
is_ready() { curl -sf --max-time 2 "$(admin)/readyz" >/dev/null; }
reads() { curl -sf --max-time 2 "$(api $victim)/v1/blocks/1" >/dev/null; }
# The newest block that the victim signed, as another validator heard it.
signed() {
    curl -sf --max-time 5 "http://127.0.0.1:$((base + 3))/metrics" |
        awk -v name="last_signed_height{validator=\"node-$victim\"}" 'index($1, name) { print $2 }'
}
# until_so SECONDS COMMAND…: milliseconds until it is so, or null.
until_so() {
    local began end
    began=$(now) end=$(($(now) + 1000 * $1))
    shift
    until "$@"; do
        [ "$(now)" -lt $end ] || { echo null; return; }
        sleep 0.05
    done
    echo $(($(now) - began))
}
signs_after() { [ "$(signed)" -gt "$1" ]; }
# fill BYTES: leaves so many bytes of the disk free.
fill() {
    local free
    free=$(df --output=avail -B1 "$data" | tail -n1)
    touch "$data/ballast"
    [ "$free" -le "$1" ] ||
        fallocate -o "$(stat -c %s "$data/ballast")" -l $((free - $1)) "$data/ballast"
}
room() { rm -f "$data/ballast"; }

"$bizra" load --testnet "$net" --rate "$rate" --duration "$duration" --json >"$folder/load.json" &
load=$!
sleep 5

fill 0
noticed=$(until_so 20 says_full)
free=$(metric $victim bizra_disk_free_bytes)
# What was under way when the disk ran full may still be signed.
sleep 1
before=$(signed) height=$(metric 0 bizra_consensus_height)
sleep 5
signed_while_full=$(($(signed) - before))
blocks_while_full=$(($(metric 0 bizra_consensus_height) - height))
reads && reads_while_full=true || reads_while_full=false
said=$(grep -c 'signing nothing until there is room' "$net/node-$victim/log.txt")
pid=$(pid $victim)

# It ends when it is asked to, and does not start without any room.
kill -TERM "$pid"
stopped=$(until_so 15 eval "! kill -0 $pid 2>/dev/null")
fill 0
timeout 20 "$bizra" run --config "$net/node-$victim/config.toml" --log-level error >"$folder/refused.txt" 2>&1
refused_code=$?
refused=$(tail -n1 "$folder/refused.txt" | sed 's/["\\]//g')
lines=$(wc -l <"$folder/refused.txt")

# With some room, less than the reserve, it starts and serves reads.
room
fill $((40 << 20))
"$bizra" testnet up --dir "$net" --node $victim --timeout 120 >"$folder/again.txt" 2>&1 &
again=$!
started=$(until_so 20 says_full)
reads && reads_after_start=true || reads_after_start=false
before=$(signed)
sleep 3
signed_after_start=$(($(signed) - before))

height=$(metric 0 bizra_consensus_height)
room
back=$(until_so 60 signs_after "$height")
ready=$(until_so 60 is_ready)
wait $again
wait $load
same=false
block() { curl -sf --max-time 5 "$(api "$1")/v1/blocks/$height"; }
[ "$(block 0)" = "$(block $victim)" ] && same=true
judge measure=full-disk rate="$rate" "$(cat "$folder/load.json")" noticed_ms="$noticed" \
    free_bytes="$free" said="$said" signed_while_full="$signed_while_full" \
    blocks_while_full="$blocks_while_full" reads_while_full="$reads_while_full" \
    stopped_ms="$stopped" refused_code="$refused_code" refused_lines="$lines" \
    refused="\"$refused\"" started_ms="$started" reads_after_start="$reads_after_start" \
    signed_after_start="$signed_after_start" signs_again_ms="$back" ready_ms="$ready" same="$same" \
    panics="$(panics)" -- \
    'noticed_ms <= 5000' 'said >= 1' 'signed_while_full == 0' 'blocks_while_full > 0' \
    'reads_while_full' 'stopped_ms <= 10000' 'refused_code == 1' 'refused_lines == 1' \
    '"no space is left for the data folder" in refused' 'started_ms <= 10000' \
    'reads_after_start' 'signed_after_start == 0' 'signs_again_ms <= 10000' \
    'ready_ms <= 10000' 'same' 'final > 0' 'lost == 0' 'panics == 0'
