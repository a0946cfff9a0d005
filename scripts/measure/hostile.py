#!/usr/bin/env python3
"""Bad input from outside against a live testnet under a light load.

    hostile.py [--bin FILE] [--only WORD]

Each case prints what came of it; the last line is JSON. Whatever is sent, nobody
panics, the chain goes on, and nothing accepted is lost. The full disk needs root
for its mount and is passed over without. Keys are made with `bizra-p2p` beside
the binary, or BIZRA_P2P_BIN.
"""

import argparse
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

from network import Testnet, binary, verdict
from patterns import offer
from records import Signer, keygen

CASES = []
JSON_TYPE = {"Content-Type": "application/json"}
VICTIM = 0
FULL = 6
# Room for the whole run and for the reserve that a node leaves free.
FULL_DISK = "size=1g"


def case(function):
    CASES.append(function)
    return function


class Failed(Exception):
    """A case that did not come out as it must."""


def expect(condition, what):
    if not condition:
        raise Failed(what)


# --- The disk -------------------------------------------------------------

@case
def full_disk(net):
    """A disk without space: the node stops signing, says so, serves reads, and returns."""
    if os.geteuid():
        return "passed over: needs root for its mount"
    data = net.dir / f"node-{FULL}" / "data"
    filler = data / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * (1 << 20))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 512)
    began = time.monotonic()
    try:
        wait_for(lambda: "disk_unwritable" in ready_reasons(net, FULL), 60,
                 lambda: f"no disk_unwritable within 60 s: {ready_reasons(net, FULL)}")
        noticed = time.monotonic() - began
        expect(net.get(FULL, "/v1/status")["disk_unwritable"], "/v1/status is silent")
        signed = net.signed_height(1, FULL)
        height = net.height(1)
        time.sleep(5)
        expect(net.height(1) > height, "the others stand")
        expect(net.signed_height(1, FULL) <= signed + 1, "it signs on a full disk")
        expect(net.ask(FULL, "/v1/blocks/1")[0] == 200, "it serves no reads")
        status, answer = net.submit(FULL, net.signer.sign())
        expect(status not in (200, 202), f"it promises a record: {status} {answer}")
        said = [line for line in net.log(FULL).splitlines() if re.search("WARN|ERROR", line)][-1]
    finally:
        filler.unlink()
    began = time.monotonic()
    height = net.height(1)
    wait_for(lambda: net.signed_height(1, FULL) > height, 60,
             lambda: f"it does not sign again within 60 s: {ready_reasons(net, FULL)} "
                     f"{net.log(FULL)[-400:]}")
    back = time.monotonic() - began
    expect(back < 10, f"it signs again only after {back:.1f} s")
    return (f"noticed after {noticed:.1f} s, signs again {back:.1f} s after there is space; "
            f"{status} {answer.get('name')} for a record; says: {said[28:200]}")


# --- The p2p ports ------------------------------------------------------

def garbage(seed):
    chance = random.Random(seed)
    return [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x13/multistream/1.0.0\n\x07/noise\n" + chance.randbytes(300),
        b"\x13/multistream/1.0.0\n" + b"\xff" * 9 + b"\x7f",  # a length without end
        b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n\x16\x03\x01\x02\x00\x01",  # a hello cut off
        b"\x13/multi",
        chance.randbytes(100_000),
        b"\x00" * 100_000,
    ]


@case
def p2p_tcp_garbage(net):
    """Garbage, cut and oversized frames on the TCP port."""
    sockets = []
    for seed in range(20):
        for bytes_ in garbage(seed):
            link = socket.create_connection(("127.0.0.1", net.port(VICTIM, "tcp")), timeout=5)
            with contextlib.suppress(OSError):
                link.sendall(bytes_)
            sockets.append(link)
    deadline = time.monotonic() + 15
    closed = 0
    for link in sockets:
        with link:
            link.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                while link.recv(4096):
                    pass
                closed += 1
            except ConnectionError:
                closed += 1
            except TimeoutError:
                pass
    expect(closed == len(sockets), f"{len(sockets) - closed} of {len(sockets)} stay open for 15 s")
    return f"{len(sockets)} connections, all closed"


