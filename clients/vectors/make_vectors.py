"""Writes pci.json, the vectors that every implementation of PCI 1.0.0 reads. Deterministic: fixed seeds only.

    pip install blake3 cryptography
    python make_vectors.py            writes pci.json
    python make_vectors.py --check    fails if pci.json is not what would be written

Each verdict below is stated by hand; the script refuses to write one that schema.py and ed25519.py, a second
reading of the same rules, do not share.
"""

import copy
import json
import sys
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import ed25519
import schema
import strict

HERE = Path(__file__).parent
pci = strict.pci

DIGEST_PREFIX = b"bizra-pci-v1:"
CHAIN_ID = blake3(b"bizra pci vectors: chain").hexdigest()
TIMESTAMP = "2026-01-15T12:00:00.000Z"
TIMESTAMP_MS = 1768478400000
SKEW_MS_MAX = 120_000
NAMES = {1: "SCHEMA", 2: "SIGNATURE", 4: "STALE", 5: "FUTURE", 11: "ROLE"}
ABOUT = [
    "Vectors of PCI 1.0.0, made by make_vectors.py. Hex is lower case; strings are UTF-8.",
    "jcs: `text` in; `canonical` is its RFC 8785 form, null if a strict reader refuses it; `blake3` is the hash of",
    "  the canonical bytes, `digest` the same with the prefix `bizra-pci-v1:`; `signature` with RFC 8032 test key 1.",
    "cases: `envelope_bytes` (or, where that is no UTF-8, `envelope_hex`) is submitted to the chain `chain_id` at",
    "  `admitted_at_ms`; `verdict` is that of the static gates SCHEMA, SIGNATURE, TIMESTAMP (120 s either way) and",
    "  ROLE, in this order: accepted, or the first failure. `canonical` (the whole envelope) and `digest` are null",
    "  where the verdict is SCHEMA; `seed` is there when an honest signer made the signature.",
    "signatures: `signature` of `public_key` over the raw bytes of `message`, and whether ZIP 215 takes it. The",
    "  names are the numbers of `Taming the many EdDSAs`. PCI refuses keys of small order beside this rule.",
]
cases = []


def seed(name):
    return blake3(b"bizra pci vectors: key " + name.encode()).digest()


ALICE = seed("alice")


def public_key(key):
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex()


def hexadecimal(name, size=32):
    return blake3(b"bizra pci vectors: " + name.encode()).digest(size).hex()


def unsigned(changes=None, key=ALICE):
    """An inference/commit of Alice; `changes` maps dotted paths to values, or to DROP."""
    envelope = {
        "version": "1.0.0",
        "envelope_id": "6b1d5a52-8f0e-4c1b-9f5e-0a4c7f3c2d10",
        "timestamp": TIMESTAMP,
        "nonce": hexadecimal("nonce"),
        "sender": {"agent_type": "PAT", "agent_id": "alice", "public_key": public_key(key)},
        "payload": {
            "action": "inference/commit",
            "data": {
                "session_id": "0d9c7a34-6f0b-4d52-8a57-2b8f1f6f9f11",
                "transition": "commit",
                "parents": [],
                "model": {"name": "m", "digest": hexadecimal("model"), "evidence": "host_verified"},
                "tier": "EDGE",
                "input_commitment": hexadecimal("input"),
                "output_commitment": hexadecimal("output"),
                "operation": "chat",
                "operations": ["infer"],
                "intent": ["infer"],
                "parameters_digest": hexadecimal("parameters"),
                "usage": {"input_tokens": 12, "output_tokens": 34},
                "started_at": "2026-01-15T11:59:58.1Z",
                "finished_at": "2026-01-15T11:59:59Z",
                "finish_reason": "stop",
                "trace_id": hexadecimal("trace", 16),
                "fate": {"f": 1, "a": 1, "t": 0.9, "e": 0.96},
                "flags": {"personal_data": False, "toxicity": False, "violation": False},
                "budget": {
                    "tier": "NANO",
                    "depth": 1,
                    "tracks": 1,
                    "retries": 0,
                    "entropy": 0.25,
                    "knowledge_gap": 0,
                    "mean_snr": 0.96,
                },
            },
            "policy_hash": hexadecimal("policy"),
        },
        "metadata": {"ihsan_score": 0.97, "snr_score": 0.96, "urgency": "BATCH"},
    }
    return change(envelope, changes)


