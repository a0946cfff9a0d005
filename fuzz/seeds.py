#!/usr/bin/env python3
"""Writes the samples from which the fuzzer starts.

    fuzz/seeds.py

They go to fuzz/corpus/TARGET, where the fuzzer keeps what it finds itself: the
golden vectors, accepted and refused, an envelope of each action, messages and
entries made of them, and scripts that are drawn from fixed seeds.
"""

import json
import random
from hashlib import sha256
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

# The public half of the key with which the targets sign.
KEY = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"

HASH = "ab" * 32
SIGNATURE = "cd" * 64
UUID = "123e4567-e89b-42d3-a456-426614174000"
LICENCE = {"licence_id": UUID}
PEER_ID = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"
VALIDATOR = {
    "name": "validator-7",
    "peer_id": PEER_ID,
    "consensus_key": KEY,
    "vrf_key": HASH,
    "kem_key": "ab" * 1216,
}
CHANGES = [
    {"kind": "parameter", "name": "snr_min_ppm", "value": 1},
    {"kind": "policy", "name": "next", "rego": "package bizra.policy\n\ndefault allow := true\n"},
    {"kind": "committee", "put": [VALIDATOR], "remove": ["validator-8"]},
    {"kind": "version", "version": 2, "height": 9},
    {"kind": "revocation", "key": HASH},
]
PATTERN = {
    "pattern_id": "sape_" + sha256(b"latency above 7 ms").hexdigest()[:16],
    "source_node": KEY,
    "trigger_condition": "latency above 7 ms",
    "action": "ask the smaller model first",
    "domain": "routing",
    "creation_time": "2026-01-15T11:00:00Z",
    "elevation_count": 4,
    "status": "PROPOSED",
    "ihsan_score": 0.98,
    "metrics": {
        "uses": 10,
        "successes": 9,
        "total_snr_delta": 1.25,
        "total_latency_saved_ms": 4200,
        "first_used": "2026-01-15T11:00:01Z",
        "last_used": "2026-01-15T11:59:58Z",
    },
}

# `payload.data` by action; evidence comes from the vectors.
ACTIONS = [
    ("session/close", {"session_id": UUID, "records": 1}),
    ("identity/register", {}),
    ("identity/rotate", {"new_key": HASH, "proof": SIGNATURE}),
    ("identity/revoke", {"key": HASH}),
    ("market/join", {}),
    ("market/issue", LICENCE | {"resource": "cpu", "quantity": 1, "value": 2}),
    ("market/buy", LICENCE | {"price": 3, "value": 2}),
    ("market/assess", LICENCE | {"value": 2}),
    ("market/pay", LICENCE),
    ("market/release", LICENCE),
    *(("governance/propose", {"procedure": "amendment", "change": change}) for change in CHANGES),
    ("governance/vote", {"proposal": HASH, "choice": "veto"}),
    (
        "release/attest",
        {"release": "1.0.0", "artefacts_root": HASH, "rego_hash": HASH, "infrastructure_hash": HASH},
    ),
    ("pattern/propagate", PATTERN),
    ("pattern/elevate", {"digest": HASH}),
]

# Of which the messages between validators are made: their tags, then this.
MESSAGES = {
    1: "SignedProposal",
    2: "SignedVote",
    3: "SignedCommitVote",
    4: "SignedTimeout",
    5: "Certificate",
    7: "SignedBatch",
    8: "BatchAck",
    9: "BatchHint",
}
ANSWERS = {2: "Block", 4: "Certificate"}

# Sizes of the fixed fields of a stored batch, and of an entry of the state.
BATCH_HEADER_SIZE = 124
ENTRY_SIZES_MAX = 160

SCRIPTS = 200
SCRIPT_BYTES = 512


def accepted(name):
    vectors = json.loads((TYPES / f"{name}.json").read_text())
    return [bytes.fromhex(entry["hex"]) for entry in vectors["accepted"]]


def little(number, size):
    return number.to_bytes(size, "little")