@case
def p2p_quic_garbage(net):
    """Random and half-right datagrams on the QUIC port."""
    chance = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        address = ("127.0.0.1", net.port(VICTIM, "quic"))
        for _ in range(5_000):
            head = chance.choice([b"", b"\xc0\x00\x00\x00\x01\x08", b"\xff\x00\x00\x00\x00\x14"])
            link.sendto(head + chance.randbytes(chance.choice([0, 1, 40, 1200, 9_000])), address)
    return "5000 datagrams"


@case
def p2p_many_connections(net):
    """500 connections to the TCP port that say nothing."""
    links = []
    for _ in range(500):
        with contextlib.suppress(OSError):
            links.append(socket.create_connection(("127.0.0.1", net.port(VICTIM, "tcp")), timeout=2))
    time.sleep(1)
    open_ = descriptors(net, VICTIM)
    time.sleep(8)
    later = descriptors(net, VICTIM)
    for link in links:
        link.close()
    expect(later < 400, f"the node keeps {later} descriptors open 9 s later")
    return f"{len(links)} opened, {open_} descriptors at first, {later} after 9 s"


# --- The API --------------------------------------------------------------

def post(net, body, headers=JSON_TYPE, path="/v1/records"):
    status, _, answer = net.ask(VICTIM, path, "POST", body, headers)
    return status, answer.decode(errors="replace")


def expect_status(wanted, status, answer):
    expect(status == wanted, f"{status} instead of {wanted}: {answer[:200]}")
    value = json.loads(answer)
    expect(value.get("name") and value.get("detail"), f"no name or detail: {answer[:200]}")
    return f"{status} {value['name']}: {value['detail']}"


@case
def http_slow_header(net):
    """A header that never ends."""
    return slow(net, b"POST /v1/records HTTP/1.1\r\nHost: x\r\n", b"X-Slow: 1\r\n")


@case
def http_slow_body(net):
    """A body that never ends."""
    head = (b"POST /v1/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{")
    return slow(net, head, b" ")


def slow(net, head, drip):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", net.port(VICTIM, "api"))) as link:
        link.sendall(head)
        link.settimeout(1)
        answer = b""
        while not answer and time.monotonic() - began < 30:
            with contextlib.suppress(TimeoutError):
                answer = link.recv(4096)
                break
            with contextlib.suppress(OSError):
                link.sendall(drip)
    expect(b" 408 " in answer, f"no 408 but {answer[:100]}")
    return f"408 after {time.monotonic() - began:.1f} s"


@case
def http_large_body(net):
    """64 KiB and one byte."""
    return expect_status(413, *post(net, b"x" * (64 * 1024 + 1)))


@case
def http_content_type(net):
    """Another content type."""
    return expect_status(415, *post(net, b"{}", {"Content-Type": "text/plain"}))


@case
def http_no_content_type(net):
    """No content type."""
    return expect_status(415, *post(net, b"{}", {}))


@case
def http_content_encoding(net):
    """A compressed body."""
    return expect_status(415, *post(net, b"{}", JSON_TYPE | {"Content-Encoding": "gzip"}))


@case
def http_bad_wait(net):
    """A wait that is none."""
    return expect_status(400, *post(net, b"{}", path="/v1/records?wait=forever"))


@case
def http_bad_digest(net):
    """A digest that is none, and one that nobody has."""
    status, _, answer = net.ask(VICTIM, "/v1/records/xyz")
    expect(status in (400, 404), f"{status}")
    unknown, _, answer = net.ask(VICTIM, "/v1/records/" + "0" * 64)
    return expect_status(404, unknown, answer.decode()) + f" (and {status} for xyz)"


@case
def http_bad_height(net):
    """Heights that are none or too high."""
    answers = [net.ask(VICTIM, f"/v1/blocks/{height}") for height in ("x", "-1", 10**30, 10**12)]
    expect(all(400 <= status < 500 for status, _, _ in answers), str([a[0] for a in answers]))
    return str([status for status, _, _ in answers])


@case
def http_malformed_json(net):
    """JSON that is cut, deep, doubled, or no object."""
    told = []
    for body in (b"{", b'{"a":1', b"[" * 60_000, b'{"a":' * 10_000, b'{"version":"1","version":"1"}',
                 b"null", b"", b"\xff\xfe", b'{"a":1e999999}', b'{"a":"\\ud800"}'):
        told.append(expect_status(422, *post(net, body)))
    return "; ".join(sorted({text[:60] for text in told}))


