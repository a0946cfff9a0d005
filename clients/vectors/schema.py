"""The SCHEMA gate as a second reader of the rules: which member of an envelope is wrong, and what was expected.

Used to check the vectors and the demonstration records, so it is written apart from the node. It takes values
that a strict JSON reader has read from canonical text; standard library only.
"""

import datetime
import re

SIGNED_FIELDS = ["version", "envelope_id", "timestamp", "nonce", "sender", "payload", "metadata"]
PAT_ACTIONS = {
    "inference/commit",
    "session/close",
    "pattern/propagate",
    "identity/register",
    "identity/rotate",
}
SAT_ACTIONS = {"governance/propose", "governance/vote", "pattern/elevate", "release/attest"}
EITHER_ACTIONS = {"evidence/file", "identity/revoke"}
CHAINLESS_ACTIONS = {"inference/commit", "pattern/propagate"}
METADATA_EXTRA_MAX = 8
TRANSITIONS = "init activate compute validate commit suspend resume fail recover terminate branch merge rollback".split()
OPERATION_KINDS = (
    "chat generate_content text_completion embeddings execute_tool invoke_agent retrieval other".split()
)
OPERATIONS = "infer read write edit shell network tool".split()
FINISH_REASONS = "stop length content_filter tool_call error".split()
BUDGET_TIERS = "NANO MICRO MESO MACRO MEGA".split()


class Fault(ValueError):
    """One member that breaks a rule, named with what was expected."""


def check_envelope(envelope, chain_id):
    """Raises Fault for the first member that is not as PCI 1.0.0 demands on the chain `chain_id`."""
    members(
        envelope,
        "envelope",
        {
            "version": one_of(["1.0.0"]),
            "envelope_id": uuid_v4,
            "timestamp": timestamp,
            "nonce": hexadecimal(32),
            "sender": check_sender,
            "payload": check_payload,
            "metadata": check_metadata,
            "signature": check_signature,
        },
    )
    action, on_chain = envelope["payload"]["action"], envelope["metadata"].get("chain_id")
    expect(on_chain in (None, chain_id), "metadata.chain_id", "this chain")
    expect(on_chain or action in CHAINLESS_ACTIONS, "metadata.chain_id", f"present with {action}")


def role_fits(envelope):
    """Whether the sender's kind may send the action at all."""
    action, kind = envelope["payload"]["action"], envelope["sender"]["agent_type"]
    if action in EITHER_ACTIONS:
        return True
    return (action in SAT_ACTIONS) == (kind == "SAT")


def check_sender(value, where):
    rules = {
        "agent_type": one_of(["PAT", "SAT"]),
        "agent_id": text(256),
        "public_key": hexadecimal(32),
    }
    members(value, where, rules)


def check_payload(value, where):
    rules = {"action": text(256), "data": anything, "policy_hash": hexadecimal(32)}
    members(value, where, rules, {"state_hash": hexadecimal(32)})
    action = value["action"]
    known = action in PAT_ACTIONS | SAT_ACTIONS | EITHER_ACTIONS or action.startswith("market/")
    expect(known, f"{where}.action", "a known action")
    if action == "inference/commit":
        check_inference(value["data"], f"{where}.data")


def check_metadata(value, where):
    known = {
        "ihsan_score": share,
        "snr_score": share,
        "urgency": one_of(["REAL_TIME", "NEAR_REAL_TIME", "BATCH", "DEFERRED"]),
        "chain_id": hexadecimal(32),
    }
    expect(isinstance(value, dict) and "ihsan_score" in value, where, "an object with ihsan_score")
    extra = value.keys() - known.keys()
    expect(len(extra) <= METADATA_EXTRA_MAX, where, f"at most {METADATA_EXTRA_MAX} other members")
    for name, item in value.items():
        expect(re.fullmatch("[a-z0-9_]{1,32}", name), where, f"[a-z0-9_]{{1,32}} where {name!r} stands")
        known.get(name, scalar)(item, f"{where}.{name}")


def check_signature(value, where):
    rules = {
        "algorithm": one_of(["ed25519"]),
        "value": hexadecimal(64),
        "signed_fields": one_of([SIGNED_FIELDS]),
    }
    members(value, where, rules)


