"""Signs and submits Proof-Carrying Inference records. One file; needs `pip install blake3 cryptography`.

    client = pci.Client("http://localhost:8080", seed, "my-agent")   # seed: 32 secret bytes
    salt, commitment = pci.commit_to(prompt.encode())                # keep the salt: it opens the commitment
    data = {"session_id": ..., "input_commitment": commitment, ...}  # the members of an `inference/commit`
    result = client.record(data, ihsan_score=0.97, snr_score=0.93, wait="final")
    if not result.ok:
        log.warning("not recorded: %s", result.error)                # your inference goes on
    proof = client.proof(result.digest).body

Of the methods of `Client` only `envelope` raises; the others tell in `Result.error` what went wrong, bad data
too. Not to wait for the node at all: `executor.submit(client.record, data, 0.97, 0.93)`.
"""

import json
import secrets
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNED_FIELDS = ["version", "envelope_id", "timestamp", "nonce", "sender", "payload", "metadata"]


def canonical(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value. Raises ValueError or TypeError for what a record cannot hold."""
    if isinstance(value, dict):  # sorted by UTF-16 code units, where `sort_keys` goes by code points
        names = sorted(value, key=lambda name: str.encode(name, "utf-16-be"))
        return b"{" + b",".join(canonical(name) + b":" + canonical(value[name]) for name in names) + b"}"
    if isinstance(value, (list, tuple)):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, (int, float)) and not abs(value) <= 2**53 - 1:  # so that NaN fails too
        raise ValueError(f"{value} is beyond ±(2^53-1)")
    if isinstance(value, float) and not value.is_integer():
        # The shortest digits are those of ECMAScript, which writes 1e-05 and 1e-07 as 0.00001 and 1e-7.
        digits = float.__repr__(value)
        return (digits.replace("e-0", "e-") if abs(value) < 1e-6 else f"{Decimal(digits):f}").encode()
    # 1.0 is 1. For text `json.dumps` escapes as RFC 8785 does, and a lone surrogate fails to encode.
    return json.dumps(int(value) if isinstance(value, float) else value, ensure_ascii=False).encode()


def digest(envelope: dict) -> bytes:
    """The 32 bytes that identify an envelope and that its sender signs."""
    unsigned = {name: value for name, value in envelope.items() if name != "signature"}
    return blake3(b"bizra-pci-v1:" + canonical(unsigned)).digest()


def sign(envelope: dict, seed: bytes) -> dict:
    """The envelope with the signature of the key that has this 32-byte seed."""
    value = Ed25519PrivateKey.from_private_bytes(seed).sign(digest(envelope)).hex()
    return {**envelope, "signature": {"algorithm": "ed25519", "value": value, "signed_fields": SIGNED_FIELDS}}


def commit_to(content: bytes, salt: bytes = b"") -> tuple[bytes, str]:
    """Commits to bytes without showing them. Returns the salt, 32 bytes, and the commitment in hex."""
    salt = salt or secrets.token_bytes(32)
    return salt, blake3(content, key=salt).hexdigest()


@dataclass
class Result:
    """What came of a call: `ok` if the node did what was asked; else `error` says why not."""

    ok: bool = False
    error: str = ""
    status: int = 0  # of HTTP; 0 if no answer came
    body: Any = None  # of the answer: JSON, or bytes
    digest: str = ""
    envelope: dict | None = None  # what was signed; `Client.submit` may be given it again


class Client:
    """One sender at one node, for any number of threads. `timeout`: seconds that the node may be silent."""

    def __init__(self, endpoint: str, seed: bytes, agent_id: str, policy_hash: str = "", timeout: float = 10):
        self.endpoint, self.seed, self.agent_id = endpoint.rstrip("/"), seed, agent_id
        self.policy_hash, self.timeout = policy_hash, timeout

    def envelope(self, data: dict, ihsan_score: float, snr_score: float, **metadata: Any) -> dict:
        """Builds and signs an envelope of now. Asks the node, once, for the policy hash if none was given."""
        if not self.policy_hash:
            params = self._call("/v1/params")
            if not params.ok:
                raise ConnectionError(f"the node does not tell its policy: {params.error}")
            # A chain without policies judges none; the member must still be 64 hex digits.
            self.policy_hash = (params.body["policies"] or [{"policy_hash": "0" * 64}])[0]["policy_hash"]
        key = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw().hex()
        unsigned = {
            "version": "1.0.0",
            "envelope_id": str(uuid.uuid4()),
            "timestamp": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "nonce": secrets.token_hex(32),
            "sender": {"agent_type": "PAT", "agent_id": self.agent_id, "public_key": key},
            "payload": {"action": "inference/commit", "data": data, "policy_hash": self.policy_hash},
            "metadata": {"ihsan_score": ihsan_score, "snr_score": snr_score, "urgency": "BATCH", **metadata},
        }
        return sign(unsigned, self.seed)

    def record(self, data: dict, ihsan_score: float, snr_score: float, wait: str = "", **more: Any) -> Result:
        """Builds, signs and submits an envelope; `more` are further members of its metadata."""
        try:
            return self.submit(self.envelope(data, ihsan_score, snr_score, **more), wait)
        except Exception as error:
            return Result(error=f"cannot sign: {error!r}")

    def submit(self, envelope: dict, wait: str = "") -> Result:
        """Sends an envelope; with `wait`, until it is "ordered" or "final". Repeating it is harmless."""
        return self._call(f"/v1/records?wait={wait}" if wait else "/v1/records", envelope)

    def wait(self, digest: str, seconds: float = 30) -> Result:
        """Asks until the record is final, which is `ok`, or rejected, or the time is over."""
        end = time.monotonic() + seconds
        while True:
            result = self._call(f"/v1/records/{digest}")
            status = result.body.get("status") if isinstance(result.body, dict) else None
            if status in ("final", "rejected") or time.monotonic() >= end:
                result.ok, result.digest = result.ok and status == "final", digest
                result.error = "" if result.ok else result.error or f"{status}, not final: {result.body}"
                return result
            time.sleep(0.1)

    def proof(self, digest: str, cbor: bool = False) -> Result:
        """Fetches the finality proof: a dictionary, or with `cbor` the bytes of the compact form."""
        return self._call(f"/v1/records/{digest}/proof", accept="cbor" if cbor else "json")

    def _call(self, path: str, envelope: dict | None = None, accept: str = "json") -> Result:
        result, waits = Result(envelope=envelope), path.endswith(("=ordered", "=final"))
        try:
            body = None
            if envelope is not None:
                body, result.digest = canonical(envelope), digest(envelope).hex()
            headers = {"Accept": f"application/{accept}", "Content-Type": "application/json"}
            request = urllib.request.Request(self.endpoint + path, body, headers)
            try:  # a node that is to wait does so for 30 seconds
                answer = urllib.request.urlopen(request, timeout=self.timeout + 30 * waits)
            except urllib.error.HTTPError as refusal:
                answer = refusal
            with answer:
                result.status, result.body = answer.status, answer.read(16 << 20)
            if answer.headers.get_content_type() == "application/json":
                result.body = json.loads(result.body)
            result.ok = result.status == 200 or result.status == 202 and not waits  # 202: only accepted
            result.error = "" if result.ok else f"HTTP {result.status}: {result.body}"
        except Exception as error:  # the promise: recording never breaks the inference
            result.error = f"{self.endpoint}: {error!r}"
        return result