@case
def http_broken_requests(net):
    """Requests that are no HTTP."""
    for bytes_ in (b"\x16\x03\x01\x00\xff" + b"\x00" * 200, b"GET\r\n\r\n", b"\x00" * 5000,
                   b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
                   b"POST /v1/records HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", net.port(VICTIM, "api")), timeout=12) as link:
                link.sendall(bytes_)
                answer = link.recv(4096)
                expect(b" 2" not in answer[:12], f"{answer[:60]}")
    return "refused or hung up"


@case
def http_idle_connections(net):
    """10,000 connections that say nothing."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    links, refused = [], 0
    for _ in range(10_000):
        link = socket.socket()
        link.setblocking(False)
        link.connect_ex(("127.0.0.1", net.port(VICTIM, "api")))
        links.append(link)
    time.sleep(3)
    most = descriptors(net, VICTIM)
    before = net.signed_height(1, VICTIM)
    time.sleep(3)
    signs = net.signed_height(1, VICTIM) > before
    began = time.monotonic()
    answered = None
    while answered is None and time.monotonic() - began < 60:
        with contextlib.suppress(OSError):
            answered = net.ask(VICTIM, "/v1/status", timeout=5)[0]
    took = time.monotonic() - began
    for link in links:
        link.close()
    expect(signs, f"it signs nothing while {most} descriptors are open")
    expect(answered == 200, "the API does not answer within 60 s")
    expect(most < 4_096 + 500, f"{most} descriptors are open")
    return f"{most} descriptors at most; it signs on; the API answers after {took:.1f} s"


@case
def http_pipelined(net):
    """500 requests at once on one connection, and a reader that takes its time."""
    count = 500
    with socket.create_connection(("127.0.0.1", net.port(VICTIM, "api")), timeout=10) as link:
        link.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n" * (count - 1)
                     + b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: link.recv(4096), b""))
    expect(answers.count(b"HTTP/1.1 200") == count, f"{answers.count(b'HTTP/1.1 200')} answers")
    return f"{count} answers in order"


@case
def http_odd_paths(net):
    """Paths with dots, doubled slashes and escapes, and long paths and queries."""
    told = {}
    for path in ("/../../etc/passwd", "/v1/../admin/log-level", "/v1/%2e%2e/%2e%2e/etc/passwd",
                 "//v1/status", "/v1/status/", "/v1/records/..%2f..%2fetc", "/v1/records/%ff",
                 "/v1/records/%00", "/v1/blocks/1%20", "/metrics", "/" + "a" * 15_000,
                 "/v1/records?" + "a=b&" * 3_000, "/v1/records?after=" + "9" * 10_000,
                 "/v1/records?session=%ff", "/v1/status?" + "x" * 15_000,
                 "/v1/status?" + "x" * 100_000):
        with contextlib.suppress(ConnectionError):  # Hung up on before it was all sent.
            status, _, answer = net.ask(VICTIM, path)
            expect(400 <= status < 500, f"{status} for {path[:40]}: {answer[:100]}")
            told[status] = told.get(status, 0) + 1
    return str(told)


@case
def http_two(net):
    """The beginning of HTTP/2 with thousands of streams that are reset at once."""
    stream = bytes.fromhex("000001010500000001") + b"\x82" + bytes.fromhex("000004030000000001") + bytes(4)
    with socket.create_connection(("127.0.0.1", net.port(VICTIM, "api")), timeout=12) as link:
        answer = b""
        with contextlib.suppress(OSError):
            link.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
            link.sendall(stream * 5_000)
            answer = link.recv(4096)
    expect(b" 200" not in answer[:20], f"{answer[:60]}")
    return f"hung up on: {answer[:40]}"


@case
def http_silent_readers(net):
    """400 event streams from the first block on that nobody reads."""
    links = []
    for _ in range(400):
        link = socket.create_connection(("127.0.0.1", net.port(VICTIM, "api")), timeout=10)
        link.sendall(b"GET /v1/events?from_height=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        links.append(link)
    heads = [link.recv(12) for link in links]
    memory = resident(net, VICTIM)
    began = time.monotonic()
    expect(net.ask(VICTIM, "/v1/status", timeout=5)[0] == 200, "it does not answer others")
    took = time.monotonic() - began
    for link in links:
        link.close()
    opened, refused = heads.count(b"HTTP/1.1 200"), heads.count(b"HTTP/1.1 503")
    expect(0 < opened <= 256 and opened + refused == 400, f"{opened} opened, {refused} refused")
    return f"{opened} opened, {refused} refused, {memory >> 20} MiB; others wait {took:.2f} s"


@case
def http_batch_lines(net):
    """Batches of one line of 4 MiB, of four million empty lines, and of too many."""
    kind = {"Content-Type": "application/x-ndjson"}
    size = 4 * 1024 * 1024
    status, answer = post(net, b"[" * size, kind, "/v1/records:batch")
    expect(status == 200 and json.loads(answer)["code"], f"{status}: {answer[:200]}")
    status, answer = post(net, b"\n" * size, kind, "/v1/records:batch")
    expect((status, answer) == (200, ""), f"{status}: {answer[:200]}")
    expect_status(413, *post(net, b"{}\n" * 1001, kind, "/v1/records:batch"))
    return expect_status(413, *post(net, b" " * (size + 1), kind, "/v1/records:batch"))


@case
def http_many_bodies(net):
    """300 batches of 4 MiB that never end: the node bounds what it holds."""
    before = resident(net, VICTIM)
    head = (b"POST /v1/records:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            b"Content-Length: 4194304\r\n\r\n")
    body, links, refused = b" " * 4_100_000, [], 0
    for _ in range(300):
        link = socket.create_connection(("127.0.0.1", net.port(VICTIM, "api")), timeout=10)
        with contextlib.suppress(OSError):
            link.sendall(head + body)
        links.append(link)
    grown = resident(net, VICTIM) - before
    expect(net.ask(VICTIM, "/v1/status", timeout=5)[0] == 200, "it does not answer others")
    for link in links:
        with contextlib.suppress(OSError):
            link.setblocking(False)
            refused += b" 503 " in link.recv(4096)
        link.close()
    expect(grown < 512 << 20, f"it takes {grown >> 20} MiB more")
    return f"{grown >> 20} MiB more, {refused} told 503"


@case
def http_bad_signatures(net):
    """5000 records in batches and 300 alone, with wrong signatures."""
    signed = json.loads(net.signer.sign())
    value = signed["signature"]["value"] if isinstance(signed.get("signature"), dict) else None
    expect(value, f"an envelope without signature.value: {list(signed)}")
    chance = random.Random(1)

    def forged():
        signed["signature"]["value"] = chance.randbytes(len(value) // 2).hex()
        return json.dumps(signed, separators=(",", ":"), sort_keys=True)

    began = time.monotonic()
    codes = {}
    for _ in range(10):
        body = "\n".join(forged() for _ in range(500))
        status, answer = post(net, body, {"Content-Type": "application/x-ndjson"},
                              "/v1/records:batch")
        expect(status == 200, f"{status}: {answer[:200]}")
        for line in answer.splitlines():
            name = json.loads(line).get("name", "accepted")
            codes[name] = codes.get(name, 0) + 1
    for _ in range(300):
        status, answer = post(net, forged())
        expect(status == 422, f"{status}: {answer[:200]}")
    expect(len(codes) == 1 and "accepted" not in codes, str(codes))
    return f"{codes}, then 300 times 422, in {time.monotonic() - began:.1f} s"


@case
def pattern_refusals(net):
    """Patterns that are forged, contradictory, old, known or no better: none goes further."""
    signer = Signer(net, "pattern-source")

    def signed(timestamp=None, **metrics):
        pattern = offer(0, signer.public_key)
        pattern["payload"]["data"]["metrics"] |= metrics
        if timestamp:
            pattern["timestamp"] = timestamp
        return signer.sign(json.dumps(pattern))

    def offered(envelope):
        status, answer = post(net, envelope, path="/v1/patterns")
        return status, json.loads(answer)

    def judged():
        return [sum(value for name, value in net.metrics(k).items()
                    if name.startswith("bizra_pattern_offers_total")) for k in range(1, net.count)]

    good = signed()
    unsigned = json.loads(good)
    del unsigned["signature"]
    before = judged()
    status, answer = offered(good)
    expect(status == 202, f"a good one: {status} {answer}")
    wait_for(lambda: all(now > then for now, then in zip(judged(), before)), 10, "it does not spread")
    before = judged()
    named = re.search(rb"sape_[0-9a-f]{16}", good)[0]
    for what, envelope, wanted in [
        ("unsigned", json.dumps(unsigned).encode(), "SCHEMA"),
        ("changed", good.replace(b"smaller", b"larger"), "SIGNATURE"),
        ("another id", good.replace(named, b"sape_0123456789abcdef"), "SCHEMA"),
        ("too many uses", good.replace(b'"uses":10', b'"uses":9007199254740991'), "SCHEMA"),
        ("no metrics", re.sub(rb'"metrics":\{[^}]*\}', b'"metrics":{}', good), "SCHEMA"),
        ("a record", net.signer.sign(), "SCHEMA"),
        ("old", signed("2026-01-01T00:00:00Z"), "STALE"),
        ("future", signed("2126-01-01T00:00:00Z"), "FUTURE"),
        ("more successes than uses", signed(successes=11), "INVARIANT"),
        ("used after now", signed(last_used="2126-01-01T00:00:00Z"), "INVARIANT"),
        ("no better", signed(), "STATE"),
        ("worse", signed(successes=8), "STATE"),
    ]:
        status, answer = offered(envelope)
        expect((status, answer.get("name")) == (422, wanted), f"{what}: {status} {answer}")
    for _ in range(100):
        status, answer = offered(good)
        expect(status == 202, f"known: {status} {answer}")
    status, answer = offered(good + b" " * (64 << 10))
    expect(status == 413, f"64 KiB and more: {status} {answer}")
    expect(judged() == before, f"others have judged {before} and then {judged()}")
    return "12 refused, 100 copies taken as known, none of them passed on"


# --- Nodes that are set up wrongly ------------------------------------------

class Extra:
    """A node of its own folder beside the testnet."""

    def __init__(self, net, name, keys=None):
        self.net = net
        self.folder = net.folder / name
        self.folder.mkdir()
        self.ports = [net.base + 10 * net.count + offset for offset in range(4)]
        if keys:
            shutil.copytree(net.dir / f"node-{keys}" / "keys", self.folder / "keys")
        else:
            (self.folder / "keys").mkdir(mode=0o700)
            for kind in ("network", "consensus", "vrf", "kem"):
                keygen(net, kind, self.folder / "keys" / f"{kind}.key")
        self.settings = {"data_dir": "data", "keys_dir": "keys",
                         "genesis": net.dir / "genesis.json", "peers": net.dir / "peers.json"}

    def config(self, extra=""):
        tcp, quic, api, admin = self.ports
        lines = [f'{name} = "{value}"' for name, value in self.settings.items()]
        text = "\n".join([extra, *lines, "[p2p]", f'listen_tcp = "127.0.0.1:{tcp}"',
                          f'listen_quic = "127.0.0.1:{quic}"', "[api]",
                          f'listen = "127.0.0.1:{api}"', "[admin]",
                          f'listen = "127.0.0.1:{admin}"'])
        path = self.folder / "config.toml"
        path.write_text(text + "\n")
        return path

    @contextlib.contextmanager
    def running(self, extra=""):
        """The process and the file of what it says."""
        log = self.folder / "log.txt"
        with log.open("w") as file:
            process = subprocess.Popen([self.net.program, "run", "--config", self.config(extra)],
                                       stdout=file, stderr=file)
        try:
            yield process, log
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def refused(self, *words, extra=""):
        """Expects it to end by itself and to name what is wrong and where."""
        with self.running(extra) as (process, log):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            code = process.poll()
        text = log.read_text()
        said = [line for line in text.splitlines() if " INFO " not in line]
        said = " ".join(said)[-400:]
        expect(code is not None, f"it runs: {said}")
        expect(code != 0, f"exit code 0: {said}")
        expect("panicked" not in text, said)
        absent = [word for word in words if str(word) not in text]
        expect(not absent, f"{absent} is not named: {said}")
        return f"exit code {code}: {said}"


@case
def config_typo(net):
    """A key of the configuration that does not exist."""
    return Extra(net, "typo").refused("data_dirr", "data_dir", extra='data_dirr = "x"')


@case
def config_value(net):
    """A value of the configuration that is none."""
    node = Extra(net, "value")
    node.ports[2] = 99_999
    return node.refused("listen", "99999")


@case
def port_in_use(net):
    """Each of the four ports is taken by another process in turn."""
    said, failed = [], False
    for place, what in enumerate(("tcp", "quic", "api", "admin")):
        node = Extra(net, f"port-{what}")
        node.ports[place] = net.port(VICTIM, what)
        try:
            said.append(f"{what}: {node.refused(net.port(VICTIM, what))[-150:]}")
        except Failed as failure:
            failed = True
            said.append(f"{what}: {failure}")
    expect(not failed, " | ".join(said))
    return " | ".join(said)


@case
def readable_key(net):
    """A key file that the group may read."""
    node = Extra(net, "readable")
    key = node.folder / "keys" / "consensus.key"
    key.chmod(0o640)
    return node.refused(key, "0640")


@case
def missing_key(net):
    """A key file that is not there."""
    node = Extra(net, "missing")
    key = node.folder / "keys" / "vrf.key"
    key.unlink()
    return node.refused(key)


@case
def swapped_key(net):
    """A network key where the consensus key should be."""
    node = Extra(net, "swapped")
    key = node.folder / "keys" / "consensus.key"
    shutil.copy(node.folder / "keys" / "network.key", key)
    return node.refused(key)


@case
def foreign_network_key(net):
    """A validator's keys with another network key."""
    node = Extra(net, "foreign", keys=1)
    (node.folder / "keys" / "network.key").unlink()
    keygen(net, "network", node.folder / "keys" / "network.key")
    return node.refused("node-1", "network key")


