"""A load, sent by a process of its own, so that nothing else here slows it down.

    python -m tests.benchmarks.load URL CONNECTIONS SECONDS [REQUESTS] < BODY
    python -m tests.benchmarks.load URL --steady RATE < PIPE

The first sends the body over kept connections, one request in flight on each, until the time is
over or so many were sent. The second sends so many requests a second, each over a connection of
its own, until the pipe is closed. Each request has a Webhook-Id of its own, as the Hub's have. Both
wait for the answers that are missing and print one JSON object. This imports little: it starts
beside what is measured. It costs about 20 µs of CPU a request, as `wrk` does.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from math import ceil
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httptools

ROOT = Path(__file__).parents[2]
PAYLOAD = (ROOT / "tests/payloads/pr_create_v3_docs.json").read_bytes()
FOREVER = 10**9
PATIENCE = 60
"""Seconds that the load waits for the last answers."""


class Failure(Exception):
    """A contender did not do what is measured."""


@dataclass(frozen=True)
class Answers:
    """What came back for one load."""

    seconds: float
    statuses: Counter[str]
    latencies: Sequence[float]
    """Milliseconds, in order of arrival."""
    cpu: float = 0
    """Microseconds that sending and hearing took for each."""

    @property
    def sent(self) -> int:
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Return how many were refused, cut short, or not answered with a 2xx."""
        return sum(n for status, n in self.statuses.items() if not status.startswith("2"))

    def rate(self, status: int) -> float:
        """Return how many a second were answered with this status."""
        return self.statuses[str(status)] / self.seconds

    def percentile(self, percent: float) -> float:
        """Return the latency, in milliseconds, that so many per cent do not exceed."""
        return sorted(self.latencies)[ceil(len(self.latencies) * percent / 100) - 1]

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        content = json.loads(text)
        return cls(**{**content, "statuses": Counter(content["statuses"])})


def send(
    url: str, connections: int, seconds: float, requests: int = FOREVER, body: bytes = PAYLOAD
) -> Answers:
    """Send a load and return what came back. Raises `Failure` where nothing did."""
    with process(url, connections, seconds, requests) as running:
        out, _ = running.communicate(body)
    if running.returncode:
        raise Failure(f"a load could not be sent to {url}")
    answers = Answers.from_json(out)
    if not answers.latencies:
        raise Failure(f"{url} gives no answer: {answers.statuses}")
    return answers


@contextmanager
def steady_load(url: str, rate: int) -> Iterator[Callable[[], Answers]]:
    """Send a steady load; what is yielded ends it and returns what came back."""
    with process(url, "--steady", rate) as running:
        yield lambda: Answers.from_json(running.communicate()[0])


@contextmanager
def process(*arguments: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Run this module; it is ended with the block, and Ctrl-C is not for it."""
    command = [sys.executable, "-m", __name__, *map(str, arguments)]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        with uninterrupted():
            running = stack.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, start_new_session=True)
            )
            stack.callback(running.kill)
        yield running


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until what is started here has an owner, who ends it."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def requests_to(path: str, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield requests without end, each in two parts."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"webhook-id: {uuid4()}-",
    ]
    head, end = "\r\n".join(lines).encode(), b"\r\n\r\n" + body
    for number in count(1):
        yield b"%s%d" % (head, number), end


class Connection(asyncio.Protocol):
    """Sends one request after the other; the `on_…` methods are httptools' callbacks."""

    def __init__(
        self, requests: Iterator[tuple[bytes, bytes]], answers: Answers, until: float
    ) -> None:
        self._requests = requests
        self._latencies: Any = answers.latencies
        self._statuses = answers.statuses
        self._until = until
        self._parser = httptools.HttpResponseParser(self)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self) -> None:
        self._sent = time.perf_counter()
        request = next(self._requests, None) if self._sent < self._until else None
        self._is_waiting = request is not None
        if request:
            self._transport.writelines(request)
        else:
            self._transport.close()

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


class OneRequest(Connection):
    """Sends its request at once."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.send()


async def closed_load(
    url: str, connections: int, seconds: float, most: int, body: bytes
) -> Answers:
    """Send the next request on each connection when the one before is answered."""
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    answers, requests = Answers(0, Counter(), []), islice(requests_to(parts.path, body), most)
    until = time.perf_counter() + seconds
    make = partial(Connection, requests, answers, until)
    made = [
        (await loop.create_connection(make, parts.hostname or "", parts.port or 80))[1]
        for _ in range(connections)
    ]
    started, used = time.perf_counter(), time.process_time()
    for connection in made:
        connection.send()
    await missing(answers, {connection.closed for connection in made})
    return finished(answers, started, used)


async def open_load(url: str, rate: int) -> Answers:
    """Send so many requests a second until standard input ends, whatever becomes of them."""
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    requests = requests_to(urlsplit(url).path, PAYLOAD)
    answers, sent = Answers(0, Counter(), []), set()
    started, used = time.perf_counter(), time.process_time()
    while not ended.done():
        sent.add(asyncio.create_task(ask(url, next(requests), answers)))
        due = started + len(sent) / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
    await missing(answers, sent)
    return finished(answers, started, used)


async def ask(url: str, request: tuple[bytes, bytes], answers: Answers) -> None:
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    make = partial(OneRequest, iter([request]), answers, FOREVER)
    try:
        _, connection = await loop.create_connection(make, parts.hostname or "", parts.port or 80)
    except OSError:
        answers.statuses["refused"] += 1
    else:
        await connection.closed


async def missing(answers: Answers, wanted: set[Any]) -> None:
    """Wait for the answers that are missing, and count those that do not come."""
    _, late = await asyncio.wait(wanted, timeout=PATIENCE)
    if late:
        answers.statuses["not answered"] += len(late)


def finished(answers: Answers, started: float, used: float) -> Answers:
    each = (time.process_time() - used) * 1e6 / max(1, len(answers.latencies))
    seconds = time.perf_counter() - started
    return Answers(seconds, answers.statuses, answers.latencies, each)


def main(url: str, *arguments: str) -> None:
    import uvloop

    if arguments[0] == "--steady":
        load = open_load(url, int(arguments[1]))
    else:
        connections, seconds, *most = arguments
        body = sys.stdin.buffer.read()
        load = closed_load(
            url, int(connections), float(seconds), int(most[0]) if most else FOREVER, body
        )
    answers = uvloop.run(load)
    with open(1, "w", closefd=False) as out:  # whole, even where PYTHONUNBUFFERED is set
        json.dump(vars(answers), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
