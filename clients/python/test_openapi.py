"""Holds a node's answers against the document that describes them, `GET /openapi.json`.

BIZRA_ENDPOINT=http://localhost:8080 python test_openapi.py

The network must have an open proposal: `scripts/live-python.sh` starts one and has a validator propose something.
Requests are made from the document alone: its paths, methods and parameters. Each answer must have a status and a
content type that the document names, and a body of the schema there.
"""

import hashlib
import json
import os
import unittest
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone

import jsonschema
import openapi_spec_validator
import pci
from test_pci import SEED, demo_record

ENDPOINT = os.environ["BIZRA_ENDPOINT"]
# How long ago a pattern was made, and used last.
AGES = (timedelta(days=2), timedelta(seconds=1))


class Described(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with urllib.request.urlopen(ENDPOINT + "/openapi.json", timeout=10) as answer:
            cls.document = json.load(answer)
        cls.operations = {
            operation["operationId"]: (path, method, operation)
            for path, item in cls.document["paths"].items()
            for method, operation in item.items()
        }
        cls.succeeded = set()
        cls.client = pci.Client(ENDPOINT, SEED, "openapi")
        data, metadata = demo_record()
        cls.final = cls.envelope(data, metadata)
        cls.digest = pci.digest(cls.final).hex()

    @classmethod
    def envelope(cls, data, metadata):
        return cls.client.envelope(data, metadata["ihsan_score"], metadata["snr_score"])

    @classmethod
    def pattern(cls):
        """A signed offer of a pattern."""
        offer = cls.envelope(*demo_record())
        source, trigger = offer["sender"]["public_key"], "latency above 900 ms"
        now = datetime.now(timezone.utc)
        created, used = ((now - before).strftime("%Y-%m-%dT%H:%M:%SZ") for before in AGES)
        data = {
            "pattern_id": "sape_" + hashlib.sha256(trigger.encode()).hexdigest()[:16],
            "source_node": source,
            "trigger_condition": trigger,
            "action": "ask the smaller model first",
            "domain": "routing",
            "creation_time": created,
            "elevation_count": 4,
            "status": "PROPOSED",
            "ihsan_score": 1,
            "metrics": {
                "uses": 100,
                "successes": 90,
                "total_snr_delta": 0.5,
                "total_latency_saved_ms": 4200,
                "first_used": created,
                "last_used": used,
            },
        }
        offer["payload"] = {**offer["payload"], "action": "pattern/propagate", "data": data}
        offer["metadata"] = {"ihsan_score": 0.97}
        return pci.sign(offer, SEED)

    def check(self, schema, body):
        # The schema's references are to the document around it.
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        whole["components"] = self.document["components"]
        jsonschema.Draft202012Validator(whole).validate(body)

    def call(self, name, status=200, body=None, sent="application/json", accept="application/json", **given):
        path, method, operation = self.operations[name]
        query = {}
        for parameter in operation.get("parameters", []):
            value = given.pop(parameter["name"].replace("-", "_"), None)
            if parameter["in"] == "path":
                path = path.replace("{%s}" % parameter["name"], urllib.parse.quote(str(value), safe=":"))
            elif parameter["in"] == "query" and value is not None:
                query[parameter["name"]] = value
            self.assertFalse(parameter.get("required") and value is None and status == 200, parameter["name"])
        query |= given
        url = ENDPOINT + path + ("?" + urllib.parse.urlencode(query) if query else "")
        request = urllib.request.Request(url, body, {"Accept": accept}, method=method.upper())
        if body is not None:
            request.add_header("Content-Type", sent)
        try:
            answer = urllib.request.urlopen(request, timeout=40)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            kind = answer.headers["Content-Type"].split(";")[0]
            text = b"".join(self.event(answer)) if kind == "text/event-stream" else answer.read()
        self.assertEqual(answer.status, status, text)
        described = operation["responses"][str(status)]
        if "$ref" in described:
            described = self.document["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
        schema = described["content"][kind]["schema"]
        if kind == "application/x-ndjson":
            parsed = [json.loads(line) for line in text.splitlines()]
            for line in parsed:
                self.check(schema, line)
        elif kind in ("application/json", "text/event-stream"):
            parsed = json.loads(text)
            self.check(schema, parsed)
        else:
            parsed = text
        if status < 300:
            self.succeeded.add(name)
        return parsed

    @staticmethod
    def event(answer):
        """The data of the first event."""
        for line in answer:
            if line.startswith(b"data: "):
                yield line.removeprefix(b"data: ")
                return

    def test_everything_described_is_answered_as_described(self):
        openapi_spec_validator.validate(self.document)
        self.call("getOpenapi")
        text = pci.canonical(self.final)
        final = self.call("submitRecord", body=text, wait="final")
        self.assertEqual(final["digest"], self.digest)
        self.call("submitRecord", 202, body=text)
        data, metadata = demo_record()
        second = pci.canonical(self.envelope(data, metadata))
        self.call("submitRecord", body=second, wait="ordered")
        lines = self.call("submitBatch", body=text + b"\n\n{}\n", sent="application/x-ndjson")
        self.assertEqual([line["line"] for line in lines], [1, 3])

        record = self.call("getRecord", digest=self.digest)
        self.assertEqual(record["envelope"], self.final)
        self.call("getProof", digest=self.digest)
        self.assertIsInstance(self.call("getProof", accept="application/cbor", digest=self.digest), bytes)
        self.call("searchRecords", limit=1)
        self.call("searchRecords", session=data["session_id"])
        height = final["height"]
        found = self.call("searchRecords", from_height=height, to_height=height + 1, from_ms=0, to_ms=2**53)
        self.assertIn(self.digest, [record["digest"] for record in found["records"]])
        self.call("getParams")
        for height in (0, final["height"]):
            self.assertEqual(self.call("getBlock", height=height)["height"], height)
        self.call("getStatus")
        self.call("getCommittee")
        certificates = self.call("getCertificates", era=1, to=100, **{"from": 0})
        self.assertTrue(certificates["certificates"])
        self.call("getState", key="parameter:snr_min_ppm")
        self.assertIsInstance(self.call("getState", accept="application/cbor", key="market:"), bytes)
        frames = self.call("getChain", accept="application/octet-stream", above=0, to=1)
        self.assertEqual(frames[4], 1, "the first frame is a block")
        proposals = self.call("getProposals")["proposals"]
        self.assertTrue(proposals, "the network has no open proposal")
        self.assertEqual(self.call("getProposal", id=proposals[0]["proposal"])["change"], proposals[0]["change"])
        governed = {parameter["name"] for parameter in self.call("getGovernedParameters")["parameters"]}
        self.assertTrue({"idle_block_ms", "snr_min_ppm"} < governed)
        self.call("getEvidence")
        self.call("getReputation")
        pattern = self.pattern()
        offered = self.call("offerPattern", 202, body=pci.canonical(pattern))
        found = self.call("searchPatterns", id=offered["pattern_id"], limit=1)["patterns"]
        self.assertEqual([offer["envelope"] for offer in found], [pattern])
        head = self.call("getLogCheckpoint")
        note = self.call("getLogCheckpoint", accept="text/plain").decode()
        self.assertEqual(note.split("\n")[0], head["note"].split("\n")[0])
        self.call("getLogConsistency", **{"from": 1})
        event = self.call("streamEvents", from_height=final["height"])
        self.assertEqual(event["height"], final["height"])
        self.assertEqual(self.succeeded, self.operations.keys())

    def test_refusals_are_as_described(self):
        forged = {**self.final, "nonce": "00" * 32}
        self.assertEqual(self.call("submitRecord", 422, body=pci.canonical(forged))["code"], 2)
        self.call("submitRecord", 400, body=b"{}", wait="later")
        self.call("submitRecord", 413, body=b" " * 65_537)
        self.call("submitRecord", 415, body=b"{}", sent="text/plain")
        self.call("submitBatch", 415, body=b"{}")
        self.call("getRecord", 404, digest="00" * 32)
        self.call("getRecord", 400, digest="short")
        self.call("getProof", 404, digest="00" * 32)
        self.call("searchRecords", 400, limit=0)
        self.call("getBlock", 404, height=2**63)
        self.call("getStatus", 400, deep=1)
        self.call("getCertificates", 400, era=1)
        self.call("getState", 400, key="nothing")
        self.call("getLogConsistency", 404, to=2**60, **{"from": 1})
        self.call("getLogConsistency", 400)
        self.call("getChain", 400)
        self.call("getChain", 404, above=2**60)
        self.call("getProposal", 404, id=self.digest)
        self.call("getProposal", 400, id="short")
        self.call("offerPattern", 422, body=pci.canonical(self.final))
        self.call("offerPattern", 415, body=b"{}", sent="text/plain")
        self.call("searchPatterns", 400, limit=101)
        self.call("streamEvents", 400, from_height="x")


if __name__ == "__main__":
    unittest.main()
