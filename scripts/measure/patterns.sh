#!/usr/bin/env bash
# patterns.sh [--count N] [--rate R]: how long a pattern takes to seven validators.
exec python3 "$(dirname "$0")/patterns.py" "$@"