def canonical(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def evidence():
    """`payload.data` of `evidence/file`, one of each kind."""

    def signed(statement):
        return {"statement": statement.hex(), "signature": SIGNATURE}

    vote, commit_vote = bytes(48), bytes(80)
    timeout, other_timeout = bytes(24), bytes(23) + b"\1"
    batch = accepted("SignedBatch")[0]
    header, records = batch[:BATCH_HEADER_SIZE], batch[BATCH_HEADER_SIZE + 64 :]
    for kind, first, second in [
        ("proposals", vote, vote[:-1] + b"\1"),
        ("votes", vote, vote[:-1] + b"\1"),
        ("commit_votes", commit_vote, commit_vote[:-1] + b"\1"),
        ("timeouts", timeout, other_timeout),
        ("batches", header, header[:-1] + b"\1"),
        ("hidden_qc", commit_vote, timeout),
    ]:
        yield {"accused": KEY, "kind": kind, "first": signed(first), "second": signed(second)}
    yield {"accused": KEY, "kind": "invalid_record", "batch": signed(header), "records": records.hex()}
    certificate = accepted("CommitCert")[0]
    yield {
        "accused": KEY,
        "kind": "other_exec",
        "first": signed(certificate[:79] + b"\xff"),
        "certificate": certificate.hex(),
    }
    yield {"accused": KEY, "kind": "ticket", "ticket": signed(bytes(56))}


def records(envelope):
    """Envelopes without a signature, made of one of `inference/commit`, one of each action."""
    envelope = {name: value for name, value in envelope.items() if name != "signature"}
    envelope["sender"] = envelope["sender"] | {"public_key": KEY}
    yield canonical(envelope)
    for action, data in [*ACTIONS, *(("evidence/file", data) for data in evidence())]:
        yield canonical(envelope | {"payload": envelope["payload"] | {"action": action, "data": data}})


def wire():
    """Messages, questions, answers and frames."""
    for tag, name in MESSAGES.items():
        yield from (bytes([tag]) + sample for sample in accepted(name))
    for tag, name in ANSWERS.items():
        yield from (bytes([tag]) + sample for sample in accepted(name))
    batches, block, certificate = accepted("SignedBatch"), accepted("Block")[0], accepted("Certificate")[0]
    lists = little(len(batches), 4) + b"".join(batches)
    yield b"\1" + lists
    yield b"\3" + little(1, 4) + block + lists + certificate
    for tag, size in [(1, 80), (2, 32), (3, 40), (4, 8), (6, 106)]:
        yield bytes([tag]) + bytes(size)
    for body in [b"\0message", b"\1" + bytes(24), b"\2" + bytes(52)]:
        yield body
        yield little(len(body), 4) + body


def disk():
    """A safety record of a validator that has said nothing, an ended era, evidence and an export."""
    committee, certificate = accepted("Committee")[0], accepted("Certificate")[0]
    block, exec_fields, batch = accepted("Block")[0], accepted("ExecFields")[0], accepted("SignedBatch")[0]
    yield bytes(21) + accepted("Qc")[0] + b"\0"
    yield little(1, 8) + committee + certificate
    for tag, first, second in [
        (1, "SignedVote", "SignedVote"),
        (2, "SignedCommitVote", "SignedCommitVote"),
        (3, "SignedTimeout", "SignedTimeout"),
        (4, "SignedProposal", "SignedProposal"),
        (5, "SignedBatch", "SignedBatch"),
        (6, "SignedCommitVote", "SignedTimeout"),
        (7, "SignedCommitVote", "CommitCert"),
    ]:
        yield bytes([tag]) + accepted(first)[0] + accepted(second)[0]
    count = int.from_bytes(batch[BATCH_HEADER_SIZE + 64 :][:4], "little")
    frames = [
        b"\1" + block + exec_fields,
        b"\2" + batch + little(count, 4) + bytes([1, 0]) * count,
        b"\3" + certificate,
        b"\4" + bytes(40),
    ]
    yield b"bizra-ex" + little(1, 2) + bytes(32) + b"".join(little(len(it), 4) + it for it in frames)
    yield from frames


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
        yield "record", text.encode()
    for sample in records(json.loads(pci["cases"][0]["canonical"])):
        yield "record", sample
    for data in evidence():
        yield "evidence", canonical(data)
    for sample in wire():
        yield "wire", sample
    for sample in disk():
        yield "disk", sample
    for size in range(ENTRY_SIZES_MAX):
        yield "entries", bytes(size)
        yield "entries", b"\1" * size
    for text in [UUID, PATTERN["pattern_id"], "2026-01-31T12:00:00.123Z", PEER_ID]:
        yield "forms", text.encode()
    for path in sorted((ROOT / "configs" / "opa").glob("*.rego")):
        yield "policy", path.read_bytes()
    for entry in json.loads((ROOT / "clients" / "vectors" / "policy.json").read_text()):
        yield "policy", entry["policy"].encode()
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