@case
def broken_genesis(net):
    """A genesis file that is cut off."""
    node = Extra(net, "genesis")
    text = (net.dir / "genesis.json").read_bytes()
    node.settings["genesis"] = node.folder / "genesis.json"
    node.settings["genesis"].write_bytes(text[:1000])
    return node.refused(node.settings["genesis"])


@case
def broken_peers(net):
    """A list of peers that is none."""
    node = Extra(net, "peers")
    node.settings["peers"] = node.folder / "peers.json"
    node.settings["peers"].write_text('{"bootnodes": ["/ip4/127.0.0.1/tcp/70000"]}')
    return node.refused(node.settings["peers"])


@case
def data_of_another_chain(net):
    """A data folder of another chain."""
    other = net.folder / "other"
    net.bizra("testnet", "init", "--validators", "4", "--dir", other, "--base-port",
              str(net.base + 10 * net.count))
    node = Extra(net, "other-chain")
    node.settings |= {"genesis": other / "genesis.json", "peers": other / "peers.json"}
    with node.running() as (_, log):
        wait_for(lambda: " running " in log.read_text(), 10, "the first chain does not start")
    node.settings |= {"genesis": net.dir / "genesis.json", "peers": net.dir / "peers.json"}
    return node.refused(node.folder / "data", "chain")


