"""Governance on a running network of four validators, whose folder `testnet init` has made.

    python3 scripts/live-governance.py BIZRA FOLDER

While records flow, with `bizra gov` and `bizra patterns`, and nothing else:

1. emergencies shorten the periods of amendments,
   and a pattern is offered and voted valid for the network;
2. an amendment takes a fifth validator in, another changes a parameter, a third the policy;
3. the chain goes on in the next era; without one of the old validators, it does so by the vote of
   the new one;
4. an amendment lets the first validator go, so that all others change places; the one that was
   stopped comes back into an era that it has not seen begin, and the leaver is stopped.

Then every record that was accepted is final, exactly once, everywhere, and proofs from before and
after the changes verify against the genesis file alone.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "clients" / "python"), str(ROOT / "scripts" / "measure")]
import patterns  # noqa: E402
import pci  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402

BIZRA, NET = sys.argv[1], Path(sys.argv[2])
SEED = os.urandom(32)
SENDER = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw().hex()
# So often a record is sent, in seconds; a block follows each.
PACE = 0.1
PATIENCE = 60.0
# For a node that is started again: less than a ban lasts.
PATIENCE_UP = 30


def check(truth, what):
    if not truth:
        raise SystemExit(f"live-governance: {what}")


def api(node):
    config = (NET / f"node-{node}" / "config.toml").read_text()
    return "http://" + config.split("[api]")[1].split('"')[1]


def get(node, path):
    """What a node answers, or nothing if it does not."""
    try:
        with urllib.request.urlopen(api(node) + path, timeout=5) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def bizra(*arguments):
    done = subprocess.run([BIZRA, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE)
    check(done.returncode == 0, f"bizra {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
    return done.stdout


def until(what, truth):
    """Waits for a fact of the running network, and tells it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = truth()
        if value:
            return value
        time.sleep(0.02)
    raise SystemExit(f"live-governance: in vain waited for {PATIENCE} s: {what}")


def key(node):
    return NET / f"node-{node}" / "keys" / "consensus.key"


def speak(node, *arguments):
    """Proposes or votes as a validator, at its own node, until it is final."""
    return json.loads(bizra("gov", *arguments, "--key", key(node), "--endpoint", api(node), "--json"))


def propose(node, *arguments):
    return speak(node, "propose", *arguments)["digest"]


def decide(voters, proposals):
    """Has everybody approve, as soon as they may, and waits until it is enacted."""
    for proposal in proposals:
        shown = until(
            f"the vote on {proposal}",
            lambda: (it := get(voters[0], f"/v1/gov/proposals/{proposal}")) and it["blocks_to_vote"] == 0 and it,
        )
        votes = [threading.Thread(target=speak, args=(it, "vote", proposal, "approve")) for it in voters]
        for vote in votes:
            vote.start()
        for vote in votes:
            vote.join()
        check(not shown["ballots"], f"nobody has voted yet: {shown}")
    for proposal in proposals:
        closed = until(
            f"the end of {proposal}",
            lambda: (it := get(voters[0], f"/v1/gov/proposals/{proposal}")) and it["status"] != "open" and it,
        )
        check(closed["status"] == "enacted", f"proposal {proposal} was {closed['status']}: {closed}")
        check(closed["approvals"] == len(voters), f"not everybody's vote counted: {closed}")
        print(f"  enacted at height {closed['closed_at']}: {json.dumps(closed['change'])[:90]}", flush=True)


