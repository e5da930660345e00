"""Durable acknowledgements a second, beside FastAPI on uvicorn that records nothing.

    python tests/benchmarks/acknowledge.py [ROUNDS] [--state-dir FOLDER]

The server that is measured (here the gateway) has one core for itself; the load, and the worker,
have another. Slices alternate and medians are compared. Between the slices a server works off its
queue; the CPU it uses for that counts too, in a column of its own.

Goals: at 64 connections answered at once twice the peer's rate; at 16 connections with the
handler's result its rate.
"""

import os
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from tests.benchmarks.load import (
    BIN,
    CORES,
    FASTAPI_SCRIPT,
    HFHOOKS_SCRIPT,
    REAL_DISK,
    Answers,
    disk,
    journal_in,
    pin,
    running,
    send,
    serve,
    unfinished,
)
from tests.harness import wait_until

SERVER_CORE, LOAD_CORE = 0, 1
REQUESTS = {1: 1000, 16: 3000, 64: 3000}
"""How many a slice sends over so many connections; a server refuses above 10,000 in its queue."""
GOALS = {("at once", 64): 2.0, ("result", 16): 1.0}
PEER = "FastAPI"


@dataclass(frozen=True)
class Contender:
    name: str
    url: str
    pid: int
    status: int
    """What it answers when all is well."""
    is_idle: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Slice:
    answers: Answers
    cpu: float
    """Microseconds of the measured process for each request, until the last answer."""
    later: float
    """… and from then on until its queue was empty."""


def main(rounds: int, state_dir: Path) -> None:
    with TemporaryDirectory(dir=state_dir, prefix="hfhooks-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        pin(os.getpid(), LOAD_CORE)  # and what we start
        contenders = [
            stack.enter_context(hfhooks(folder, "at once", 202, "--wait", "0")),
            stack.enter_context(fastapi(folder)),
            stack.enter_context(hfhooks(folder, "result", 200)),
        ]
        for contender in contenders:
            measured(contender, 16)  # nobody's first requests count
        slices = defaultdict(list)
        for _ in range(rounds):
            for connections in REQUESTS:
                for contender in contenders:
                    result = measured(contender, connections)
                    slices[contender.name, connections].append(result)
        report(slices)
        cores = f"{len(CORES)} cores" if CORES else "cores are not chosen"
        print(f"\nMedians of {rounds} rounds; the journal is on {disk(folder)}; {cores}.")


@contextmanager
def hfhooks(folder: Path, name: str, status: int, *options: str) -> Iterator[Contender]:
    """Serve the handler with hfhooks."""
    script = folder / "with_hfhooks.py"
    script.write_text(HFHOOKS_SCRIPT)
    with serve(script, name, *options) as server:
        url = server.url("train")
        pin(server.process.pid, SERVER_CORE)
        journal = journal_in(folder / name)
        yield Contender(name, url, server.process.pid, status, lambda: unfinished(journal) == 0)


@contextmanager
def fastapi(folder: Path) -> Iterator[Contender]:
    """Serve the handler with FastAPI on uvicorn, as fast as uvicorn can."""
    (folder / "with_fastapi.py").write_text(FASTAPI_SCRIPT)
    options = ["--http", "httptools", "--loop", "uvloop", "--no-access-log"]
    with running(folder, BIN / "uvicorn", "with_fastapi:app", *options) as (pid, url):
        pin(pid, SERVER_CORE)
        yield Contender(PEER, url, pid, 200)


def measured(contender: Contender, connections: int) -> Slice:
    process, requests = psutil.Process(contender.pid), REQUESTS[connections]
    before = cpu_seconds(process)
    answers = send(contender.url, connections, requests)
    answered = cpu_seconds(process)
    wait_until(contender.is_idle, timeout=120)
    later = cpu_seconds(process) - answered
    answers.complain(contender.status)
    return Slice(answers, (answered - before) / requests * 1e6, later / requests * 1e6)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def report(slices: dict[tuple[str, int], list[Slice]]) -> None:
    print(f"{'':<24}{'requests a second':^27}{'CPU µs a request':^36}{'p50 / p99 ms':^24}")
    titles = "answered  connections   hfhooks  FastAPI  ratio   hfhooks  + later  FastAPI  ratio"
    print(f"{titles}        hfhooks      FastAPI")
    for (name, connections), own in slices.items():
        if name == PEER:
            continue
        peer = slices[PEER, connections]
        rate, cpu = ratio(own, peer, lambda s: s.answers.rate), ratio(own, peer, lambda s: s.cpu)
        later = median(s.later for s in own)
        goal = GOALS.get((name, connections))
        print(
            f"{name:<9} {connections:>11}  {rate} {cpu[:9]} {later:>8.0f} {cpu[9:]}"
            f"  {latency(own):>13}{latency(peer):>13}" + (f"   goal >= {goal}" if goal else "")
        )


def ratio(own: list[Slice], peer: list[Slice], value: Callable[[Slice], float]) -> str:
    """Return ours, the peer's, and how many times the peer's ours is."""
    mine, its = (median(map(value, side)) for side in (own, peer))
    return f"{mine:>8.0f} {its:>8.0f} {mine / its:>6.2f}"


def latency(slices: list[Slice]) -> str:
    p50, p99 = (median(s.answers.percentile(percent) for s in slices) for percent in (50, 99))
    return f"{p50:.1f} / {p99:.1f}"


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--state-dir", type=Path, default=REAL_DISK)
    options = parser.parse_args()
    main(options.rounds, options.state_dir)
