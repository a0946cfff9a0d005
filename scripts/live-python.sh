#!/usr/bin/env bash
# Runs the Python client's tests, and those of the API's description, against a
# network of real validators, which it starts on free ports and stops again.
#
#   scripts/live-python.sh [VALIDATORS]        4 if not given
#
# Needs the binary `bizra` in the target directory (`make build`) and the
# Python of `scripts/setup.sh tests`.
set -euo pipefail
cd "$(dirname "$0")/.."

name=live-python
validators=${1:-4}
. scripts/live-network.sh

export BIZRA_ENDPOINT=http://127.0.0.1:$((base + 2))
"$python" -B clients/python/test_pci.py
# What is told of a proposal is described too.
"$bizra" gov propose parameter snr_min_ppm 860000 \
    --key "$folder/net/node-0/keys/consensus.key" --endpoint "$BIZRA_ENDPOINT" >/dev/null
"$python" -B clients/python/test_openapi.py
