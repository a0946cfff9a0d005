"""Signs and submits Proof-Carrying Inference records. One file; needs `pip install blake3 cryptography`.

    import pci
    client = pci.Client("http://localhost:8080", bytes.fromhex(seed), "my-agent")
    salt, input_commitment = pci.commit_to(prompt.encode())        # keep the salt: it opens the commitment
    data = {"session_id": ..., "transition": "commit", "parents": [], "input_commitment": ...}
    result = client.record(data, ihsan_score=0.97, snr_score=0.93, wait="final")
    if not result.ok:
        log.warning("not recorded: %s", result.error)              # your inference goes on
    proof = client.proof(result.digest).body                       # JSON; cbor=True gives bytes
    future = client.in_background(client.record, data, 0.97, 0.93) # does not wait at all

No method of `Client` but `envelope` raises: whatever goes wrong, also bad data, is in `Result.error`. `data`
has the members of an `inference/commit`. A client without `policy_hash` asks the node once which is in force.
"""

import argparse
import concurrent.futures
import json
import math
import pathlib
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIGNED_FIELDS = ["version", "envelope_id", "timestamp", "nonce", "sender", "payload", "metadata"]
DIGEST_PREFIX = b"bizra-pci-v1:"
INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 32
ANSWER_MAX = 16 << 20
BACKGROUND_MAX = 1024


def canonical(value):
    """The RFC 8785 bytes of a value. Raises ValueError for what a record cannot hold."""
    return _canonical(value, 1).encode("utf-8")  # a lone surrogate fails here, as a ValueError


def digest(envelope):
    """The 32 bytes that identify an envelope and that its sender signs."""
    unsigned = {name: value for name, value in envelope.items() if name != "signature"}
    return blake3(DIGEST_PREFIX + canonical(unsigned)).digest()


def sign(envelope, seed):
    """Adds the signature of the key with this 32-byte seed. Returns the whole envelope."""
    value = Ed25519PrivateKey.from_private_bytes(seed).sign(digest(envelope)).hex()
    signature = {"algorithm": "ed25519", "value": value, "signed_fields": SIGNED_FIELDS}
    return {**envelope, "signature": signature}


def public_key(seed):
    """The public key of a 32-byte seed, in hex."""
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def commit_to(content, salt=None):
    """Commits to bytes without showing them. Returns (salt, commitment in hex)."""
    salt = salt or secrets.token_bytes(32)
    return salt, blake3(content, key=salt).hexdigest()


@dataclass
class Result:
    """What came of a call: `ok` for a 2xx answer; `body` as the node sent it; else `error` says why not."""

    ok: bool
    error: str = ""
    status: int = 0  # of HTTP; 0 if there was no answer
    body: object = None
    digest: str = ""
    envelope: object = None  # what was signed: `Client.submit` may be given it again


