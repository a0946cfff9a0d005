# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of this folder: a testnet of seven validators on
# loopback that ends with the script. What went wrong keeps its folder.
#
#   BIZRA_BIN or --bin FILE   the binary; ${CARGO_TARGET_DIR:-target}/debug/bizra if neither is given
#   RATE, DURATION            of the load, records per second and seconds
#   BASE_PORT                 the first of 70 ports; free ones if not given
#   KEEP=1                    keep the folder whatever happens
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bizra=${BIZRA_BIN:-${CARGO_TARGET_DIR:-target}/debug/bizra}
if [ "${1:-}" = --bin ]; then
    bizra=${2:?--bin needs a file}
    shift 2
fi
[ -x "$bizra" ] || {
    echo "$bizra is no program: build it, or name it with BIZRA_BIN" >&2
    exit 2
}
folder=$(mktemp -d)
net=$folder/net
rate=${RATE:-50}
supervisor=
mounted=

stop_testnet() {
    local code=$? node
    for node in "$net"/node-*; do
        # A stopped process would not hear the request to end.
        [ -f "$node/pid" ] && kill -CONT "$(cat "$node/pid")" 2>/dev/null
    done
    [ -n "$supervisor" ] && kill -TERM "$supervisor" 2>/dev/null && wait "$supervisor"
    [ -d "$net" ] && "$bizra" testnet down --dir "$net" 2>/dev/null
    [ -n "$mounted" ] && umount "$mounted"
    if [ $code = 0 ] && [ -z "${KEEP:-}" ]; then
        rm -rf "$folder"
    else
        echo "the logs are in $net/node-*/log.txt" >&2
    fi
    exit $code
}
trap stop_testnet EXIT
trap 'exit 130' INT TERM

make_testnet() {
    base=${BASE_PORT:-$(python3 "$here/network.py" free-ports 70)}
    "$bizra" testnet init --dir "$net" --base-port "$base" >/dev/null
}

start_testnet() {
    [ -d "$net" ] || make_testnet
    "$bizra" testnet up --dir "$net" --timeout 120 >"$folder/up.txt" 2>&1 &
    supervisor=$!
    until grep -qsx ready "$folder/up.txt"; do
        kill -0 "$supervisor" 2>/dev/null || {
            cat "$folder/up.txt" >&2
            exit 1
        }
        sleep 0.1
    done
}

pid() { cat "$net/node-$1/pid"; }
api() { echo "http://127.0.0.1:$((base + 10 * $1 + 2))"; }
# The sum of a metric over its labels: metric NODE NAME
metric() {
    curl -sf --max-time 5 "http://127.0.0.1:$((base + 10 * $1 + 3))/metrics" |
        awk -v name="$2" '$1 ~ "^" name "(\\{|$)" { sum += $2 } END { print sum + 0 }'
}
sum_of() {
    local node sum=0
    for node in 0 1 2 3 4 5 6; do sum=$((sum + $(metric $node "$1"))); done
    echo $sum
}
panics() { cat "$net"/node-*/log.txt | grep -c panicked || true; }

# judge NAME=VALUE… JSON… -- BOUND…: one line with the figures, and with the
# bounds that do not hold; false if there are any.
judge() { python3 "$here/network.py" judge "$@"; }
