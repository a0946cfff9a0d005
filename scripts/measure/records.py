"""Signed records for the scripts of this folder."""

import json
import os
import pathlib
import subprocess

P2P_BIN = os.environ.get("BIZRA_P2P_BIN")
RECORDS = pathlib.Path(__file__).parents[2] / "configs" / "demo" / "records.ndjson"


class Signer:
    """Signs real records, each one anew, or what it is given, with a key of its own."""

    def __init__(self, net, name="sender"):
        self.net = net
        self.name = name
        self.folder = net.folder
        self.key = net.folder / f"{name}.key"
        self.public_key = keygen(net, "sender", self.key)
        policies = net.get(0, "/v1/params")["policies"]
        self.policy_hash = policies[0]["policy_hash"] if policies else "0" * 64
        self.records = RECORDS.read_text().splitlines()
        self.number = 0

    def sign(self, record=None):
        """The bytes of one signed envelope; of the next real record, if no other is given."""
        self.number += 1
        unsigned = self.folder / f"{self.name}-record-{self.number}.json"
        signed = self.folder / f"{self.name}-signed-{self.number}.json"
        unsigned.write_text(record or self.records[self.number % len(self.records)])
        self.net.bizra("record", "sign", "--key", self.key, "--policy-hash", self.policy_hash,
                       "--out", signed, unsigned)
        return signed.read_bytes()


def keygen(net, kind, path):
    """Makes a key file with `bizra-p2p`; returns the public key."""
    program = P2P_BIN or net.program.with_name("bizra-p2p")
    done = subprocess.run([program, "keygen", "--kind", kind, "--out", path, "--json"],
                          check=True, capture_output=True)
    return json.loads(done.stdout)["public"]