DROP = object()


def change(envelope, changes):
    envelope = copy.deepcopy(envelope)
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place = envelope
        for name in parents:
            place = place[name]
        if value is DROP:
            del place[last]
        else:
            place[last] = value
    return envelope


def signed(changes=None, key=ALICE):
    return pci.sign(unsigned(changes, key), key)


def canonical_text(envelope):
    return pci.canonical(envelope).decode()


def spelled(envelope, replacements, count=1):
    """The canonical text with some of its bytes spelled otherwise; each must be there."""
    text = canonical_text(envelope)
    for old, new in replacements.items():
        assert text.count(old) >= 1, old
        text = text.replace(old, new, count)
    return text


def case(name, text, verdict, admitted_at_ms=TIMESTAMP_MS + 1500, key=ALICE):
    """Adds a case; `verdict` is 0 for accepted or a code. `text`: an envelope, its text, or bytes."""
    text = canonical_text(text) if isinstance(text, dict) else text
    raw = text.encode() if isinstance(text, str) else text
    assert name not in [known["name"] for known in cases], name
    entry = {"name": name, "envelope_bytes": text if isinstance(text, str) else None}
    if isinstance(text, bytes):
        entry["envelope_hex"] = raw.hex()
    try:
        envelope = strict.parse(raw)
        public, value = envelope["sender"]["public_key"], envelope["signature"]["value"]
    except (ValueError, KeyError, TypeError):
        envelope, public, value = None, None, None
    judged = reference_verdict(raw, admitted_at_ms)
    assert judged == verdict, f"{name}: stated {verdict}, by the second reading {judged}"
    shown = envelope if verdict != 1 else None
    entry |= {
        "canonical": canonical_text(shown) if shown else None,
        "digest": pci.digest(shown).hex() if shown else None,
        "signature": value,
        "public_key": public,
        "admitted_at_ms": admitted_at_ms,
        "verdict": {"code": verdict, "name": NAMES[verdict]} if verdict else "accepted",
    }
    if shown and public_key(key) == public and pci.sign(shown, key)["signature"]["value"] == value:
        entry["seed"] = key.hex()
    cases.append(entry)


def reference_verdict(raw, admitted_at_ms):
    try:
        # Numbers are judged as their canonical text has them, so 12.0 is a whole number.
        envelope = json.loads(pci.canonical(strict.parse(raw)))
        assert len(raw) <= 65536, "over 64 KiB"
        schema.check_envelope(envelope, CHAIN_ID)
    except (ValueError, AssertionError):
        return 1
    key = bytes.fromhex(envelope["sender"]["public_key"])
    value = bytes.fromhex(envelope["signature"]["value"])
    if ed25519.is_small_order(key) or not ed25519.verify(key, pci.digest(envelope), value):
        return 2
    skew_ns = schema.timestamp_ns(envelope["timestamp"]) - admitted_at_ms * 10**6
    if abs(skew_ns) > SKEW_MS_MAX * 10**6:
        return 5 if skew_ns > 0 else 4
    return 0 if schema.role_fits(envelope) else 11