class Client:
    """One sender at one node. Safe to share between threads; times are in seconds."""

    def __init__(self, endpoint, seed=None, agent_id="", policy_hash="", agent_type="PAT", timeout=10):
        self.endpoint, self.timeout = endpoint.rstrip("/"), timeout
        self.seed, self.agent_id, self.agent_type = seed, agent_id, agent_type
        self.policy_hash = policy_hash
        self._threads = concurrent.futures.ThreadPoolExecutor(1, "pci")
        self._room = threading.BoundedSemaphore(BACKGROUND_MAX)

    def envelope(self, data, ihsan_score, snr_score, action="inference/commit", urgency="BATCH", **metadata):
        """Builds and signs an envelope of now. Raises ValueError for data that has no canonical form,
        and whatever the network raises if the policy in force must be asked for first."""
        self.policy_hash = self.policy_hash or self._policy_in_force()
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        scores = {"ihsan_score": ihsan_score, "snr_score": snr_score, "urgency": urgency}
        unsigned = {
            "version": "1.0.0",
            "envelope_id": str(uuid.uuid4()),
            "timestamp": now.replace("+00:00", "Z"),
            "nonce": secrets.token_hex(32),
            "sender": {
                "agent_type": self.agent_type,
                "agent_id": self.agent_id,
                "public_key": public_key(self.seed),
            },
            "payload": {"action": action, "data": data, "policy_hash": self.policy_hash},
            "metadata": {**scores, **metadata},
        }
        return sign(unsigned, self.seed)

    def record(self, data, ihsan_score, snr_score, wait=None, **more):
        """Signs and submits in one call."""
        try:
            envelope = self.envelope(data, ihsan_score, snr_score, **more)
        except Exception as error:
            return Result(False, f"cannot sign: {error!r}")
        return self.submit(envelope, wait)

    def submit(self, envelope, wait=None):
        """Sends a signed envelope; `wait` is None (accepted) or "final". Repeating it is harmless."""
        try:
            body, name = canonical(envelope), digest(envelope).hex()
        except Exception as error:
            return Result(False, f"cannot encode: {error!r}")
        query = f"?wait={wait}" if wait else ""
        result = self._call(f"/v1/records{query}", body)
        result.digest, result.envelope = name, envelope
        return result

    def wait(self, digest, status="final", seconds=30):
        """Asks until the record has this status or is rejected, or the time is over."""
        end, pause = time.monotonic() + seconds, 0.05
        while True:
            result = self._call(f"/v1/records/{digest}")
            result.digest = digest
            reached = result.body.get("status") if isinstance(result.body, dict) else None
            if reached in (status, "final"):
                return result
            if reached == "rejected" or time.monotonic() + pause > end:
                result.ok = False
                result.error = result.error or f"{reached} where {status} was awaited: {result.body}"
                return result
            time.sleep(pause)
            pause = min(2 * pause, 1)

    def proof(self, digest, cbor=False):
        """Fetches the finality proof: a dictionary, or with `cbor` the bytes of the compact form."""
        return self._call(f"/v1/records/{digest}/proof", accept="application/cbor" if cbor else None)

    def params(self):
        """Fetches what a sender needs to know: chain, policies in force, limits."""
        return self._call("/v1/params")

    def _policy_in_force(self):
        params = self.params()
        if not params.ok:
            raise ValueError(f"no policy_hash given, and the node does not tell it: {params.error}")
        policies = params.body["policies"]
        # A chain without policies judges none; the member must still be 64 hex digits.
        return policies[0]["policy_hash"] if policies else "0" * 64

    def in_background(self, method, *arguments, **named):
        """Runs a method of this client on another thread, in order. Returns a Future of its Result."""
        if not self._room.acquire(blocking=False):
            full = concurrent.futures.Future()
            full.set_result(Result(False, f"{BACKGROUND_MAX} submissions are waiting already"))
            return full
        future = self._threads.submit(method, *arguments, **named)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def _call(self, path, body=None, accept=None):
        try:
            headers = {"Accept": accept or "application/json", "Content-Type": "application/json"}
            request = urllib.request.Request(self.endpoint + path, body, headers)
            timeout = 3 * self.timeout if "wait=" in path else self.timeout
            try:
                with urllib.request.urlopen(request, timeout=timeout) as answer:
                    return Result(True, "", answer.status, _content(answer))
            except urllib.error.HTTPError as answer:
                content = _content(answer)
                return Result(False, f"HTTP {answer.code}: {content}", answer.code, content)
        except Exception as error:  # the promise: recording never breaks the inference
            return Result(False, f"{self.endpoint}: {error!r}")


def _content(answer):
    content = answer.read(ANSWER_MAX)
    if answer.headers.get_content_type() != "application/json":
        return content
    return json.loads(content)


def _canonical(value, depth):
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return _number(value)
    if depth > DEPTH_MAX:
        raise ValueError(f"deeper than {DEPTH_MAX}")
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_canonical(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        # RFC 8785 3.2.3: keys are ordered by their UTF-16 code units, not by code points.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        members = (
            f"{json.dumps(key, ensure_ascii=False)}:{_canonical(value[key], depth + 1)}" for key in keys
        )
        return "{" + ",".join(members) + "}"
    raise ValueError(f"{type(value).__name__} has no JSON form")


def _number(value):
    """ECMAScript's Number::toString, which RFC 8785 3.2.2.3 asks for."""
    if abs(value) > INTEGER_MAX or math.isnan(value):
        raise ValueError(f"{value} is beyond ±(2^53-1)")
    if value == int(value):
        return str(int(value))
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(float(value))).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point > 0:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1}"


def main():
    arguments = argparse.ArgumentParser(description="Sign and submit records, or fetch a proof.")
    arguments.add_argument("verb", choices=["submit", "proof"])
    arguments.add_argument(
        "subject", help="submit: a file of lines {payload: {data}, metadata}; proof: a digest"
    )
    arguments.add_argument("--endpoint", default="http://localhost:8080")
    arguments.add_argument("--seed-file", type=pathlib.Path, help="32 bytes in hex; else a key for this run")
    arguments.add_argument("--wait", choices=["accepted", "ordered", "final"])
    given = arguments.parse_args()
    seed = bytes.fromhex(given.seed_file.read_text()) if given.seed_file else secrets.token_bytes(32)
    client = Client(given.endpoint, seed, "pci.py")
    if given.verb == "proof":
        results = [client.proof(given.subject)]
    else:
        with open(given.subject, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        results = (
            client.record(each["payload"]["data"], **each["metadata"], wait=given.wait) for each in records
        )
    failed = False
    for result in results:
        print(json.dumps({"digest": result.digest, "error": result.error, "answer": result.body}))
        failed |= not result.ok
    sys.exit(failed)


if __name__ == "__main__":
    main()
