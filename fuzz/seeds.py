#!/usr/bin/env python3
"""Writes the samples from which the fuzzer starts.

    fuzz/seeds.py

They go to fuzz/corpus/TARGET, where the fuzzer keeps what it finds itself: the
golden vectors, accepted and refused, and scripts that are drawn from fixed
seeds.
"""

import json
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TYPES = ROOT / "consensus" / "types" / "tests" / "vectors"
PROOFS = ROOT / "light-client" / "tests" / "vectors"

# The vectors that each target reads.
TARGETS = {
    "batch": ["SignedBatch"],
    "block": ["Block"],
    "certificate": ["Certificate"],
    "committee": ["Committee"],
    "final_header": ["FinalHeader"],
    "fixed_size": ["SignedVote", "SignedCommitVote", "SignedTicket", "BatchAck", "BatchHint", "ExecFields"],
    "header": ["Header"],
    "proposal": ["SignedProposal"],
    "signer_set": ["SignerSet"],
    "timeout": ["SignedTimeout"],
}

CHECKPOINT = {
    "block": "b1" * 32,
    "chain_id": "c4" * 32,
    "committee": "c0" * 32,
    "era": 2,
    "era_root": "e0" * 32,
    "height": 9,
    "log_root": "10" * 32,
    "log_size": 23,
    "version": 1,
}

SCRIPTS = 200
SCRIPT_BYTES = 512


def seeds():
    """Pairs of a target and a sample."""
    for target, names in TARGETS.items():
        for name in names:
            vectors = json.loads((TYPES / f"{name}.json").read_text())
            for entry in vectors["accepted"] + vectors["rejected"]:
                yield target, bytes.fromhex(entry["hex"])
    genesis = json.loads((TYPES / "Genesis.json").read_text())
    for entry in genesis["accepted"] + genesis["rejected"]:
        yield "genesis", entry["text"].encode()
    pci = json.loads((ROOT / "clients" / "vectors" / "pci.json").read_text())
    for entry in pci["jcs"]:
        yield "json", entry["text"].encode()
    for text in filter(None, (entry["envelope_bytes"] for entry in pci["cases"])):
        yield "json", text.encode()
        yield "envelope", text.encode()
    proofs = json.loads((PROOFS / "proofs.json").read_text())["chains"]
    states = json.loads((PROOFS / "state.json").read_text())
    for chain in [*proofs, states]:
        for entry in chain["accepted"] + chain["rejected"]:
            if "cbor" in entry:
                yield "proof_cbor", bytes.fromhex(entry["cbor"])
            if "json" in entry:
                yield "proof_json", entry["json"].encode()
    yield "checkpoint", json.dumps(CHECKPOINT, separators=(",", ":")).encode()
    for number in range(SCRIPTS):
        yield "step", random.Random(number).randbytes(SCRIPT_BYTES)


def main():
    for number, (target, sample) in enumerate(seeds()):
        folder = ROOT / "fuzz" / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{number}").write_bytes(sample)


if __name__ == "__main__":
    main()