def spelling_cases():
    plain = signed()
    case("canonical text", plain, 0)
    case("indented", json.dumps(plain, indent=2), 0)
    case("members in another order", json.dumps(dict(reversed(plain.items()))), 0)
    case("white space around", " \t\r\n" + canonical_text(plain) + "\n", 0)
    case("escaped letters", spelled(plain, {'"alice"': r'"\u0061lic\u0065"'}), 0)
    case("escaped solidus", spelled(plain, {"inference/commit": r"inference\/commit"}), 0)
    case("escaped member name", spelled(plain, {'"nonce"': r'"\u006eonce"'}), 0)
    case(
        "numbers with zeros and exponents",
        spelled(plain, {"0.97": "9.70e-1", "0.25": "0.2500", ":12,": ":12.0,"}),
        0,
    )
    case("a number with an upper-case exponent", spelled(plain, {"0.97": "97E-2", ":34}": ":3.4e+1}"}), 0)
    case(
        "a score that rounds to one",
        spelled(signed({"metadata.ihsan_score": 1}), {'ihsan_score":1': 'ihsan_score":1.00000000000000001'}),
        0,
    )
    case(
        "a score that rounds to zero",
        spelled(signed({"metadata.snr_score": 0}), {'snr_score":0': 'snr_score":1e-400'}),
        0,
    )
    case("negative zero", spelled(signed({"metadata.snr_score": 0}), {'snr_score":0': 'snr_score":-0'}), 0)
    case(
        "negative zero with an exponent",
        spelled(signed({"metadata.snr_score": 0}), {'snr_score":0': 'snr_score":-0.0e5'}),
        0,
    )
    case("surrogate pair escaped", spelled(signed({"sender.agent_id": "a😀"}), {"a😀": r"a\uD83D\uDE00"}), 0)
    case("text beyond the basic plane", signed({"sender.agent_id": "العربية 漢字 😀"}), 0)
    case("line separator unescaped", signed({"sender.agent_id": "a\u2028b\u007f"}), 0)
    case("quotation mark and backslash", signed({"sender.agent_id": 'a"b\\c'}), 0)

    text = canonical_text(plain)
    case("empty", "", 1)
    case("null", "null", 1)
    case("a list", f"[{text}]", 1)
    case("a string", json.dumps(text), 1)
    case("cut short", text[:-1], 1)
    case("bytes after the envelope", text + "x", 1)
    case("two envelopes", text + text, 1)
    case("byte order mark", b"\xef\xbb\xbf" + text.encode(), 1)
    case("invalid utf-8", text.encode().replace(b"alice", b"alic\xff"), 1)
    case("overlong utf-8", text.encode().replace(b"alice", b"alic\xc1\xa5"), 1)
    case("utf-8 encoded surrogate", text.encode().replace(b"alice", b"alic\xed\xa0\x80"), 1)
    case("nul after the envelope", text + "\0", 1)
    case("duplicate member", spelled(plain, {'"version":"1.0.0"': '"version":"1.0.0","version":"1.0.0"'}), 1)
    case("duplicate member, other value first", spelled(plain, {'"nonce":': '"nonce":"00","nonce":'}), 1)
    case(
        "duplicate member by escape", spelled(plain, {'"version":': '"v\\u0065rsion":"1.0.0","version":'}), 1
    )
    case("duplicate member in data", spelled(plain, {'"tier":"EDGE"': '"tier":"EDGE","tier":"EDGE"'}), 1)
    case("duplicate member in metadata", spelled(plain, {'"urgency"': '"snr_score":0.96,"urgency"'}), 1)
    case("lone high surrogate", spelled(plain, {'"alice"': r'"a\ud83d"'}), 1)
    case("lone low surrogate", spelled(plain, {'"alice"': r'"a\ude00"'}), 1)
    case("surrogates reversed", spelled(plain, {'"alice"': r'"\ude00\ud83d"'}), 1)
    case("high surrogate and a letter", spelled(plain, {'"alice"': r'"\ud83d\u0061"'}), 1)
    case("lone surrogate in a member name", spelled(plain, {'"urgency"': r'"\ud800":1,"urgency"'}), 1)
    case("raw control character", spelled(plain, {'"alice"': '"al\nice"'}), 1)
    case("unknown escape", spelled(plain, {'"alice"': r'"\alice"'}), 1)
    case("short unicode escape", spelled(plain, {'"alice"': r'"alic\u65"'}), 1)
    case("comment", spelled(plain, {"{": "{/**/"}), 1)
    case("trailing comma", text[:-1] + ",}", 1)
    case("single quotes", text.replace('"', "'"), 1)
    for wrong in ["01", "+1", ".5", "1.", "1e", "0x1", "NaN", "Infinity", "-", "1_0", "True"]:
        case(f"number spelled {wrong}", spelled(plain, {'"snr_score":0.96': f'"snr_score":{wrong}'}), 1)
    case("depth of 33", spelled(plain, {'"parents":[]': '"parents":' + "[" * 30 + "]" * 30}), 1)
    case("depth of 5000", "[" * 5000 + "]" * 5000, 1)
    case("over 64 KiB", signed({"payload.data.parents": [f"{number:064x}" for number in range(980)]}), 1)


