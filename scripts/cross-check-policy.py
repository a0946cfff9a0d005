#!/usr/bin/env python3
"""Asks a second engine for the decisions that ours has written down.

    scripts/cross-check-policy.py [clients/vectors/policy.json]

The ledger's tests write which of many generated projections each policy
allows; here rego-cpp (PyPI: regopy) evaluates the same texts on the same
inputs. Nothing is random, so a difference is the same in every run, and means
that one of two engines misreads Rego. It exits 1 then, and when there is
nothing to compare.
"""

import json
import sys
from pathlib import Path

from regopy import Interpreter

VECTORS = Path(__file__).parent.parent / "clients" / "vectors" / "policy.json"


def decide(engine: Interpreter, projection: dict) -> bool:
    """Whether the policy in the engine allows the projection; undefined is no."""
    engine.set_input(projection)
    output = engine.query("x = data.bizra.policy.allow")
    if not output.ok():
        raise SystemExit(f"rego-cpp cannot decide on {json.dumps(projection)}: {output}")
    text = str(output).strip()
    return text != "undefined" and json.loads(text)["bindings"]["x"] is True


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS
    policies = json.loads(path.read_text(encoding="utf-8"))
    compared = 0
    for entry in policies:
        engine = Interpreter()
        engine.add_module("policy.rego", entry["policy"])
        for case in entry["cases"]:
            compared += 1
            if decide(engine, case["input"]) != case["allow"]:
                print(
                    f"policy:\n{entry['policy']}\ninput: {json.dumps(case['input'])}\n"
                    f"ours: {case['allow']}, rego-cpp's the other",
                    file=sys.stderr,
                )
                return 1
    if compared == 0:
        print(f"{path}: no decisions to compare", file=sys.stderr)
        return 1
    print(f"{len(policies)} policies, {compared} decisions: both engines agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
