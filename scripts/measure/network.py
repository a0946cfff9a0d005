"""A testnet of one machine for the scripts of this folder, and small help for the shell ones."""

import contextlib
import datetime
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


def free_ports(count):
    """The first of so many neighbouring ports that are free for TCP and UDP."""
    # Below the ports that the system gives to outgoing connections.
    for _ in range(100):
        base = random.randrange(10_000, 32_000 - count, 10)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        held = stack.enter_context(socket.socket(socket.AF_INET, kind))
                        held.bind(("127.0.0.1", port))
                return base
            except OSError:
                continue
    raise SystemExit(f"no {count} neighbouring ports are free")


def binary(argument=None):
    """The program to measure."""
    default = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug", "bizra")
    path = pathlib.Path(argument or os.environ.get("BIZRA_BIN", default)).absolute()
    if not os.access(path, os.X_OK):
        raise SystemExit(f"{path} is no program: build it, or name it with BIZRA_BIN")
    return path


class Testnet:
    """Seven validators; a context manager that stops what it started."""

    def __init__(self, program, validators=7, base=None):
        self.program = program
        self.count = validators
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.dir = self.folder / "net"
        self.base = base or free_ports(10 * validators)
        self.supervisor = None
        self.bizra("testnet", "init", "--validators", str(validators), "--dir", self.dir,
                   "--base-port", str(self.base))

    def bizra(self, *arguments, check=True, **options):
        """Runs a command to its end."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, **options)
        if check and done.returncode:
            raise RuntimeError(f"bizra {arguments}: {done.stdout}{done.stderr}")
        return done

    def __enter__(self):
        output = self.folder / "up.txt"
        with output.open("w") as file:
            self.supervisor = subprocess.Popen(
                [self.program, "testnet", "up", "--dir", self.dir, "--timeout", "120"],
                stdout=file, stderr=file)
        while "ready\n" not in output.read_text():
            if self.supervisor.poll() is not None:
                raise SystemExit(output.read_text())
            time.sleep(0.1)
        return self

    def __exit__(self, kind, *_):
        for k in range(self.count):
            with contextlib.suppress(OSError, ValueError):
                os.kill(self.pid(k), signal.SIGCONT)
        if self.supervisor and self.supervisor.poll() is None:
            self.supervisor.terminate()
            self.supervisor.wait()
        self.bizra("testnet", "down", "--dir", self.dir, check=False)
        if kind is None and not os.environ.get("KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"the logs are in {self.dir}/node-*/log.txt", file=sys.stderr)

    def port(self, k, what):
        return self.base + 10 * k + ["tcp", "quic", "api", "admin"].index(what)

    def pid(self, k):
        return int((self.dir / f"node-{k}" / "pid").read_text())

    def up(self, k):
        """Starts a node again; the process that waits for it to be ready."""
        return subprocess.Popen([self.program, "testnet", "up", "--dir", self.dir, "--node", str(k)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def ask(self, k, path, method="GET", body=None, headers=None, admin=False, timeout=20):
        """Status, headers and body of an answer."""
        port = self.port(k, "admin" if admin else "api")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, k, path):
        status, _, body = self.ask(k, path)
        if status != 200:
            raise RuntimeError(f"node {k}: {path}: {status} {body[:200]}")
        return json.loads(body)

    def submit(self, k, record, wait="accepted"):
        status, _, body = self.ask(k, f"/v1/records?wait={wait}", "POST", record,
                                   {"Content-Type": "application/json"}, timeout=60)
        return status, json.loads(body)

    def metrics(self, k):
        """Metric with labels to value."""
        _, _, body = self.ask(k, "/metrics", admin=True)
        lines = (line.rsplit(" ", 1) for line in body.decode().splitlines() if line[:1] != "#")
        return {name: float(value) for name, value in lines}

    def height(self, k):
        return self.get(k, "/v1/status")["height"]

    def log(self, k):
        return (self.dir / f"node-{k}" / "log.txt").read_text(errors="replace")

    def panics(self):
        return sum(self.log(k).count("panicked") for k in range(self.count))

    def signed_height(self, observer, k):
        """The newest block that validator k signed, as far as another one heard."""
        name = f'bizra_consensus_validator_last_signed_height{{validator="node-{k}"}}'
        return self.metrics(observer)[name]

    def keep_loading(self, over, loads, rate=os.environ.get("RATE", "40")):
        """Loads in pieces until the event is set, since the end is not known beforehand."""
        while not over.is_set():
            done = self.bizra("load", "--testnet", self.dir, "--rate", rate, "--duration", "10",
                              "--json", check=False)
            if done.stdout.strip():
                loads.append(json.loads(done.stdout))
            else:
                print(f"load: {done.stderr}", file=sys.stderr)

    def disagreements(self):
        """Waits until nobody is behind, then compares every block of all nodes."""
        deadline = time.monotonic() + 60
        target = max(self.height(k) for k in range(self.count))
        while min(self.height(k) for k in range(self.count)) < target:
            if time.monotonic() > deadline:
                return target, [f"behind {target}: {[self.height(k) for k in range(self.count)]}"]
            time.sleep(0.1)
        connections = [http.client.HTTPConnection("127.0.0.1", self.port(k, "api"), timeout=20)
                       for k in range(self.count)]
        differ = []
        for height in range(1, target + 1):
            ids = set()
            for connection in connections:
                connection.request("GET", f"/v1/blocks/{height}")
                block = json.loads(connection.getresponse().read())
                ids.add((block.get("block_id"), block.get("exec")))
            if len(ids) != 1 or (None, None) in ids:
                differ.append(f"height {height}: {ids}")
        return target, differ


def judge(arguments):
    """Prints figures and broken bounds; see common.sh."""
    split = arguments.index("--")
    figures = {}
    for argument in arguments[:split]:
        if argument.startswith("{"):
            figures |= json.loads(argument)
        elif ":=" in argument:
            name, _, formula = argument.partition(":=")
            figures[name] = eval(formula, {}, figures)
        else:
            name, _, value = argument.partition("=")
            try:
                figures[name] = json.loads(value)
            except ValueError:
                figures[name] = value
    return verdict(figures, arguments[split + 1:])


def verdict(figures, bounds):
    """One line of JSON; whether every bound holds. A missing figure breaks its bound."""
    broken = []
    for bound in bounds:
        try:
            if not eval(bound, {"__builtins__": {"abs": abs}}, figures):
                broken.append(bound)
        except (NameError, TypeError):
            broken.append(bound)
    print(json.dumps(figures | {"broken": broken}))
    return not broken


def log_offset(path):
    """Milliseconds by which the newest line of a log is ahead of the file's change time."""
    with open(path, "rb") as file:
        last = file.read().splitlines()[-1].decode()
        written = os.fstat(file.fileno()).st_mtime
    stamp = datetime.datetime.fromisoformat(last.split()[0].replace("Z", "+00:00"))
    return round((stamp.timestamp() - written) * 1000)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "free-ports":
        print(free_ports(int(rest[0])))
    elif command == "log-offset":
        print(log_offset(rest[0]))
    elif command == "judge":
        sys.exit(not judge(rest))
