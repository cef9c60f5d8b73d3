#!/usr/bin/env python3
"""A day in ten minutes: many clients call everything at random, leave, cancel and come back.

    soak.py BINARY [--short] [--minutes N] [--clients N] [--seed N] [--port N]

Starts the gateway with the demo model in a home of its own, with small limits, so that evictions and
refusals are frequent. Prints what the process holds over time, and says whether it is flat after
the warm-up. Standard library only; Linux.

Exit code: 0 flat, 1 something grows, 2 the gateway failed (an unexpected 5xx, a crash).
"""

import argparse
import base64
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CONFIG = """
[gateway]
max_live_conversations = 24
conversation_idle_ms = 4000
event_log_bytes = 262144
max_event_log_bytes = 4194304
max_queued_prompts = 4
max_terminals = 4
terminal_idle_ms = 5000
"""

# Statuses that a random call may get. Anything else is a failure of the gateway.
EXPECTED = {200, 201, 202, 204, 400, 404, 405, 408, 409, 410, 413, 415, 422, 426, 429, 503}

PROMPTS = [
    "say: hello",
    "say: " + "long " * 200,
    "slow: 5",
    "slow: 40",
    "run: echo hi",
    "run: seq 1 2000",
    "run: sleep 0.2",
    "what did I say before?",
]