@case
def second_process(net):
    """A second process on the folders of a running validator."""
    node = Extra(net, "second")
    node.settings["keys_dir"] = net.dir / "node-1" / "keys"
    first = node.refused(net.dir / "node-1" / "keys", "in use")
    node = Extra(net, "second-data")
    node.settings["data_dir"] = net.dir / "node-1" / "data"
    return first + " | " + node.refused(net.dir / "node-1" / "data")


@case
def unknown_peer(net):
    """A node with fresh keys that is in no list: it follows."""
    node = Extra(net, "unknown")
    with node.running() as (process, log):
        target = net.height(VICTIM)
        began = time.monotonic()
        wait_for(lambda: follower_height(node) >= target, 30,
                 lambda: f"height {follower_height(node)} of {target}: {log.read_text()[-500:]}")
        took = time.monotonic() - began
        expect("panicked" not in log.read_text(), "it panicked")
        warned = [line for line in log.read_text().splitlines() if "no committee" in line]
        expect(warned, "it does not say that it is in no committee")
        expect(process.poll() is None, "it ended")
    return f"follows: height {target} after {took:.1f} s; says: {warned[0][-100:]}"


@case
def one_key_twice(net):
    """A copy of a validator's keys in a second, empty node while the first runs."""
    node = Extra(net, "twin", keys=4)
    with node.running() as (process, log):
        before = net.height(VICTIM)
        time.sleep(15)
        after = net.height(VICTIM)
        text = log.read_text()
        state = "runs" if process.poll() is None else f"ended with {process.poll()}"
        height = follower_height(node)
    equivocations = sum(net.metrics(k)["bizra_consensus_equivocations_total"]
                        for k in range(net.count))
    said = " ".join(line for line in text.splitlines() if " INFO " not in line)[-300:]
    expect("panicked" not in text, said)
    expect(after > before + 3, f"the chain stands: {before}, {after}")
    return (f"the twin {state}, at height {height}; chain {before} to {after}; "
            f"evidence {equivocations:.0f}; it says: {said}")