def number_cases():
    def extra(number):
        return spelled(signed({"metadata.extra": 4711}), {"4711": number})

    largest = 2**53 - 1
    for number in [
        largest,
        -largest,
        5e-324,
        2.2250738585072014e-308,
        1e-7,
        0.000001,
        0.1,
        4.35,
        1e15,
        123456789.125,
    ]:
        case(f"number {canonical_text(number)}", signed({"metadata.extra": number}), 0)
    case(
        "number that rounds to 2^53-1",
        spelled(signed({"metadata.extra": largest}), {str(largest): f"{largest}.25"}),
        0,
    )
    for number in [
        "9007199254740992",
        "-9007199254740992",
        "9007199254740993",
        "9007199254740991.5",
        "1e16",
        "1e308",
        "1e400",
        "-1e400",
        "1" + "0" * 400,
    ]:
        case(f"number {number[:24]} refused", extra(number), 1)


def form_cases():
    def ok(name, changes, **more):
        case(name, signed(changes), 0, **more)

    def bad(name, changes):
        case(name, signed(changes), 1)

    bad("other version", {"version": "1.0.1"})
    bad("version as a number", {"version": 1})
    bad("uuid of version 1", {"envelope_id": "6b1d5a52-8f0e-1c1b-9f5e-0a4c7f3c2d10"})
    bad("uuid of version 7", {"envelope_id": "6b1d5a52-8f0e-7c1b-9f5e-0a4c7f3c2d10"})
    bad("uuid of another variant", {"envelope_id": "6b1d5a52-8f0e-4c1b-cf5e-0a4c7f3c2d10"})
    bad("nil uuid", {"envelope_id": "00000000-0000-0000-0000-000000000000"})
    bad("upper-case uuid", {"envelope_id": "6B1D5A52-8F0E-4C1B-9F5E-0A4C7F3C2D10"})
    bad("uuid in braces", {"envelope_id": "{6b1d5a52-8f0e-4c1b-9f5e-0a4c7f3c2d10}"})
    bad("uuid without dashes", {"envelope_id": "6b1d5a528f0e4c1b9f5e0a4c7f3c2d10"})
    bad("nonce of 31 bytes", {"nonce": "00" * 31})
    bad("upper-case nonce", {"nonce": "AB" * 32})
    bad("nonce with a prefix", {"nonce": "0x" + "00" * 31})
    bad("null member", {"payload.state_hash": None})
    bad("null required member", {"nonce": None})
    bad("empty string", {"sender.agent_id": ""})
    ok("agent_id of 256 bytes", {"sender.agent_id": "é" * 128})
    bad("agent_id of 257 bytes", {"sender.agent_id": "é" * 128 + "x"})
    bad("agent_type in lower case", {"sender.agent_type": "pat"})
    bad("unknown agent_type", {"sender.agent_type": "BOT"})
    bad("unknown member at the top", {"extra": 1})
    bad("unknown member of sender", {"sender.name": "alice"})
    bad("unknown member of payload", {"payload.note": "x"})
    bad("unknown member of data", {"payload.data.prompt": "what?"})
    bad("unknown member of model", {"payload.data.model.path": "x"})
    for member in pci.SIGNED_FIELDS:
        bad(f"without {member}", {member: DROP})
    case("without signature", unsigned(), 1)
    bad("without policy_hash", {"payload.policy_hash": DROP})
    bad("policy_hash that is no hash", {"payload.policy_hash": "latest"})
    ok("with state_hash", {"payload.state_hash": hexadecimal("state")})
    bad("unknown action", {"payload.action": "inference/rollback"})
    bad("action in another case", {"payload.action": "Inference/Commit"})
    bad("data is a string", {"payload.data": "inference"})
    bad(
        "action that needs the chain",
        {"payload.action": "session/close", "payload.data": {"session_id": "x"}},
    )

    ok("with this chain", {"metadata.chain_id": CHAIN_ID})
    bad("another chain", {"metadata.chain_id": hexadecimal("another chain")})
    bad("upper-case chain", {"metadata.chain_id": CHAIN_ID.upper()})
    ok("without urgency", {"metadata.urgency": DROP})
    bad("unknown urgency", {"metadata.urgency": "SOON"})
    bad("without ihsan_score", {"metadata.ihsan_score": DROP})
    bad("score as a string", {"metadata.ihsan_score": "0.97"})
    bad("score as a boolean", {"metadata.ihsan_score": True})
    ok("score of one", {"metadata.ihsan_score": 1})
    ok("score just below one", {"metadata.ihsan_score": 0.9999999999999999})
    bad("score just above one", {"metadata.ihsan_score": 1.0000000000000002})
    bad("score below zero", {"metadata.snr_score": -5e-324})
    eight = {f"metadata.extra_{number}": number for number in range(8)}
    ok("eight other members of metadata", eight)
    bad("nine other members of metadata", eight | {"metadata.ninth": 9})
    ok("metadata key of 32 bytes", {"metadata." + "k" * 32: True})
    bad("metadata key of 33 bytes", {"metadata." + "k" * 33: True})
    bad("metadata key in upper case", {"metadata.Extra": True})
    bad("metadata key beyond the basic plane", {"metadata.😀": True})
    bad("empty metadata key", {"metadata.": True})
    ok("metadata text of 64 bytes", {"metadata.extra": "😀" * 16})
    bad("metadata text of 65 bytes", {"metadata.extra": "😀" * 16 + "x"})
    bad("metadata object", {"metadata.extra": {"a": 1}})
    bad("metadata list", {"metadata.extra": [1]})
    bad("metadata null", {"metadata.extra": None})
    bad("metadata empty text", {"metadata.extra": ""})

    data = "payload.data."
    bad("session_id that is no uuid", {data + "session_id": "session-1"})
    bad("unknown transition", {data + "transition": "jump"})
    ok("a parent", {data + "parents": [hexadecimal("parent")]})
    bad("parent that is no digest", {data + "parents": ["first"]})
    ok("model name of 128 bytes", {data + "model.name": "m" * 128})
    bad("model name of 129 bytes", {data + "model.name": "m" * 129})
    bad("unknown evidence", {data + "model.evidence": "trust_me"})
    bad("unknown tier", {data + "tier": "CLOUD"})
    bad("upper-case commitment", {data + "input_commitment": "AA" * 32})
    bad("without output_commitment", {data + "output_commitment": DROP})
    ok("with rationale_commitment", {data + "rationale_commitment": hexadecimal("rationale")})
    bad("unknown operation", {data + "operation": "daydream"})
    bad("operations with an unknown one", {data + "operations": ["infer", "fly"]})
    bad("operations as text", {data + "operations": "infer"})
    bad("half a token", {data + "usage.input_tokens": 0.5})
    bad("negative tokens", {data + "usage.output_tokens": -1})
    bad("started_at without a zone", {data + "started_at": "2026-01-15T11:59:58"})
    bad("unknown finish_reason", {data + "finish_reason": "done"})
    bad("trace_id of 8 bytes", {data + "trace_id": "00" * 8})
    bad("fate above one", {data + "fate.f": 1.1})
    bad("fate without e", {data + "fate.e": DROP})
    bad("flag as a number", {data + "flags.toxicity": 0})
    bad("unknown flag", {data + "flags.spam": False})
    bad("unknown budget tier", {data + "budget.tier": "GIGA"})
    bad("budget entropy above one", {data + "budget.entropy": 1.5})