class Soak:
    def __init__(self, options):
        self.options = options
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.counts = {}
        self.failures = []
        self.ids = []

    def count(self, status):
        with self.lock:
            self.counts[status] = self.counts.get(status, 0) + 1

    def fail(self, what):
        with self.lock:
            if len(self.failures) < 20:
                self.failures.append(what)

    def known(self, rng):
        with self.lock:
            return rng.choice(self.ids) if self.ids else "01234567-89ab-7def-8123-456789abcdef"

    def learn(self, body):
        try:
            found = json.loads(body).get("conversation_id")
        except (ValueError, AttributeError):
            return
        if found:
            with self.lock:
                self.ids.append(found)
                del self.ids[:-200]

    def request(self, method, path, body=None, headers=None, leave=False):
        """Sends a request on a connection of its own; may leave before the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.options.port, timeout=60)
        try:
            headers = dict(headers or {})
            data = None
            if body is not None:
                data = json.dumps(body).encode()
                headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, headers)
            if leave:
                time.sleep(random.random() / 10)
                return 0, b""
            reply = connection.getresponse()
            data = reply.read(4 << 20)
            self.count(reply.status)
            if reply.status not in EXPECTED:
                self.fail(f"{method} {path}: {reply.status} {data[:300]!r}")
            return reply.status, data
        except (OSError, http.client.HTTPException) as error:
            self.count(type(error).__name__)
            return 0, b""
        finally:
            connection.close()

    def rpc(self, rng, method, params, leave=False):
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        if rng.random() < 0.1:
            message = [message, dict(message, id=2)]
        return self.request("POST", "/jsonrpc", message, leave=leave)

    def websocket(self, rng):
        """Opens a WebSocket, subscribes, calls, and drops it."""
        with socket.create_connection(("127.0.0.1", self.options.port), timeout=30) as raw:
            key = base64.b64encode(os.urandom(16)).decode()
            raw.sendall(
                f"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
            )
            if b" 101 " not in raw.recv(4096):
                self.count("no upgrade")
                return
            calls = [
                ("conversation.subscribe", {"conversation_id": self.known(rng), "after_seq": 0}),
                ("conversation.prompt", {"prompt": rng.choice(PROMPTS), "session_id": session(rng)}),
                ("conversation.list", {}),
            ]
            for number, (method, params) in enumerate(rng.sample(calls, rng.randint(1, 3))):
                text = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
                raw.sendall(frame(json.dumps(text).encode()))
            raw.settimeout(rng.random() * 2)
            try:
                while raw.recv(65536):
                    pass
            except TimeoutError:
                pass
            self.count("websocket")

    def step(self, rng):
        name, one = session(rng), self.known(rng)
        prompt = {"prompt": rng.choice(PROMPTS), "session_id": name}
        prompt["if_busy"] = rng.choice(["reject", "steer", "queue"])
        if rng.random() < 0.2:
            prompt["timeout_ms"] = 1000
        leave = rng.random() < 0.25
        path = f"/api/v1/conversations/{one}"
        choices = [
            (8, lambda: self.learn(self.request("POST", "/api/v1/exec", prompt, leave=leave)[1])),
            (6, lambda: self.request("POST", "/exec", prompt, leave=leave)),
            (3, lambda: self.request("POST", "/exec", prompt, {"Accept": "text/event-stream"}, leave)),
            (3, lambda: self.request("POST", "/api/v1/exec/stream", prompt, leave=leave)),
            (3, lambda: self.request("POST", f"{path}/turns", {"prompt": "say: x"}, leave=leave)),
            (3, lambda: self.learn(self.request("POST", "/api/v1/conversations", {"session_id": name})[1])),
            (3, lambda: self.request("POST", f"{path}/interrupt")),
            (2, lambda: self.request("POST", f"{path}/steer", {"prompt": "more"})),
            (2, lambda: self.request("POST", f"{path}/fork", {})),
            (2, lambda: self.request("POST", f"{path}/resume")),
            (2, lambda: self.request("POST", f"{path}/compact", leave=leave)),
            (1, lambda: self.request("POST", f"{path}/rollback", {"turns": 1})),
            (2, lambda: self.request("DELETE", path)),
            (2, lambda: self.request("GET", path)),
            (2, lambda: self.request("GET", f"{path}/history?limit=5")),
            (1, lambda: self.request("GET", f"{path}/diff")),
            (1, lambda: self.request("GET", f"{path}/approvals")),
            (3, lambda: self.request("GET", f"{path}/events?after=0", leave=True)),
            (2, lambda: self.request("GET", "/api/v1/conversations?status=" + rng.choice(
                ["idle", "running", "closed", "waiting_approval"]))),
            (1, lambda: self.request("GET", rng.choice(["/health", "/metrics", "/openapi.json", "/nowhere"]))),
            (1, lambda: self.request(rng.choice(["PUT", "PATCH", "HEAD"]), rng.choice(["/exec", path]))),
            (2, lambda: self.rpc(rng, "exec", {"command": "echo hi", "shell": True}, leave)),
            (1, lambda: self.rpc(rng, "apply", {"patch": "nonsense", "repo_path": "nowhere"})),
            (2, lambda: self.rpc(rng, "conversation.status", {"session_id": name})),
            (2, lambda: self.rpc(rng, "conversation.cancel", {"session_id": name})),
            (1, lambda: self.rpc(rng, "interactive.start", {"detached": True})),
            (1, lambda: self.rpc(rng, "mcp.list", {})),
            (1, lambda: self.rpc(rng, "auth.login", {
                "session_id": name, "provider": "openai", "credentials": {"api_key": "sk-x"}})),
            (1, lambda: self.rpc(rng, "auth.logout", {"session_id": name})),
            (1, lambda: self.rpc(rng, "bff.proxy", {"endpoint": "nowhere/x", "method": "GET"})),
            (1, lambda: self.rpc(rng, "rpc.discover", {})),
            (4, lambda: self.websocket(rng)),
        ]
        weights, calls = zip(*choices)
        rng.choices(calls, weights)[0]()

    def client(self, number):
        rng = random.Random(self.options.seed * 1000 + number)
        while not self.stop.is_set():
            try:
                self.step(rng)
            except OSError as error:
                self.count(type(error).__name__)


def session(rng):
    return f"s{rng.randrange(80)}"


def frame(data):
    """A masked text frame (RFC 6455, section 5.2)."""
    head = bytes([0x81])
    if len(data) < 126:
        head += bytes([0x80 | len(data)])
    else:
        head += bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def disk(folder):
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                pass
    return total


def sample(process, home, soak):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    row = {
        "rss_mb": int(fields["VmRSS"].split()[0]) // 1024,
        "threads": int(fields["Threads"]),
        "fds": len(os.listdir(f"/proc/{process.pid}/fd")),
        "children": children(process.pid),
        "disk_mb": disk(home) // (1 << 20),
        "calls": sum(soak.counts.values()),
    }
    status, body = soak.request("GET", "/health")
    load = json.loads(body)["load"] if status == 200 else {}
    row["live"], row["tasks"] = load.get("conversations", -1), load.get("tasks", -1)
    return row


def children(pid):
    """The processes below a process."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found, below = 0, {pid}
    while below:
        below = {child for child, parent in parents.items() if parent in below}
        found += len(below)
    return found


