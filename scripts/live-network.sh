# shellcheck shell=bash disable=SC2154
# Sourced by live-python.sh and live-governance.sh from the project's folder: starts a network of
# real validators on free ports, awaits it, and stops whatever of it runs when the script ends.
#
# Needs `name`, that of the script, and `validators`, how many. Sets `bizra`, `python`, `folder`
# (the network is in its `net`) and `base`, the first port. KEEP=1 keeps the folder.

target=${CARGO_TARGET_DIR:-target}
bizra=${BIZRA:-$target/debug/bizra}
python=$target/python/bin/python
for program in "$bizra" "$python"; do
    [ -x "$program" ] || { echo "$name: $program is missing: make build" >&2; exit 1; }
done

folder=$(mktemp -d)
network=
finish() {
    status=$?
    trap - EXIT
    if [ -n "$network" ]; then
        kill -TERM "$network" 2>/dev/null || true
        wait "$network" || { echo "$name: testnet up ended with $?" >&2; status=1; }
        if grep "ended: signal" "$folder/up.log" >&2; then status=1; fi
        # Those that were started one by one.
        "$bizra" testnet down --dir "$folder/net" 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ]; then
        tail -n 8 "$folder"/up.log "$folder"/net/node-*/log.txt 2>/dev/null | cut -c 1-160 >&2 || true
    fi
    if [ "${KEEP:-0}" = 0 ]; then rm -rf "$folder"; else echo "kept: $folder"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Below the range from which the system hands out ports by itself; room for one more node.
base=$("$python" - "$((10 * (validators + 1)))" <<'PYTHON'
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
[ $ready = yes ] || { echo "$name: the network did not become ready" >&2; exit 1; }
echo "$name: $validators validators are ready, API of the first at port $((base + 2))"
