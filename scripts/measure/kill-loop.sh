#!/usr/bin/env bash
# kill-loop.sh [--kills N]: validators are killed in turn under load.
exec python3 "$(dirname "$0")/kill_loop.py" "$@"
