"""Checks the published records without the model: schema, input commitments, digests, and that nothing repeats.

    pip install blake3
    python check_records.py

The output commitments need the model: `make_records.py --check` runs it again.
"""

import json
import sys
from pathlib import Path

from blake3 import blake3

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "clients" / "vectors"))
import schema  # noqa: E402

RECORDS_MIN = 500


def main():
    texts = (HERE / "texts.txt").read_text("utf-8").splitlines()
    parameters_digest = blake3((HERE / "parameters.json").read_bytes().strip()).hexdigest()
    records, openings = read("records.ndjson"), read("openings.ndjson")
    faults = []
    if len(records) != len(openings) or len(records) < RECORDS_MIN:
        faults.append(f"{len(records)} records and {len(openings)} openings, at least {RECORDS_MIN} expected")
    for number, (record, opening) in enumerate(zip(records, openings), 1):
        try:
            check(record, opening, texts, parameters_digest)
        except schema.Fault as fault:
            faults.append(f"record {number}: {fault}")
    datas = [record["payload"]["data"] for record in records]
    used_once = {
        "session_id": [data["session_id"] for data in datas],
        "trace_id": [data["trace_id"] for data in datas],
        "input_commitment": [data["input_commitment"] for data in datas],
        "output_commitment": [data["output_commitment"] for data in datas],
        "salt": [opening[name] for opening in openings for name in ("input_salt", "output_salt")],
        "line": [opening["line"] for opening in openings],
    }
    for name, values in used_once.items():
        if len(set(values)) != len(values):
            faults.append(f"a {name} is used twice")
    print("\n".join(faults) or f"{len(records)} records: schema and input commitments are right")
    sys.exit(1 if faults else 0)


def check(record, opening, texts, parameters_digest):
    schema.members(record, "record", {"payload": schema.anything, "metadata": schema.check_metadata})
    schema.members(record["payload"], "payload", {"action": schema.anything, "data": schema.anything})
    schema.expect(record["payload"]["action"] == "inference/commit", "payload.action", "inference/commit")
    data = record["payload"]["data"]
    schema.check_inference(data)
    schema.expect(data["started_at"] <= data["finished_at"], "finished_at", "no time before started_at")
    schema.expect(data["parameters_digest"] == parameters_digest, "parameters_digest", parameters_digest)
    rules = {"input_salt": schema.hexadecimal(32), "output_salt": schema.hexadecimal(32)}
    rules |= {"output_blake3": schema.hexadecimal(32), "line": schema.count}
    schema.members(opening, "opening", rules)
    text = texts[opening["line"] - 1]
    schema.expect(not text.startswith("#"), "line", "a line of text")
    commitment = blake3(text.encode(), key=bytes.fromhex(opening["input_salt"])).hexdigest()
    schema.expect(data["input_commitment"] == commitment, "input_commitment", commitment)


def read(name):
    with open(HERE / name, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    main()