def check_inference(value, where="data"):
    """Raises Fault for the first member of an `inference/commit` that is missing, unknown or malformed."""
    rules = {
        "session_id": uuid,
        "transition": one_of(TRANSITIONS),
        "parents": list_of(hexadecimal(32)),
        "model": fields(
            name=text(128),
            digest=hexadecimal(32),
            evidence=one_of(["configured_claim", "host_verified"]),
        ),
        "tier": one_of(["EDGE", "LOCAL", "POOL"]),
        "input_commitment": hexadecimal(32),
        "output_commitment": hexadecimal(32),
        "operation": one_of(OPERATION_KINDS),
        "operations": list_of(one_of(OPERATIONS)),
        "intent": list_of(one_of(OPERATIONS)),
        "parameters_digest": hexadecimal(32),
        "usage": fields(input_tokens=count, output_tokens=count),
        "started_at": timestamp,
        "finished_at": timestamp,
        "finish_reason": one_of(FINISH_REASONS),
        "trace_id": hexadecimal(16),
        "fate": fields(f=share, a=share, t=share, e=share),
        "flags": fields(personal_data=boolean, toxicity=boolean, violation=boolean),
        "budget": fields(
            tier=one_of(BUDGET_TIERS),
            depth=count,
            tracks=count,
            retries=count,
            entropy=share,
            knowledge_gap=share,
            mean_snr=share,
        ),
    }
    members(value, where, rules, {"rationale_commitment": hexadecimal(32)})


def members(value, where, required, optional=None):
    optional = optional or {}
    expect(isinstance(value, dict), where, "an object")
    for name in required.keys() - value.keys():
        raise Fault(f"{where}.{name}: missing")
    for name, item in value.items():
        rule = required.get(name) or optional.get(name)
        expect(rule, f"{where}.{name}", "no such member")
        rule(item, f"{where}.{name}")


def fields(**rules):
    return lambda value, where: members(value, where, rules)


def list_of(rule):
    def check(value, where):
        expect(isinstance(value, list), where, "a list")
        for index, item in enumerate(value):
            rule(item, f"{where}[{index}]")

    return check


def one_of(allowed):
    return lambda value, where: expect(value in allowed, where, f"one of {allowed}")


def text(bytes_max):
    def check(value, where):
        fits = isinstance(value, str) and 0 < len(value.encode()) <= bytes_max
        expect(fits, where, f"1 to {bytes_max} bytes of text")

    return check


def hexadecimal(size):
    def check(value, where):
        good = isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value)
        expect(good, where, f"{2 * size} lower-case hex digits")

    return check


def uuid(value, where):
    good = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value)
    expect(good, where, "a lower-case UUID")


def uuid_v4(value, where):
    uuid(value, where)
    expect(value[14] == "4" and value[19] in "89ab", where, "a UUID of version 4")


def timestamp(value, where):
    good = isinstance(value, str) and re.fullmatch(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z", value
    )
    expect(good, where, "an RFC 3339 time with Z and up to 9 fraction digits")
    try:
        datetime.datetime.fromisoformat(value[:19])
    except ValueError:
        raise Fault(f"{where}: expected a time that exists") from None


def timestamp_ns(value):
    """Nanoseconds since 1970 of a well-formed timestamp."""
    whole = datetime.datetime.fromisoformat(value[:19] + "+00:00")
    fraction = value[20:-1] if value[19] == "." else ""
    return int(whole.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


def share(value, where):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    expect(number and 0 <= value <= 1, where, "a number from 0 to 1")


def count(value, where):
    number = isinstance(value, int) and not isinstance(value, bool)
    expect(number and value >= 0, where, "a whole number from 0")


def boolean(value, where):
    expect(isinstance(value, bool), where, "true or false")


def scalar(value, where):
    if isinstance(value, str):
        text(64)(value, where)
    else:
        expect(isinstance(value, (bool, int, float)), where, "a scalar")


def anything(value, where):
    expect(value is not None and value != "", where, "a value")


def expect(good, where, what):
    if not good:
        raise Fault(f"{where}: expected {what}")
