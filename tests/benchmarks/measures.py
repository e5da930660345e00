"""What is measured: a measure takes a contender and yields the numbers of one turn after another.

The number that a goal is about is the `value`, if a measure has no better name for it; `failed` is
how many requests were not answered with a 2xx.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count, islice
from statistics import median
from tempfile import NamedTemporaryFile
from typing import TypeAlias

from tests.benchmarks import load
from tests.benchmarks.contenders import NOW, PAYLOAD, Contender
from tests.benchmarks.load import Failure
from tests.benchmarks.machine import busy, pss
from tests.benchmarks.serving import PATIENCE, Server, ask, served

__all__ = [
    "FULL",
    "QUICK",
    "Measure",
    "Numbers",
    "Scale",
    "Turns",
    "commands",
    "memory",
    "results",
    "saves",
    "starts",
    "syncs",
]

Numbers: TypeAlias = dict[str, float]
Turns: TypeAlias = Generator[Numbers, None, None]
Measure: TypeAlias = Callable[[Contender], Turns]
RESULT = '"name": payload.repo.name'
RATE = 100
"""Requests a second while a script is saved."""
COMMANDS = {
    "--help": ("--help",),
    "print-urls": ("print-urls", "--local"),
    "deliveries": ("deliveries",),
}


@dataclass(frozen=True)
class Scale:
    """How much is measured in one turn."""

    seconds: float = 1.5
    """For a load. What comes in 1.5 s finds room in a queue of 10,000."""
    requests: int = 400
    """Where latencies are compared."""
    rest: float = 1.5
    """Seconds in which spare workers warm up."""
    saves: int = 4
    stored: int = 1_000_000
    unfinished: int = 9_500
    endpoints: int = 1_000
    blocked: int = 64
    uncounted: int = 1
    """Turns before the first one that counts."""


FULL = Scale()
QUICK = Scale(0.2, 20, 0.2, 1, 100, 50, 20, 20, 0)
"""Enough to see that all of it works."""


def results(
    scale: Scale, connections: int, handler: str = PAYLOAD, body: bytes = load.PAYLOAD
) -> Measure:
    """Return what measures how many results of a handler are sent a second."""

    def measure(contender: Contender) -> Turns:
        with served(contender, contender.scripts[handler]) as server:
            while True:
                yield of_load(server, connections, scale.seconds, body)

    return measure


def of_load(
    server: Server, connections: int, seconds: float, body: bytes = load.PAYLOAD
) -> Numbers:
    """Send a load, wait until what it has left is worked off, and return what both cost."""
    server.share_cores()
    began, worked, before = time.perf_counter(), busy(), server.used()
    answers = load.send(server.url, connections, seconds, body=body)
    server.await_rest()
    after = server.used()
    first, others = ((now - then) / answers.sent for then, now in zip(before, after, strict=True))
    ours = (first + others + answers.cpu) * answers.sent
    elsewhere = (busy() - worked - ours) / (time.perf_counter() - began) / 1e6
    return {
        "value": answers.rate(200),
        "202s/s": answers.rate(202),
        "failed": answers.failed,
        f"{'gateway' if server.contender.has_gateway else 'server'} µs": first,
        f"{'worker' if server.contender.has_gateway else 'children'} µs": others,
        "load µs": answers.cpu,
        "p50 ms": answers.percentile(50),
        "p99 ms": answers.percentile(99),
        "cores elsewhere": max(0, elsewhere),
    }


def body_of(size: int) -> bytes:
    """Return a payload of about so many bytes, most of them in a comment."""
    content = json.loads(load.PAYLOAD)
    line = "A line of a long comment, as people write them.\n"
    lines = (size - len(load.PAYLOAD)) // (len(line) + 1)  # as JSON has a line's end in two
    content["comment"]["content"] = line * lines
    return json.dumps(content).encode()


def starts(cores: set[int]) -> Measure:
    """Return what measures the milliseconds from a command to its first 200, on these cores."""

    def measure(contender: Contender) -> Turns:
        while True:
            began = time.perf_counter()
            with served(contender, contender.scripts[PAYLOAD], cores=cores):
                yield {"value": (time.perf_counter() - began) * 1000}

    return measure


def memory(scale: Scale, *, reload: bool) -> Measure:
    """Return what measures the MiB of all processes of a server that has nothing to do."""

    def measure(contender: Contender) -> Turns:
        while True:
            with served(contender, contender.scripts[PAYLOAD], reload=reload) as server:
                time.sleep(2 * scale.rest)
                yield {"value": pss(server.process.pid)}

    return measure


def saves(scale: Scale, rate: int = 0) -> Measure:
    """Return what measures the milliseconds from a save to the first answer of new code.

    Meanwhile so many requests a second come. One that fails is our fault alone: other servers
    close their sockets, which is among what is measured.
    """

    def measure(contender: Contender) -> Turns:
        versions, script = count(1), contender.scripts[PAYLOAD]
        with served(contender, script, reload=True) as server:
            while True:
                time.sleep(scale.rest)
                with load.steady_load(server.url, rate) if rate else nullcontext() as answers:
                    delays = []
                    for version in islice(versions, scale.saves):
                        delays.append(saved(server, script, version))
                        time.sleep(scale.rest)
                    failed = answers().failed if answers else 0
                name = "failed" if contender.name == NOW else "lost"
                yield {"value": median(delays), "slowest ms": max(delays), name: failed}

    return measure


def saved(server: Server, script: str, version: int) -> float:
    """Save the script with this number in its answer; return how long it took to come."""
    server.script.write_text(script.replace(RESULT, f'"version": {version}'))
    wanted, began = (200, {"version": version}), time.perf_counter()
    while (answer := ask(server.url)) is None or (answer[0], json.loads(answer[1])) != wanted:
        if time.perf_counter() > began + PATIENCE:
            raise Failure(f"{server.contender.name} does not answer as it was saved: {answer}")
        is_queued = answer is not None and answer[0] == 202
        time.sleep(0.05 if is_queued else 0.001)  # or we would be what fills its queue
    return (time.perf_counter() - began) * 1000


def commands(contender: Contender) -> Turns:
    """Yield the milliseconds that commands take beside a server."""
    with served(contender, contender.scripts[PAYLOAD]) as server:
        while True:
            yield {name: ran(server, *arguments) for name, arguments in COMMANDS.items()}


def ran(server: Server, *arguments: str) -> float:
    began = time.perf_counter()
    result = server.run(*arguments)
    if result.returncode:
        raise Failure(f"hfhooks {' '.join(arguments)}: {result.stderr.decode()}")
    return (time.perf_counter() - began) * 1000


def syncs(scale: Scale) -> Measure:
    """Return what measures how many KB can be added to a file a second, each synced by itself."""

    def measure(disk: Contender) -> Turns:
        sync = os.fsync if sys.platform == "darwin" else os.fdatasync
        with NamedTemporaryFile(dir=disk.disk, prefix="hfhooks-bench-") as file:
            while True:
                number, began = 0, time.perf_counter()
                while (seconds := time.perf_counter() - began) < scale.seconds:
                    os.write(file.fileno(), bytes(1024))
                    sync(file.fileno())
                    number += 1
                yield {"value": number / seconds}

    return measure