def time_cases():
    def at(name, timestamp, verdict, admitted_at_ms=TIMESTAMP_MS):
        case(name, signed({"timestamp": timestamp}), verdict, admitted_at_ms)

    at("time without a fraction", "2026-01-15T12:00:00Z", 0)
    at("time with nine digits", "2026-01-15T12:00:00.000000001Z", 0)
    at("time with ten digits", "2026-01-15T12:00:00.0000000001Z", 1)
    at("time with a dot alone", "2026-01-15T12:00:00.Z", 1)
    at("time with an offset", "2026-01-15T12:00:00+00:00", 1)
    at("time with a small z", "2026-01-15T12:00:00z", 1)
    at("time with a space", "2026-01-15 12:00:00Z", 1)
    at("time in the basic format", "20260115T120000Z", 1)
    at("leap second", "2016-12-31T23:59:60Z", 1, 1483228800000)
    at("leap day", "2028-02-29T00:00:00Z", 0, 1835395200000)
    at("leap day in a common year", "2026-02-29T00:00:00Z", 1, 1772323200000)
    at("hour 24", "2026-01-14T24:00:00Z", 1, 1768435200000)
    at("month 13", "2026-13-01T00:00:00Z", 1)
    case("120 s old", signed(), 0, TIMESTAMP_MS + 120_000)
    case("120.001 s old", signed(), 4, TIMESTAMP_MS + 120_001)
    case("120 s ahead", signed(), 0, TIMESTAMP_MS - 120_000)
    case("120.001 s ahead", signed(), 5, TIMESTAMP_MS - 120_001)