class Flow(threading.Thread):
    """Sends records to the nodes in turn, and remembers those that were accepted."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        with open(ROOT / "configs" / "demo" / "records.ndjson") as file:
            self.record = json.loads(file.readline())
        self.nodes, self.accepted, self.refused, self.going = nodes, [], 0, True
        # Records name it to the end: a policy stays valid for a while after another has come.
        self.policy = get(0, "/v1/params")["policies"][0]["policy_hash"]

    def send(self, node, number, wait=""):
        client = pci.Client(api(node), SEED, "live", self.policy)
        data = self.record["payload"]["data"]
        data = {**data, "session_id": f"0189d3a0-0000-7000-8000-{number:012x}"}
        return client.record(data, **self.record["metadata"], wait=wait)

    def run(self):
        number = 0
        while self.going:
            begun = time.monotonic()
            nodes = self.nodes
            result = self.send(nodes[number % len(nodes)], number)
            if result.ok:
                self.accepted.append(result.digest)
            else:
                self.refused += 1
            number += 1
            time.sleep(max(0.0, PACE - (time.monotonic() - begun)))


def committee(node):
    told = get(node, "/v1/committee")
    return told and (told["era"], [it["name"] for it in told["validators"]])


def height(node):
    return (get(node, "/v1/status") or {}).get("height", 0)


def goes_on(nodes, what):
    """Waits until every node has ten more final blocks."""
    goals = {node: height(node) + 10 for node in nodes}
    for node, goal in goals.items():
        until(f"{what}: node {node} at height {goal}", lambda: height(node) >= goal)


def proof_of(node, digest, name):
    file = NET / f"{name}.proof"
    bizra("proof", "get", digest, "--endpoint", api(node), "--out", file)
    return file


def verify(file):
    return json.loads(bizra("proof", "verify", file, "--genesis", NET / "genesis.json", "--json"))


def elevate(flow, voters):
    """Offers a pattern to the first, and has them all vote for it at their own nodes."""
    client = pci.Client(api(voters[0]), SEED, "live", flow.policy)
    offer = client.envelope({}, ihsan_score=0.97, snr_score=0.9)
    offer["payload"] |= patterns.offer(1, SENDER)["payload"]
    offer = pci.sign(offer, SEED)
    offered = client._call("/v1/patterns", offer)
    check(offered.status == 202, f"the offer of a pattern: {offered.error}")
    pattern = offered.body["pattern_id"]
    path = f"/v1/patterns?id={pattern}"
    for node in voters:
        until(f"node {node} knows the pattern", lambda: (get(node, path) or {}).get("total") == 1)
        bizra("patterns", "elevate", pattern, "--key", key(node), "--endpoint", api(node))
    until(
        "the pattern is valid for the network",
        lambda: get(voters[-1], path)["patterns"][0]["network"].get("validated_at"),
    )


def pid(node):
    return int((NET / f"node-{node}" / "pid").read_text())


def records_of_sender(node):
    """The digests of the sender's records in the log, in its order."""
    found, after = [], ""
    while True:
        page = get(node, f"/v1/records?sender={SENDER}&limit=1000{after}")
        check(page is not None, f"node {node} does not tell the records of the sender")
        found += [it["digest"] for it in page["records"]]
        if page.get("next") is None:
            return found
        after = f"&after={page['next']}"


