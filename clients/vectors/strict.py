"""A strict JSON reader: what it takes has exactly one meaning for every reader. Standard library and pci.py."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))
import pci  # noqa: E402

DEPTH_MAX = 32


def parse(text):
    """Reads text or bytes; ValueError for duplicate keys, lone surrogates, numbers beyond 2^53-1, depth over 32,
    bytes after the value, and whatever else is not JSON."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = json.loads(text, object_pairs_hook=without_duplicates, parse_constant=refuse)
        too_deep = depth(value) > DEPTH_MAX
    except RecursionError:
        too_deep = True
    if too_deep:
        raise ValueError(f"deeper than {DEPTH_MAX}")
    pci.canonical(value)  # refuses lone surrogates and numbers beyond the bounds
    return value


def depth(value):
    """How many containers lie within each other; none in a scalar."""
    if not isinstance(value, (dict, list)):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


def without_duplicates(pairs):
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def refuse(name):
    raise ValueError(f"{name} is not JSON")