def signature_cases():
    def with_signature(changes):
        return change(signed(), {f"signature.{name}": value for name, value in changes.items()})

    value = signed()["signature"]["value"]
    fields = pci.SIGNED_FIELDS
    case("algorithm in another case", with_signature({"algorithm": "Ed25519"}), 1)
    case("upper-case signature", with_signature({"value": value.upper()}), 1)
    case("short signature", with_signature({"value": value[:-2]}), 1)
    case(
        "signed_fields in another order",
        with_signature({"signed_fields": [fields[1], fields[0], *fields[2:]]}),
        1,
    )
    case("signed_fields without one", with_signature({"signed_fields": fields[:-1]}), 1)
    case("signed_fields with the signature", with_signature({"signed_fields": [*fields, "signature"]}), 1)
    case("unknown member of signature", with_signature({"key_id": "1"}), 1)
    case("upper-case public key", signed({"sender.public_key": public_key(ALICE).upper()}), 1)

    case(
        "another's signature",
        change(signed(), {"signature.value": pci.sign(unsigned(), seed("bob"))["signature"]["value"]}),
        2,
    )
    case("one bit of the signature", with_signature({"value": f"{int(value[0], 16) ^ 1:x}{value[1:]}"}), 2)
    case("all-zero signature", with_signature({"value": "00" * 64}), 2)
    case("changed after signing", change(signed(), {"metadata.ihsan_score": 0.98}), 2)
    case(
        "signature over the hex of the digest",
        with_signature({"value": sign_bytes(pci.digest(unsigned()).hex().encode())}),
        2,
    )
    bare = blake3(pci.canonical(unsigned())).digest()
    case("signature without the prefix", with_signature({"value": sign_bytes(bare)}), 2)
    no_point = next(n for n in range(2, 99) if ed25519.decode(n.to_bytes(32, "little")) is None)
    case("key that is no point", signed({"sender.public_key": no_point.to_bytes(32, "little").hex()}), 2)

    torsion = ed25519.torsion_generator()
    encodings = {ed25519.encode(ed25519.multiply(n, torsion)) for n in range(8)}
    for y in (0, 1, ed25519.PRIME - 1):
        for spelling in (y, y + ed25519.PRIME):
            if spelling < 2**255:
                encodings |= {(spelling | sign << 255).to_bytes(32, "little") for sign in (0, 1)}
    assert len(encodings) == 14 and all(map(ed25519.is_small_order, encodings))
    for number, encoding in enumerate(sorted(encodings)):
        zero = ed25519.encode(ed25519.IDENTITY).hex() + "00" * 32
        envelope = pci.sign(unsigned({"sender.public_key": encoding.hex()}), ALICE)
        envelope["signature"]["value"] = zero
        case(f"key of small order {number}", envelope, 2)

    case("inference of a SAT", signed({"sender.agent_type": "SAT"}), 11)
    case("schema before signature", change(signed({"version": "2"}), {"signature.value": "00" * 64}), 1)
    case("signature before time", change(signed(), {"signature.value": "00" * 64}), 2, 0)
    case("time before role", signed({"sender.agent_type": "SAT"}), 4, TIMESTAMP_MS + 10**6)


def sign_bytes(message):
    return Ed25519PrivateKey.from_private_bytes(ALICE).sign(message).hex()


