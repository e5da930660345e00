"""What the benchmarks share: a load generator in a process of its own, cores, and disks.

    python -m tests.benchmarks.load URL CONNECTIONS REQUESTS < BODY

sends the body so many times, over so many kept connections with one request in flight each, every
request with a Webhook-Id of its own, and prints one JSON object.
"""

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count, islice
from math import ceil
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httptools
import psutil

from hfhooks.tasks import run
from tests.harness import Server, payload_bytes, wait_until

PAYLOAD = payload_bytes("pr_create_v3_docs")
HANDLER = """
async def train(payload: WebhookPayload):
    return {"name": payload.repo.name}
"""
HFHOOKS_SCRIPT = f"from hfhooks import WebhookPayload, webhook_endpoint\n@webhook_endpoint{HANDLER}"
FASTAPI_SCRIPT = f"""from fastapi import FastAPI
from hfhooks import WebhookPayload
app = FastAPI()
@app.post("/webhooks/train"){HANDLER}"""
REAL_DISK = Path("/var/tmp")
"""Where temporary files outlive the machine; /tmp is often memory."""
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Answers:
    """What came back for one load."""

    seconds: float
    statuses: Counter[str]
    latencies: Sequence[float]
    """Milliseconds, in order of arrival."""

    def __add__(self, other: Self) -> "Answers":
        return Answers(
            self.seconds + other.seconds,
            self.statuses + other.statuses,
            [*self.latencies, *other.latencies],
        )

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def sent(self) -> int:
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Return how many were refused, cut short, or not answered with a 2xx."""
        return sum(n for status, n in self.statuses.items() if not status.startswith("2"))

    def percentile(self, percent: float) -> float:
        """Return the latency, in milliseconds, that so many per cent do not exceed."""
        return percentile(self.latencies, percent)

    def complain(self, expected: int) -> None:
        """Say so if anything else than this status came back."""
        if others := {s: n for s, n in self.statuses.items() if s != str(expected)}:
            print(f"  not {expected}: {', '.join(f'{n} x {s}' for s, n in others.items())}")

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        content = json.loads(text)
        return cls(**{**content, "statuses": Counter(content["statuses"])})


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many per cent do not exceed."""
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def send(url: str, connections: int, requests: int, body: bytes = PAYLOAD) -> Answers:
    """Send a load from a process of its own, so that nothing here slows it down."""
    command = [sys.executable, "-m", __name__, url, str(connections), str(requests)]
    result = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True)
    return Answers.from_json(result.stdout)


def pin(pid: int, core: int) -> None:
    """Keep a process, with the threads it has, on one of the cores we may use, where one can."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {CORES[core % len(CORES)]})


CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def disk(folder: Path) -> str:
    """Return the file system that a folder is on."""
    holding = [
        part
        for part in psutil.disk_partitions(all=True)
        if folder.resolve().is_relative_to(part.mountpoint)
    ]
    part = max(holding, key=lambda part: len(part.mountpoint))
    return f"{part.fstype} on {part.device}"


def serve(script: Path, state: str, *options: str, env: Mapping[str, str] | None = None) -> Server:
    """Serve a script with hfhooks, its state in a folder of that name beside it."""
    folder = script.parent
    own = {"XDG_STATE_HOME": str(folder), **(env or {})}
    return Server(script, "--state-dir", folder / state, *options, env=own)


@contextmanager
def running(
    folder: Path, *command: str | Path, env: Mapping[str, str] | None = None
) -> Iterator[tuple[int, str]]:
    """Run any server in a folder, on a free port; yield its process id and its handler's URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=folder,
        env=os.environ | {"XDG_STATE_HOME": str(folder)} | dict(env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: accepts(port) or process.poll() is not None, timeout=60)
        assert process.poll() is None, f"{command} ended"
        yield process.pid, f"http://127.0.0.1:{port}/webhooks/train"
    finally:
        process.terminate()
        process.wait()


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def has(who: str, *modules: str) -> bool:
    """Tell whether the modules that somebody needs are installed, and say so if not."""
    if missing := [name for name in modules if find_spec(name) is None]:
        print(f"{who}: left out, without {', '.join(missing)}; `make bench-peers` installs it")
    return not missing


def journal_in(state_dir: Path) -> Path:
    """Return the file of the only journal in a state folder."""
    (path,) = state_dir.glob("journals/*/journal.db")
    return path


@contextmanager
def read_only(journal: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def unfinished(journal: Path) -> int:
    """Return how many deliveries still want a handler."""
    waiting = "status IN ('queued', 'running', 'retrying')"
    with read_only(journal) as connection:
        rows = connection.execute(f"SELECT count(*) FROM deliveries WHERE {waiting}")
        number: int = rows.fetchone()[0]
        return number


class Connection(asyncio.Protocol):
    """Sends one request after the other; the `on_…` methods are httptools' callbacks."""

    def __init__(self, requests: Iterator[bytes], answers: Answers) -> None:
        self._requests = requests
        self._latencies: Any = answers.latencies
        self._statuses = answers.statuses
        self._parser = httptools.HttpResponseParser(self)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
        else:
            self._sent = time.perf_counter()
            self._transport.write(request)
        self._is_waiting = request is not None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._latencies.append((time.perf_counter() - self._sent) * 1000)
        self._statuses[str(self._parser.get_status_code())] += 1
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_waiting:
            self._statuses["reset" if exc else "closed without an answer"] += 1
        self.closed.set_result(None)


async def answers_to(url: str, connections: int, requests: int, body: bytes) -> Answers:
    """Send a load and return what came back."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    answers = Answers(0, Counter(), [])
    all_requests = islice(numbered(parts.path, body), requests)
    pairs = [
        await loop.create_connection(
            lambda: Connection(all_requests, answers), parts.hostname or "", parts.port or 80
        )
        for _ in range(connections)
    ]
    started = time.perf_counter()
    for _, connection in pairs:
        connection.send()
    await asyncio.gather(*(connection.closed for _, connection in pairs))
    return Answers(time.perf_counter() - started, answers.statuses, answers.latencies)


def encoded(path: str, body: bytes, *headers: str) -> bytes:
    """Return one request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def numbered(path: str, body: bytes) -> Iterator[bytes]:
    """Yield requests without end."""
    sender = uuid4()
    for number in count(1):
        yield encoded(path, body, f"webhook-id: {sender}-{number}")


if __name__ == "__main__":
    own = answers_to(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer.read())
    print(json.dumps(vars(run(own))))
