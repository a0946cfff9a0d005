#!/usr/bin/env bash
# Governance on a running network: four validators change parameters, a policy
# and, twice, their committee, while records flow. What is checked says
# scripts/live-governance.py.
#
#   scripts/live-governance.sh
#
# Needs the binary `bizra` in the target directory (`make build`) and the
# Python of `scripts/setup.sh tests`.
set -euo pipefail
cd "$(dirname "$0")/.."

name=live-governance
validators=4
. scripts/live-network.sh

"$python" -B scripts/live-governance.py "$bizra" "$folder/net"
