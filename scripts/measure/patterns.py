#!/usr/bin/env python3
"""Patterns are offered to one of seven validators, until all seven hold each.

    patterns.sh [--count N] [--rate R] [--base-port PORT] [--bin FILE]

The time is that from the beginning of the POST to the first answer in which the
last of the seven tells the pattern. They are asked one after the other, so that
asking costs little; what it costs is in the figures, which are therefore upper
bounds. Offers are signed with `bizra-p2p` beside the binary, or BIZRA_P2P_BIN.
"""

import argparse
import datetime
import hashlib
import http.client
import json
import statistics
import time

from network import Testnet, binary, verdict
from records import Signer

# A node keeps a hundred patterns of one source, and gives up later ones for them.
PATTERNS_PER_SOURCE = 90
# How long it may take before a pattern counts as lost.
SECONDS_MAX = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--rate", type=float, default=5, help="patterns per second")
    parser.add_argument("--base-port", type=int, help="the first of 70, if not free ones")
    parser.add_argument("--bin")
    arguments = parser.parse_args()
    with Testnet(binary(arguments.bin), base=arguments.base_port) as net:
        figures = measure(net, arguments.count, arguments.rate)
        bounds = ["p95_ms < 100", "lost == 0", "passed_on > 0", "panics == 0"]
        if not verdict(figures, bounds):
            raise SystemExit(1)


def measure(net, count, rate):
    connections = [http.client.HTTPConnection("127.0.0.1", net.port(k, "api"), timeout=20)
                   for k in range(net.count)]
    took, answered, lost = [], [], 0
    due = time.monotonic()
    for number in range(count):
        if number % PATTERNS_PER_SOURCE == 0:
            signer = Signer(net, f"source-{number}")
        pattern = offer(number, signer.public_key)
        envelope = signer.sign(json.dumps(pattern))
        due = max(due + 1 / rate, time.monotonic())
        time.sleep(due - time.monotonic())
        began = time.monotonic()
        status, answer = ask(connections[0], "POST", "/v1/patterns", envelope)
        if status != 202:
            raise SystemExit(f"pattern {number}: {status} {answer}")
        answered.append(time.monotonic() - began)
        path = f"/v1/patterns?id={answer['pattern_id']}&limit=1"
        if all(told(connection, path, began + SECONDS_MAX) for connection in connections):
            took.append(time.monotonic() - began)
        else:
            lost += 1
    took.sort()
    hops = [hop(net, k) for k in range(net.count)]
    passed_on = sum(count for count, _ in hops)
    return {
        "measure": "patterns", "rate": rate, "patterns": count, "lost": lost,
        "p50_ms": percentile(took, 50), "p95_ms": percentile(took, 95),
        "p99_ms": percentile(took, 99), "max_ms": percentile(took, 100),
        "answer_p50_ms": milliseconds(statistics.median(answered)), "passed_on": passed_on,
        "hop_mean_ms": milliseconds(sum(total for _, total in hops) / max(passed_on, 1)),
        "panics": net.panics(),
    }


def offer(number, source):
    """What `bizra record sign` makes an offer of."""
    trigger = f"latency above {number} ms"
    now = datetime.datetime.now(datetime.timezone.utc)

    def ago(**time_ago):
        return (now - datetime.timedelta(**time_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")

    data = {
        "pattern_id": "sape_" + hashlib.sha256(trigger.encode()).hexdigest()[:16],
        "source_node": source, "trigger_condition": trigger,
        "action": "ask the smaller model first", "domain": "routing",
        "creation_time": ago(days=2), "elevation_count": 4, "status": "PROPOSED",
        "ihsan_score": 0.98,
        "metrics": {
            "uses": 10, "successes": 9, "total_snr_delta": 1.25, "total_latency_saved_ms": 4200,
            "first_used": ago(days=1), "last_used": ago(minutes=1),
        },
    }
    return {"payload": {"action": "pattern/propagate", "data": data},
            "metadata": {"ihsan_score": 0.97}}


def told(connection, path, deadline):
    """Asks until the answer holds the pattern; false if it is too late."""
    while time.monotonic() < deadline:
        status, answer = ask(connection, "GET", path)
        if status == 200 and answer["total"] == 1:
            return True
        time.sleep(0.001)
    return False


def ask(connection, method, path, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def hop(net, k):
    """How many patterns a node passed on, and the seconds that it took for all of them."""
    metrics = net.metrics(k)
    name = "bizra_pattern_propagation_seconds_{}{{span=\"hop\"}}"
    return metrics[name.format("count")], metrics[name.format("sum")]


def percentile(sorted_seconds, percent):
    if not sorted_seconds:
        return None
    at = min(len(sorted_seconds) - 1, len(sorted_seconds) * percent // 100)
    return milliseconds(sorted_seconds[at])


def milliseconds(seconds):
    return round(1000 * seconds, 1)


if __name__ == "__main__":
    main()