def edge_cases():
    """The twelve of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko 2020), made anew over envelopes.

    The nonce is counted up until the torsion parts of R and h·A are as the row of the paper asks.
    """
    torsion, base, order = ed25519.torsion_generator(), ed25519.BASE, ed25519.ORDER
    a, r = (int.from_bytes(seed(name), "little") % order for name in ("edge a", "edge r"))
    multiple = [ed25519.multiply(number, torsion) for number in range(8)]
    a_pure, r_pure = ed25519.multiply(a, base), ed25519.multiply(r, base)
    a_mixed, r_mixed = ed25519.add(a_pure, torsion), ed25519.add(r_pure, multiple[3])
    odd_minus_one = (ed25519.PRIME - 1 | 1 << 255).to_bytes(32, "little")  # (0, -1) with the sign of no x
    minus_one = ed25519.encode(multiple[4])
    encode = ed25519.encode
    # number: key bytes, R bytes, what the hash sees of both, secret of the key, secret of R,
    # multiples of the torsion point in key and R, added to S, ZIP 215, without cofactor
    rows = {
        0: (encode(torsion), encode(multiple[3]), None, None, 0, 0, 1, 3, 0, True, True),
        1: (encode(torsion), encode(r_mixed), None, None, 0, r, 1, 3, 0, True, True),
        2: (encode(a_mixed), encode(multiple[3]), None, None, a, 0, 1, 3, 0, True, True),
        3: (encode(a_mixed), encode(r_mixed), None, None, a, r, 1, 3, 0, True, True),
        4: (encode(a_mixed), encode(r_mixed), None, None, a, r, 1, 3, 0, True, False),
        5: (encode(a_mixed), encode(r_pure), None, None, a, r, 1, 0, 0, True, False),
        6: (encode(a_pure), encode(r_pure), None, None, a, r, 0, 0, order, False, True),
        7: (encode(a_pure), encode(r_pure), None, None, a, r, 0, 0, 14 * order, False, True),
        8: (encode(a_mixed), odd_minus_one, None, minus_one, a, 0, 1, 4, 0, False, False),
        9: (encode(a_mixed), odd_minus_one, None, None, a, 0, 1, 4, 0, True, True),
        10: (
            odd_minus_one,
            encode(ed25519.add(r_pure, minus_point())),
            minus_one,
            None,
            0,
            r,
            4,
            4,
            0,
            True,
            None,
        ),
        11: (
            odd_minus_one,
            encode(ed25519.add(r_pure, minus_point())),
            None,
            None,
            0,
            r,
            4,
            4,
            0,
            True,
            True,
        ),
    }
    signatures = []
    for number, row in rows.items():
        key, r_bytes, key_hashed, r_hashed, a_secret, r_secret, a_part, r_part, added, zip215, plain = row
        for attempt in range(10_000):
            nonce = hexadecimal(f"edge {number} {attempt}")
            envelope = unsigned({"sender.public_key": key.hex(), "nonce": nonce})
            message = pci.digest(envelope)
            h = ed25519.challenge(r_hashed or r_bytes, key_hashed or key, message)
            residue = (r_part + h * a_part) % 8
            if number == 4 and residue == 0:
                continue
            # Row 5 must also fail for whoever reduces 8·h before multiplying.
            if number == 5 and (residue == 0 or 8 * h % order % 8 == 0):
                continue
            if number not in (4, 5) and residue != 0:
                continue
            break
        signature = r_bytes + ((r_secret + h * a_secret) % order + added).to_bytes(32, "little")
        assert ed25519.verify(key, message, signature) == zip215, number
        if plain is not None:
            assert ed25519.verify_without_cofactor(key, message, signature) == plain, number
        parts = {"algorithm": "ed25519", "value": signature.hex(), "signed_fields": pci.SIGNED_FIELDS}
        small = ed25519.is_small_order(key)
        case(f"edge {number}", {**envelope, "signature": parts}, 0 if zip215 and not small else 2)
        signatures.append(
            {
                "name": f"edge {number}",
                "message": message.hex(),
                "public_key": key.hex(),
                "signature": signature.hex(),
                "zip215": zip215,
            }
        )
    return signatures


def minus_point():
    return (0, ed25519.PRIME - 1)


