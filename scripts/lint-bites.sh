#!/usr/bin/env bash
# Shows that the bans in consensus/clippy.toml and ledger/clippy.toml bite: a
# crate that breaks them all, laid below a copy of each file as
# consensus/types and consensus/sim lie below the real one, must be refused,
# with every banned path of the standard library named.
set -euo pipefail
cd "$(dirname "$0")/.."
unset CLIPPY_CONF_DIR

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for room in consensus ledger; do
    crate=$folder/$room/below
    mkdir -p "$crate/src"
    cp "$room/clippy.toml" "$folder/$room/"
    cp scripts/lint-bites.rs "$crate/src/lib.rs"
    printf '[package]\nname = "lint-bites"\nedition = "2024"\n[workspace]\n' >"$crate/Cargo.toml"

    if CARGO_TARGET_DIR=$folder/target cargo clippy --offline --quiet \
        --manifest-path "$crate/Cargo.toml" -- \
        -D clippy::disallowed_methods -D clippy::disallowed_types >"$crate/report" 2>&1; then
        echo "$room/clippy.toml: clippy accepted a crate that breaks every ban" >&2
        exit 1
    fi
    if grep -q 'clippy.toml' "$crate/report"; then
        echo "$room/clippy.toml: clippy complains of the file itself" >&2
        cat "$crate/report" >&2
        exit 1
    fi

    bans=0
    while read -r path; do
        if ! grep -qE "disallowed (method|type) \`$path\`" "$crate/report"; then
            echo "$room/clippy.toml: the ban on $path does not bite" >&2
            cat "$crate/report" >&2
            exit 1
        fi
        bans=$((bans + 1))
    done < <(sed -n 's/.*path = "\(std::[^"]*\)".*/\1/p' "$room/clippy.toml")
    if [ "$bans" -eq 0 ]; then
        echo "$room/clippy.toml: no ban on the standard library was found in it" >&2
        exit 1
    fi
    echo "$room/clippy.toml: all $bans bans on the standard library bite"
done