@case
def bad_peers_on_hangup(net):
    """SIGHUP with a broken list of peers: the old one stays."""
    peers = net.dir / "peers.json"
    good = peers.read_bytes()
    try:
        peers.write_text("{")
        os.kill(net.pid(VICTIM), signal.SIGHUP)
        wait_for(lambda: "keeping the old list of peers" in net.log(VICTIM), 5, "no word about it")
    finally:
        peers.write_bytes(good)
    os.kill(net.pid(VICTIM), signal.SIGHUP)
    wait_for(lambda: "read the list of peers again" in net.log(VICTIM), 5, "not read again")
    return [line for line in net.log(VICTIM).splitlines() if "keeping the old" in line][0][-200:]


# --- Help ---------------------------------------------------------------

def wait_for(is_so, seconds, otherwise):
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise Failed(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.1)


def descriptors(net, k):
    return len(os.listdir(f"/proc/{net.pid(k)}/fd"))


def resident(net, k):
    """Bytes of memory that a node has."""
    with open(f"/proc/{net.pid(k)}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def ready_reasons(net, k):
    try:
        body = net.ask(k, "/readyz", admin=True, timeout=3)[2]
    except OSError as error:
        return [str(error)]
    return [reason["name"] for reason in json.loads(body)["failing"]]


def follower_height(node):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.ports[2]}/v1/status", timeout=3) as answer:
            return json.load(answer)["height"]
    except OSError:
        return -1