def jcs_vectors():
    texts = {
        "published nested object": '{"a":1,"b":2,"c":{"y":25,"z":26}}',
        "published action": '{"action":"test","data":{}}',
        "white space and order": ' { "b" : [ 1 , true , null ] , "a" : "x" } ',
        "keys by utf-16 units": json.dumps(
            {k: k for k in ["\ufb33", "😀", "€", "ö", "\u0080", "1", "\r", "a", "A", "", "\uffff", "aa"]},
            ensure_ascii=False,
        ),
        "strings": r'["\u0000\u001f\b\t\n\f\r\"\\\/\u007f\u0080\u2028\u00e9\uD83D\uDE00<>&'
        + "'"
        + r'","e\u0301","é"]',
        "numbers": "[0,-0,0.0,-0.0e9,1,-1,1.0,10e-1,0.5,1e-6,1.5e-6,1e-7,-1e-7,1.25e-7,0.000001,1e15,123456789012345.6,"
        "9007199254740991,-9007199254740991,9007199254740991.25,9007199254740990.5,4503599627370495.5,5e-324,4.9406564584124654e-324,1e-400,2.2250738585072014e-308,"
        "1.7976931348623157e-300,0.1,0.2,0.30000000000000004,0.3,4.35,0.95,100,1E2,1e+2,333333333.3333333,"
        "0.1000000000000000055511151231257827021181583404541015625,9.5e-1,1.2345678901234567e-10,2.5e0]",
        "empty object": "{}",
        "empty list": "[]",
        "depth of 32": "[" * 32 + "]" * 32,
        "depth of 32, objects": '{"a":' * 31 + "{}" + "}" * 31,
        "depth of 33": "[" * 33 + "]" * 33,
        "depth of 33, objects": '{"a":' * 32 + "{}" + "}" * 32,
        "scalar below depth 32": "[" * 32 + "1" + "]" * 32,
        "beyond 2^53-1": "[9007199254740992]",
        "below -(2^53-1)": "[-9007199254740992]",
        "beyond 2^53-1 with an exponent": "[9.007199254740992e15]",
        "fraction that rounds beyond": "[9007199254740991.5]",
        "infinite": "[1e309]",
        "duplicate key": '{"a":1,"a":1}',
        "duplicate key by escape": '{"a":1,"\\u0061":2}',
        "duplicate key deep down": '[{"x":{"b":1,"a":2,"b":1}}]',
        "same key in two objects": '[{"a":1},{"a":1}]',
        "lone surrogate": '["\\ud800"]',
        "lone surrogate as a key": '{"\\udfff":1}',
        "control character": '["\t"]',
        "trailing bytes": "{}{}",
        "unclosed": "[1",
    }
    vectors = []
    for name, text in texts.items():
        try:
            value = strict.parse(text)
        except ValueError:
            vectors.append({"name": name, "text": text, "canonical": None})
            continue
        canonical = pci.canonical(value)
        digest = blake3(DIGEST_PREFIX + canonical).digest()
        vectors.append(
            {
                "name": name,
                "text": text,
                "canonical": canonical.decode(),
                "blake3": blake3(canonical).hexdigest(),
                "digest": digest.hex(),
            }
        )
        if name.startswith("published"):
            key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC_8032_SEED))
            vectors[-1] |= {"seed": RFC_8032_SEED, "signature": key.sign(digest).hex()}
    known = {vector["name"]: vector for vector in vectors}
    assert known["published nested object"]["digest"].startswith("40fb015001564b05")
    assert known["published nested object"]["signature"].startswith("abbeeefb329f0a31")
    assert known["published action"]["digest"].startswith("68221877d91dc7de")
    return vectors


RFC_8032_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"


def main():
    spelling_cases()
    number_cases()
    form_cases()
    time_cases()
    signature_cases()
    signatures = edge_cases()
    sections = {
        "about": ABOUT,
        "chain_id": CHAIN_ID,
        "jcs": jcs_vectors(),
        "cases": cases,
        "signatures": signatures,
    }
    parts = []
    for name, section in sections.items():
        if isinstance(section, list):
            lines = ",\n".join(json.dumps(item, ensure_ascii=True) for item in section)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(section)}")
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    file = HERE / "pci.json"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if file.read_text() == text else "pci.json is not what make_vectors.py writes")
    file.write_text(text)
    accepted = sum(case["verdict"] == "accepted" for case in cases)
    print(f"{len(cases)} cases, {accepted} accepted; {len(text)} bytes")


if __name__ == "__main__":
    main()
