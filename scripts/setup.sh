#!/usr/bin/env bash
# Installs what the build lacks on Debian and Ubuntu; elsewhere it names it.
# Silent when nothing is missing.
#
#   scripts/setup.sh          what the build needs
#   scripts/setup.sh tests    that, and Python with its wheels for the tests
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

with_tests=no
case ${1:-} in
'') ;;
tests) with_tests=yes ;;
*) fail "unknown argument '$1'; it takes 'tests' or nothing" ;;
esac

# --- What the build asks of the system ----------------------------------
# RocksDB, lz4 and aws-lc are compiled from source (C and C++), and the
# bindings to RocksDB are generated with libclang and its headers.
missing=()
lacks() { ! command -v "$1" >/dev/null; }
if lacks cargo && lacks curl; then missing+=(curl ca-certificates); fi

has_libclang() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then return 0; fi
    # libclang's own headers (stddef.h) come in a package beside it.
    local library headers=no
    for headers in /usr/lib/llvm-*/lib/clang/*/include /usr/lib/clang/*/include \
        /usr/lib64/clang/*/include /opt/homebrew/opt/llvm/lib/clang/*/include \
        /Library/Developer/CommandLineTools/usr/lib/clang/*/include; do
        if [ -e "$headers/stddef.h" ]; then break; fi
    done
    [ -e "$headers/stddef.h" ] || return 1
    for library in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* \
        /usr/lib/libclang*.so* /usr/lib64/libclang*.so* /usr/local/lib/libclang*.so* \
        /opt/homebrew/opt/llvm/lib/libclang.dylib \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib; do
        if [ -e "$library" ]; then return 0; fi
    done
    return 1
}

if lacks cc; then missing+=(gcc libc6-dev); fi
if lacks c++; then missing+=(g++); fi
if lacks make; then missing+=(make); fi
if ! has_libclang; then missing+=(libclang-dev); fi
# aws-lc has ready bindings and needs no cmake on these.
case $(uname -m) in
x86_64 | aarch64 | arm64) ;;
*) if lacks cmake; then missing+=(cmake); fi ;;
esac
if [ $with_tests = yes ] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3 python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
    lacks apt-get && fail "install what these Debian packages hold: ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        lacks sudo && fail "as root, run: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# --- Rust ---------------------------------------------------------------
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if lacks cargo; then
    # As https://rustup.rs does it, for this user only; the Makefile looks there.
    machine=$(uname -m)
    from=https://static.rust-lang.org/rustup/dist/$machine-unknown-linux-gnu/rustup-init
    echo "setup: installing Rust $needed with rustup into ~/.cargo and ~/.rustup"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    # One chain: `set -e` means nothing in a condition.
    if ! {
        curl --fail --silent --show-error --proto '=https' --tlsv1.2 \
            --output "$folder/rustup-init" "$from" --output "$folder/digest" "$from.sha256" &&
            echo "$(cut -d' ' -f1 "$folder/digest")  $folder/rustup-init" |
            sha256sum --check --quiet &&
            chmod +x "$folder/rustup-init" &&
            "$folder/rustup-init" -y --quiet --no-modify-path --profile minimal \
                --component clippy --component rustfmt --default-toolchain "$needed"
    }; then
        fail "Rust could not be installed: install it from https://rustup.rs and open a new shell"
    fi
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
fi
found=$(rustc --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$needed" "${found%%-*}" | sort -V | head -n1)" != "$needed" ]; then
    fail "Rust $needed or newer is needed, and this is $found: rustup update stable"
fi

if [ $with_tests = yes ]; then
    for tool in clippy fmt; do
        cargo $tool --version >/dev/null 2>&1 ||
            fail "cargo $tool is missing: rustup component add clippy rustfmt"
    done
fi

# --- Python, for the tests of the client --------------------------------
if [ $with_tests = yes ]; then
    venv=${CARGO_TARGET_DIR:-target}/python
    if ! "$venv/bin/python" -c 'import blake3, cryptography, openapi_spec_validator, regopy' 2>/dev/null; then
        echo "setup: installing what the tests need for Python into $venv"
        python3 -m venv --clear "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            blake3 cryptography openapi-spec-validator regopy
    fi
fi