def show(minute, row):
    print(
        f"{minute:6.1f}  {row['rss_mb']:7}  {row['fds']:5}  {row['threads']:7}  {row['tasks']:6}  "
        f"{row['children']:8}  {row['live']:5}  {row['disk_mb']:7}  {row['calls']:8}",
        flush=True,
    )


# How much more than after the warm-up the end may be: factor and absolute slack.
FLAT = {"rss_mb": (1.25, 40), "fds": (1.2, 60), "threads": (1.2, 20), "tasks": (1.2, 60), "children": (1.2, 20)}


def median(rows, key):
    values = sorted(row[key] for row in rows)
    return values[len(values) // 2]


def verdict(rows):
    """Compares the second quarter with the last one."""
    quarter = max(1, len(rows) // 4)
    early, late = rows[quarter : 2 * quarter], rows[-quarter:]
    grown = []
    for key, (factor, slack) in FLAT.items():
        before, after = median(early, key), median(late, key)
        if after > before * factor + slack:
            grown.append(f"{key}: {before} after the warm-up, {after} at the end")
    return grown


def start(options, home):
    with open(os.path.join(home, "config.toml"), "w", encoding="ascii") as file:
        file.write(CONFIG)
    log = open(os.path.join(home, "log"), "wb")  # closed with the process
    environment = {
        "PATH": os.environ["PATH"], "HOME": home, "CODEX_HOME": home,
        "PORT": str(options.port), "RUST_LOG": "warn",
    }
    for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "CODEX_UNSAFE_ALLOW_NO_SANDBOX"):
        if name in os.environ:
            environment[name] = os.environ[name]
    process = subprocess.Popen([options.binary], env=environment, stdout=log, stderr=log)
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", options.port), 1).close()
            return process
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit("the gateway did not start; see " + log.name)


def settle(process, home, soak):
    """What is left when nobody calls any more."""
    soak.request("GET", "/health")
    for _ in range(60):
        time.sleep(1)
        row = sample(process, home, soak)
        if row["live"] == 0:
            break
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary")
    parser.add_argument("--short", action="store_true", help="90 seconds")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=19599)
    parser.add_argument("--home", help="the parent of the gateway's home; not below /tmp")
    options = parser.parse_args()
    minutes = 1.5 if options.short else options.minutes
    home = tempfile.mkdtemp(prefix="soak-", dir=options.home or os.path.dirname(os.path.abspath(options.binary)))
    soak = Soak(options)
    process = start(options, home)
    failed = False
    try:
        idle = sample(process, home, soak)
        print("minute   rss_mb    fds  threads   tasks  children   live  disk_mb     calls")
        show(0, idle)
        clients = [threading.Thread(target=soak.client, args=(n,), daemon=True) for n in range(options.clients)]
        for client in clients:
            client.start()
        begun, rows = time.monotonic(), []
        while time.monotonic() - begun < minutes * 60:
            time.sleep(max(2, minutes))
            if process.poll() is not None:
                print(f"the gateway ended with {process.returncode}; see {home}/log")
                return 2
            rows.append(sample(process, home, soak))
            show((time.monotonic() - begun) / 60, rows[-1])
        soak.stop.set()
        for client in clients:
            client.join(90)
        rest = settle(process, home, soak)
        show((time.monotonic() - begun) / 60, rest)
        print("answers:", ", ".join(f"{key}: {soak.counts[key]}" for key in sorted(soak.counts, key=str)))
        grown = verdict(rows)
        if rest["live"] > 0:
            grown.append(f"live: {rest['live']} conversations a minute after the last call")
        for failure in soak.failures:
            print("FAILED", failure)
        for line in grown:
            print("GROWS", line)
        failed = bool(soak.failures or grown)
        print("not flat" if grown else "flat")
        return 2 if soak.failures else 1 if grown else 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                print("did not end within 20 s of SIGTERM")
        if failed:
            print("log:", os.path.join(home, "log"))
        else:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
