#!/usr/bin/env python3
"""Validators are killed in turn under load and restarted at once.

Each must sign blocks again within five seconds. Afterwards all hold the same
blocks, and every record that any of them accepted is final everywhere.

    kill-loop.sh [--kills N] [--bin FILE]

Records are signed with `bizra-p2p` beside the binary, or BIZRA_P2P_BIN.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time

from network import Testnet, binary, verdict
from records import Signer

VOTE_AGAIN_SECONDS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--bin")
    arguments = parser.parse_args()
    with Testnet(binary(arguments.bin)) as net:
        figures = measure(net, arguments.kills)
        holds = verdict(figures, [
            f"vote_again_ms_max <= {1000 * VOTE_AGAIN_SECONDS}", "kills == votes_again",
            "load_final > 0", "load_lost == 0", "len_disagreements == 0", "promised > 0",
            "promised_not_final == 0", "equivocations == 0", "panics == 0"])
        if not holds:
            raise SystemExit(1)


def measure(net, kills):
    over = threading.Event()
    loads, promised = [], {}
    workers = [threading.Thread(target=net.keep_loading, args=(over, loads)),
               threading.Thread(target=keep_submitting, args=(net, over, promised))]
    for worker in workers:
        worker.start()
    time.sleep(3)
    times = []
    try:
        for number in range(kills):
            times.append(kill_once(net, number % net.count))
            print(f"kill {number + 1}: node {number % net.count} signs again after "
                  f"{times[-1]} ms", file=sys.stderr)
            time.sleep(0.5)
    finally:
        over.set()
        for worker in workers:
            worker.join()

    missing = {digest: where for digest in promised
               if (where := not_final(net, digest))}
    head, disagreements = net.disagreements()
    for fault in [*disagreements[:5], *list(missing.items())[:5]]:
        print(fault, file=sys.stderr)
    again = sorted(ms for ms in times if ms is not None)
    equivocations = sum(net.metrics(k)["bizra_consensus_equivocations_total"]
                        for k in range(net.count))
    return {
        "measure": "kill-loop", "kills": kills, "votes_again": len(again),
        "vote_again_ms_median": again[len(again) // 2] if again else None,
        "vote_again_ms_max": again[-1] if again else None,
        "load_accepted": sum(load["accepted"] for load in loads),
        "load_final": sum(load["final"] for load in loads),
        "load_lost": sum(load["lost"] for load in loads),
        "load_rejected": sum(load["rejected"] for load in loads),
        "load_reasons": [load["reasons"] for load in loads if load["reasons"]],
        "load_p95_ms": [load["p95_ms"] for load in loads],
        "promised": len(promised), "promised_not_final": len(missing),
        "blocks_compared": head, "len_disagreements": len(disagreements),
        "equivocations": equivocations, "panics": net.panics(),
    }


def kill_once(net, k):
    """Milliseconds from the kill until another node holds a later block that this one signed.

    None if that takes too long.
    """
    observer = (k + 3) % net.count
    killed = time.monotonic()
    os.kill(net.pid(k), signal.SIGKILL)
    restart = net.up(k)
    # What it signed before it died may become final after its death: two blocks at most.
    before = net.height(observer) + 2
    while time.monotonic() - killed < 4 * VOTE_AGAIN_SECONDS:
        if net.signed_height(observer, k) > before:
            took = round((time.monotonic() - killed) * 1000)
            restart.wait()
            return took
        time.sleep(0.05)
    print(f"node {k} does not sign: {net.get(observer, '/v1/status')}", file=sys.stderr)
    restart.wait()
    return None


def keep_submitting(net, over, promised):
    """Submits to each in turn and keeps the digest of whatever was promised."""
    signer = Signer(net)
    number = 0
    while not over.is_set():
        number += 1
        wait = "final" if number % 2 else "accepted"
        try:
            status, answer = net.submit(number % net.count, signer.sign(), wait)
        except (OSError, ValueError, subprocess.SubprocessError):
            continue  # The one asked is dead: it has promised nothing.
        if status in (200, 202):
            promised[answer["digest"]] = (status, number % net.count)
        else:
            print(f"submit: {status} {answer}", file=sys.stderr)
        time.sleep(0.02)


def not_final(net, digest):
    """Where a record is not final, after a last minute for it to become so."""
    deadline = time.monotonic() + 60
    while True:
        states = []
        for k in range(net.count):
            status, _, body = net.ask(k, f"/v1/records/{digest}")
            states.append(json.loads(body).get("status", status))
        if all(state == "final" for state in states):
            return None
        if time.monotonic() > deadline:
            return states
        time.sleep(0.2)


if __name__ == "__main__":
    main()
