#!/usr/bin/env bash
# Executes the same ten thousand records in builds of different optimisation and
# with different instructions of the processor, and compares `exec` of every
# block. Only the ledger is built; each build takes some minutes.
#
#   determinism.sh [BUILD…]   of dev, release, native, x86-64-v2 and x86-64-v3;
#                             all that this processor can run, if none is named
set -euo pipefail
cd "$(dirname "$0")/.."

can_run() {
    case $1 in
    x86-64-v2) grep -q -w sse4_2 /proc/cpuinfo ;;
    x86-64-v3) grep -w avx2 /proc/cpuinfo | grep -w bmi2 | grep -q -w fma ;;
    esac
}

execs() {
    local arguments=(test --locked --package bizra-ledger --test determinism)
    case $1 in
    dev) ;;
    release) arguments+=(--release) ;;
    # With a target named, the flags are not for macros and build scripts, which stay.
    *)
        export RUSTFLAGS="-C target-cpu=$1"
        arguments+=(--target "$(rustc -vV | sed -n 's/^host: //p')")
        ;;
    esac
    cargo "${arguments[@]}" -- --nocapture
}

builds=("$@")
if [ $# = 0 ]; then
    builds=(dev release native)
    if [ "$(uname -m)" = x86_64 ]; then
        for level in x86-64-v2 x86-64-v3; do
            if can_run "$level"; then builds+=("$level"); else echo "$level: not by this processor"; fi
        done
    fi
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for build in "${builds[@]}"; do
    if ! (execs "$build") >"$folder/output" 2>"$folder/errors"; then
        cat "$folder/errors" "$folder/output" >&2
        echo "$build: failed" >&2
        exit 1
    fi
    grep -E '^(exec|committee|code) ' "$folder/output" >"$folder/$build"
    if ! cmp -s "$folder/${builds[0]}" "$folder/$build"; then
        echo "$build: differs from ${builds[0]}, first here:" >&2
        diff "$folder/${builds[0]}" "$folder/$build" | head -n 5 >&2
        exit 1
    fi
    last=$(grep '^exec ' "$folder/$build" | tail -n 1)
    echo "$build: $(grep -c '^exec ' "$folder/$build") blocks, the last one ${last##* }," \
        "$(sed -n 's/.*finished in //p' "$folder/output")"
done
echo "the same in ${#builds[@]} builds"
