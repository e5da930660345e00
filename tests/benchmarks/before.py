"""This hfhooks beside an earlier one, in turns on the same machine.

    python -m tests.benchmarks.before COMMIT [ROUNDS] [--only NAME ...] [--state-dir FOLDER]

Each round measures both, once each, in an order that alternates: acknowledgements over 1, 16 and 64
connections, at once and with the handler's result; the start to the first 200; a save to new code
answering; memory without and with reload. The medians are shown, and how far the rounds lie apart:
a difference within that is none.
"""

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import psutil

from tests.benchmarks.load import HFHOOKS_SCRIPT, PAYLOAD, REAL_DISK, pin, send
from tests.harness import Server, post, wait_until

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-P", "-m", "hfhooks"]
"""Not the one in the working folder."""
SERVER_CORE, LOAD_CORE = 0, 1
REQUESTS = {1: 600, 16: 2000, 64: 2000}
SAVES = 4
REST = 2.0
"""Seconds in which spare workers warm up."""
RESULT = '"name": payload.repo.name'


@dataclass(frozen=True)
class Version:
    """A checkout that is measured."""

    name: str
    root: Path

    @property
    def env(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(self.root)}

    disk: Path = REAL_DISK

    @contextmanager
    def serve(self, *options: str) -> Iterator[tuple[Server, Path]]:
        """Serve a handler; yield the server and its script."""
        with TemporaryDirectory(dir=self.disk, prefix="hfhooks-bench-") as name:
            script = Path(name, "app.py")
            script.write_text(HFHOOKS_SCRIPT)
            env = {**self.env, "XDG_STATE_HOME": name}
            with Server(script, *options, env=env, command=COMMAND) as server:
                assert server.ready
                yield server, script


def main(commit: str, rounds: int, only: list[str], disk: Path) -> None:
    with TemporaryDirectory() as folder:
        git = ["git", "-C", str(ROOT)]
        subprocess.run([*git, "worktree", "add", "-q", folder, commit], check=True)
        versions = [Version(commit, Path(folder), disk), Version("now", ROOT, disk)]
        try:
            report(measured(versions, rounds, only), versions, rounds)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", folder], check=True)


def measured(
    versions: list[Version], rounds: int, only: list[str]
) -> Mapping[tuple[str, str], list[float]]:
    results = defaultdict(list)
    for number in range(rounds):
        for name, measure in MEASURES.items():
            if only and not any(part in name for part in only):
                continue
            for version in versions if number % 2 else versions[::-1]:
                results[name, version.name].append(measure(version))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return results


def acknowledged(wait: str, connections: int) -> Callable[[Version], float]:
    """Return what measures the requests a second over so many connections."""

    def measure(version: Version) -> float:
        pin(os.getpid(), LOAD_CORE)  # and what we start
        with version.serve("--wait", wait, "--no-reload") as (server, _):
            pin(server.process.pid, SERVER_CORE)
            url = server.url("train")
            send(url, connections, 300)  # nobody's first requests count
            answers = send(url, connections, REQUESTS[connections])
            answers.complain(202 if wait == "0" else 200)
            return answers.rate

    return measure


def started(version: Version) -> float:
    """Return the milliseconds from the command to the first 200."""
    began = time.perf_counter()
    with version.serve("--no-reload") as (server, _):
        wait_until(lambda: answers_with(server.url("train"), "name"))
        return (time.perf_counter() - began) * 1000


def reloaded(version: Version) -> float:
    """Return the milliseconds from a save to the answer of new code."""
    with version.serve("--reload") as (server, script):
        url, delays = server.url("train"), []
        wait_until(lambda: answers_with(url, "name"))
        for number in range(SAVES):
            time.sleep(REST)
            key = f"version{number}"
            script.write_text(HFHOOKS_SCRIPT.replace('"name"', f'"{key}"'))
            saved = time.perf_counter()
            while not answers_with(url, key):
                time.sleep(0.001)
            delays.append((time.perf_counter() - saved) * 1000)
        return median(delays)


def memory(option: str) -> Callable[[Version], float]:
    """Return what measures the MiB of all processes of an idle server."""

    def measure(version: Version) -> float:
        with version.serve(option) as (server, _):
            wait_until(lambda: answers_with(server.url("train"), "name"))
            time.sleep(REST)
            process = psutil.Process(server.process.pid)
            family = [process, *process.children(recursive=True)]
            return float(sum(each.memory_full_info().pss for each in family)) / 2**20

    return measure


def answers_with(url: str, key: str) -> bool:
    try:
        answer = post(url, PAYLOAD)
    except (OSError, HTTPException):
        return False
    return answer.status == 200 and key in answer.json()


MEASURES: dict[str, Callable[[Version], float]] = {
    "at once, 1 connection, 1/s": acknowledged("0", 1),
    "at once, 16 connections, 1/s": acknowledged("0", 16),
    "at once, 64 connections, 1/s": acknowledged("0", 64),
    "result, 1 connection, 1/s": acknowledged("5", 1),
    "result, 16 connections, 1/s": acknowledged("5", 16),
    "result, 64 connections, 1/s": acknowledged("30", 64),
    "start to first 200, ms": started,
    "save to new code, ms": reloaded,
    "memory, MiB": memory("--no-reload"),
    "memory with reload, MiB": memory("--reload"),
}


def report(
    results: Mapping[tuple[str, str], list[float]], versions: list[Version], rounds: int
) -> None:
    before, now = versions
    print(f"{f'medians of {rounds} rounds (spread)':<32}{before.name:>20}{now.name:>20}   ratio")
    for name in MEASURES:
        if (name, now.name) in results:
            old, new = results[name, before.name], results[name, now.name]
            ratio = median(new) / median(old)
            print(f"{name:<32}{spread(old):>20}{spread(new):>20}{ratio:>8.2f}")


def spread(values: list[float]) -> str:
    """Return the median, and the quartiles."""
    if len(values) < 2:
        return f"{values[0]:.0f}"
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.0f} ({low:.0f}-{high:.0f})"


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("rounds", nargs="?", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--state-dir", type=Path, default=REAL_DISK)
    options = parser.parse_args()
    main(options.commit, options.rounds, options.only, options.state_dir)