def main():
    begun = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - begun:5.1f} s  {text}", flush=True)

    flow = Flow([0, 1, 2, 3])
    first = flow.send(1, 1 << 40, wait="final")
    check(first.ok, f"the first record: {first.error}")
    before = proof_of(1, first.digest, "before")
    flow.start()

    say("four validators; emergencies shorten the periods of amendments")
    # All before the first is voted on: an emergency leaves ten blocks for that.
    decide(
        [0, 1, 2, 3],
        [
            propose(0, "parameter", "deliberation_blocks", 5, "--procedure", "emergency"),
            propose(1, "parameter", "voting_blocks", 40, "--procedure", "emergency"),
        ],
    )

    say("a pattern is offered, and three of four vote it valid for the network")
    elevate(flow, [0, 1, 2])

    say("a fifth node is started; it has no seat")
    added = json.loads(bizra("testnet", "add", "--dir", NET, "--json"))
    check(added["node"] == 4, f"the fifth node is node 4, not {added}")
    for node in range(4):
        os.kill(pid(node), signal.SIGHUP)
    log = open(NET / "node-4" / "log.txt", "ab")
    joiner = subprocess.Popen([BIZRA, "run", "--config", added["config"]], stdout=log, stderr=log)
    atexit.register(joiner.kill)
    until("node 4 follows", lambda: height(4) > 0 and height(4) + 5 >= height(0))

    say("it is voted in, a parameter and the policy change")
    policy = NET / "stricter.rego"
    text = (ROOT / "configs" / "opa" / "policies.rego").read_text()
    tier = flow.record["payload"]["data"]["tier"]
    policy.write_text(text + f'\nreasons contains "no more of this tier" if input.tier == "{tier}"\n')
    changes = [
        propose(0, "committee", "--add", added["entry"]),
        propose(1, "policy", policy),
        propose(2, "parameter", "fate_shell_min_ppm", 990_000),
    ]
    decide([0, 1, 2, 3], changes)
    five = (2, [f"node-{number}" for number in range(5)])
    for node in range(5):
        until(f"node {node} is in era 2", lambda: committee(node) == five)
    goes_on(range(5), "after the join")

    say("the policy and the parameter hold")
    params = get(2, "/v1/params")
    check(params["policies"][0]["name"] == "stricter", f"the policy to name is the new one: {params['policies']}")
    strict = pci.Client(api(2), os.urandom(32), "strict")
    data = {**flow.record["payload"]["data"], "session_id": "0189d3a0-0000-7000-8000-ffffffffffff"}
    refusal = strict.record(data, **flow.record["metadata"], wait="final")
    check((refusal.status, refusal.body["name"]) == (422, "POLICY"), f"the new policy refuses: {refusal.body}")
    told = {it["name"]: it["value"] for it in get(4, "/v1/gov/parameters")["parameters"]}
    check(told["fate_shell_min_ppm"] == 990_000, "the parameter has its new value at the joiner")
    state = NET / "parameter.proof"
    bizra("proof", "state", "parameter:fate_shell_min_ppm", "--endpoint", api(4), "--out", state)
    verify(state)

    say("an old validator is stopped: the joiner's vote is needed")
    flow.nodes = [0, 1, 2, 4]
    os.kill(pid(3), signal.SIGTERM)
    until("node 3 has stopped", lambda: get(3, "/v1/status") is None)
    goes_on([0, 1, 2, 4], "without node 3")
    needed = flow.send(2, (1 << 40) + 1, wait="final")
    check(needed.ok, f"a record by the joiner's vote: {needed.error}")
    between = proof_of(2, needed.digest, "between")

    say("the first validator is voted out")
    decide([0, 1, 2, 4], [propose(4, "committee", "--remove", "node-0")])
    four = (3, [f"node-{number}" for number in range(1, 5)])
    for node in [0, 1, 2, 4]:
        until(f"node {node} is in era 3", lambda: committee(node) == four)
    flow.nodes = [1, 2, 4]

    say("the validator that was stopped comes back")
    bizra("testnet", "up", "--dir", NET, "--node", 3, "--timeout", PATIENCE_UP)
    check(committee(3) == four, "it knows the era that it has not seen begin")
    flow.nodes = [1, 2, 3, 4]
    goes_on(range(1, 5), "after the leave")
    refusal = flow.send(0, (1 << 40) + 2)
    check(not refusal.ok, "the leaver takes no records any more")

    say("the leaver is stopped; the others go on")
    os.kill(pid(0), signal.SIGTERM)
    until("node 0 has stopped", lambda: get(0, "/v1/status") is None)
    goes_on(range(1, 5), "without the leaver")

    flow.going = False
    flow.join()
    last = flow.send(4, (1 << 40) + 3, wait="final")
    check(last.ok, f"the last record: {last.error}")
    accepted = [first.digest, needed.digest, last.digest, *flow.accepted]
    say(f"{len(accepted)} records were accepted, {flow.refused} refused; each is final once")
    for node in range(1, 5):
        def all_final():
            found = records_of_sender(node)
            check(len(found) == len(set(found)), f"node {node} has a record twice")
            return set(accepted) <= set(found) and found
        until(f"all that was accepted is final at node {node}", all_final)

    say("proofs from before and after verify offline")
    after = proof_of(4, last.digest, "after")
    for file, digest in [(before, first.digest), (between, needed.digest), (after, last.digest)]:
        check(verify(file)["digest"] == digest, f"{file} proves its record")

    joiner.send_signal(signal.SIGTERM)
    check(joiner.wait(timeout=PATIENCE) == 0, "the joiner stops cleanly")
    for log in NET.glob("node-*/log.txt"):
        check("what only a faulty one does" not in log.read_text(), f"{log}: an honest peer is called faulty")
    say("done")


if __name__ == "__main__":
    main()