def run_all(net, only):
    net.signer = Signer(net)
    wait_for(lambda: min(net.height(k) for k in range(net.count)) > 20, 60, "the chain is too slow")
    table = []
    for test in CASES:
        if only and only not in test.__name__:
            continue
        panics = net.panics()
        before = net.height(1)
        began = time.monotonic()
        try:
            outcome, ok = test(net), True
            wait_for(lambda: net.height(1) > before + 1, 10, "the chain stands still")
            expect(net.panics() == panics, f"panicked; {outcome}")
        except Failed as failure:
            outcome, ok = str(failure), False
        except Exception as error:  # Told as a failure of its case, so that the others still run.
            outcome, ok = f"{type(error).__name__}: {error}", False
        table.append((test.__name__, ok))
        outcome = " ".join(outcome.split())
        seconds = time.monotonic() - began
        print(f"{'ok  ' if ok else 'FAIL'} {test.__name__:24} {seconds:5.1f} s  {test.__doc__}\n"
              f"{'':30}{outcome}", flush=True)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin")
    parser.add_argument("--only")
    arguments = parser.parse_args()
    net = Testnet(binary(arguments.bin))
    disk = net.dir / f"node-{FULL}" / "data"
    if not os.geteuid():
        subprocess.run(["mount", "-t", "tmpfs", "-o", FULL_DISK, "tmpfs", disk],
                       check=True)
    holds = False
    try:
        with net:
            over, loads = threading.Event(), []
            loading = threading.Thread(target=net.keep_loading, args=(over, loads, "20"))
            loading.start()
            try:
                table = run_all(net, arguments.only)
            finally:
                over.set()
                loading.join()
            head, disagreements = net.disagreements()
            print("\n".join(disagreements[:5]), end="")
            holds = verdict({
                "measure": "hostile", "cases": len(table),
                "failed": [name for name, ok in table if not ok],
                "load_final": sum(load["final"] for load in loads),
                "load_lost": sum(load["lost"] for load in loads),
                "load_reasons": [load["reasons"] for load in loads if load["reasons"]],
                "blocks_compared": head, "disagreements": len(disagreements),
                "panics": net.panics(),
            }, ["failed == []", "load_final > 0", "load_lost == 0", "disagreements == 0",
                "panics == 0"])
            if not holds:
                raise SystemExit(1)
    finally:
        if not os.geteuid():
            subprocess.run(["umount", disk], check=False)
            if holds and not os.environ.get("KEEP"):
                shutil.rmtree(net.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
