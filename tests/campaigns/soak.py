"""Serve for an hour under kills, stops and saves, and look for lost deliveries, and for leaks.

    python -m tests.campaigns.soak [SECONDS] [--seed N]

Four senders post twenty deliveries a second to handlers of every kind; what is cut off or refused
is sent again, as the Hub does. Meanwhile kill -9 hits the gateway, a worker or a spare, the server
is stopped and started, and the script is saved, at times broken. At the end, after a quiet time,
each delivery that was acknowledged must have been handled, or be recorded as failed or ignored with
a reason, and none may be unfinished. What all processes use is shown for the first, the median and
the last quarter.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import psutil

from tests.campaigns.crash import (
    DELIVERIES,
    GONE_WITHIN,
    KEY,
    PATIENCE,
    PAYLOAD,
    UNFINISHED,
    WAITS,
    Victim,
    ask,
    show,
)
from tests.campaigns.ledger import Books, Ending, Sample
from tests.campaigns.saves import BROKEN
from tests.harness import COMMAND, JSON, request, wait_until

RATE = 20
"""Deliveries a second."""
SENDERS = 4
SIZES = (10, 3_000, 20_000)
"""Of what a body has beside the payload."""
KEEP_ALL = ("--keep-deliveries", "1000000", "--keep-mib", "100000")
"""Or what has ended late is deleted before the next look."""
LOOK_EVERY = 5.0
"""Seconds from one look into the journal to the next."""
BLOW_EVERY = 5.0
"""Seconds, on average."""
BLOWS = {"worker": 20, "spare": 10, "save": 20, "broken save": 8, "gateway": 1, "stop": 1}
"""What comes to a server, and how often of sixty times."""
ENDPOINTS = ("plain", "waiting", "flaky", "tasks", "slow", "blocking", "deadly", "filtered")
SCRIPT = """\
import asyncio, os, random, time
from fastapi import BackgroundTasks
from hfhooks import Delivery, Retry, webhook_endpoint

def noted(name, word):
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{word}\\n".encode())
    os.close(file)

noted("workers.log", os.getpid())

def handled(payload):
    noted("handled.log", payload["key"])
    return {"key": payload["key"]}

def is_one_in(number, payload):
    return payload["number"] % number == 0

@webhook_endpoint
def plain(payload: dict):
    print(payload["key"])
    return handled(payload)

@webhook_endpoint
async def waiting(payload: dict):
    await asyncio.sleep(0.01)
    return handled(payload)

@webhook_endpoint(retries=3)
def flaky(payload: dict):
    if random.random() < 0.3:
        raise Retry("not yet", after=1)
    return handled(payload)

@webhook_endpoint
def tasks(payload: dict, tasks: BackgroundTasks):
    tasks.add_task(time.sleep, 0.05)
    return handled(payload)

@webhook_endpoint(timeout=0.5)
async def slow(payload: dict, delivery: Delivery):
    if delivery.attempt == 1 and is_one_in(10, payload):
        await asyncio.sleep(1)
    return handled(payload)

@webhook_endpoint(timeout=0.5)
def blocking(payload: dict, delivery: Delivery):
    if delivery.attempt == 1 and is_one_in(30, payload):
        time.sleep(1)
    return handled(payload)

@webhook_endpoint
def deadly(payload: dict):
    if is_one_in(50, payload):
        os._exit(3)
    return handled(payload)

@webhook_endpoint(on="discussion")
def filtered(payload: dict):
    return handled(payload)
"""
REASON = "(SELECT error FROM attempts WHERE delivery_id = id ORDER BY number DESC LIMIT 1)"
ENDINGS = f"""SELECT {KEY}, status, coalesce({REASON}, '') FROM {DELIVERIES}
    WHERE status IN ('failed', 'ignored')"""


class Senders:
    """Send deliveries until told to stop, whether a server is there or not."""

    def __init__(self, port: int, books: Books, seed: int) -> None:
        self._url, self._books = f"http://127.0.0.1:{port}/webhooks", books
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(nth, f"{seed}/{nth}"), daemon=True)
            for nth in range(SENDERS)
        ]
        self._lock = threading.Lock()
        for thread in self._threads:
            thread.start()

    def _send(self, nth: int, seed: str) -> None:
        chance, due, number = random.Random(seed), time.monotonic(), 0
        while not self._is_over.is_set():
            number += 1
            name, size = chance.choice(ENDPOINTS), chance.choice(SIZES)
            key = f"{name}-{nth}-{number}"
            content = PAYLOAD | {"key": key, "number": number, "pad": "x" * size}
            body = json.dumps(content).encode()
            while not self._is_over.is_set():
                due = max(due + SENDERS / RATE, time.monotonic())
                wait_until_then(due, self._is_over.is_set)
                if self._is_answered(name, key, body):
                    break

    def _is_answered(self, name: str, key: str, body: bytes) -> bool:
        """Send a delivery once; say whether it need not be sent again."""
        try:
            url = f"{self._url}/{name}"
            status = request("POST", url, body, JSON | {"webhook-id": key}).status
        except (OSError, HTTPException) as error:
            return self._noted(f"posts ended by {type(error).__name__}", False)
        if status < 300:
            self._books.acknowledged.add(key)
            return True
        return self._noted(f"posts answered {status}", status == 500)

    def _noted(self, event: str, is_answered: bool) -> bool:
        with self._lock:
            self._books.events[event] += 1
        return is_answered

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


class Soak:
    """One journal, and the servers over it one after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.books = Books()
        self._folder, self._seed = folder, seed
        self._chance = random.Random(seed)
        self._port = free_port(self._chance)
        self._version = 0
        self._save()
        self._server = self._start()

    def run(self, seconds: float) -> None:
        """Let blows come for so long, each kind once at least, and check the books."""
        senders = Senders(self._port, self.books, self._seed)
        try:
            over = time.monotonic() + seconds
            every = min(BLOW_EVERY, seconds / (len(BLOWS) + 2))
            for number, kind in enumerate(blows(self._chance)):
                self._go_on(time.monotonic() + every * self._chance.uniform(0.5, 1.5))
                if time.monotonic() >= over and number >= len(BLOWS):
                    break
                self._strike(kind)
        finally:
            senders.stop()
            self._save()
        self._finish()

    def end(self) -> None:
        if self._server.is_running:
            self._server.kill("both")

    def _go_on(self, due: float) -> None:
        """Look at the server and into the journal until it is time."""
        while time.monotonic() < due:
            look_at = min(due, time.monotonic() + LOOK_EVERY)
            wait_until_then(look_at, lambda: False)
            self._look()

    def _look(self) -> None:
        if not self._server.is_running:
            code, said = self._server.process.returncode, self._server.stderr[-2_000:]
            self.books.wrong.append(f"a server exited with {code}: {said}")
            self._server = self._start()
        with suppress(psutil.Error):
            self.books.samples.append(Sample.of(self._server))
        self.books.endings.update(
            (key, Ending(status, reason)) for key, status, reason in ask(self._folder, ENDINGS)
        )
        show(f"{len(self.books.acknowledged)} acknowledged, {len(self.books.wrong)} wrong")

    def _strike(self, kind: str) -> None:
        if "save" in kind:
            self._save(is_broken=kind == "broken save")
        elif kind == "stop":
            self._stop()
            self._server = self._start()
        elif kind == "gateway":
            self._server.kill(kind)
            self._await_workers()
            self._server = self._start()
        else:
            kind = self._kill_one(kind)
        self.books.events[f"blows by {kind}"] += 1

    def _save(self, is_broken: bool = False) -> None:
        self._version += 1
        text = (
            self._chance.choice(BROKEN) if is_broken else f"{SCRIPT}\nVERSION = {self._version}\n"
        )
        (self._folder / "app.py").write_text(text)

    def _start(self) -> Victim:
        options = ("--reload", "--grace", "5", *KEEP_ALL)
        wait = self._chance.choice(WAITS)
        server = Victim(self._folder, COMMAND, wait, *options, port=self._port)
        # A script that is broken at the start is said instead of `ready`.
        wait_until(lambda: server.lines or not server.is_running, PATIENCE)
        return server

    def _stop(self) -> None:
        if code := self._server.stop():
            self.books.wrong.append(f"a stop exited with {code}: {self._server.stderr[-2_000:]}")

    def _await_workers(self) -> None:
        try:
            wait_until(self._server.is_gone, GONE_WITHIN)
        except AssertionError:
            self.books.events["left-over workers"] += 1

    def _kill_one(self, kind: str) -> str:
        """Kill a worker or a spare, or the other where there is none; return which it was."""
        loaded = set(map(int, self._words("workers.log")))
        pids = wait_until(lambda: self._server.worker_pids)
        kinds = {pid: "worker" if pid in loaded else "spare" for pid in pids}
        pid = self._chance.choice([pid for pid in pids if kinds[pid] == kind] or pids)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return kinds[pid]

    def _words(self, name: str) -> list[str]:
        file = self._folder / name
        return file.read_text().split() if file.exists() else []

    def _finish(self) -> None:
        with suppress(AssertionError):
            wait_until(lambda: not ask(self._folder, UNFINISHED), PATIENCE)
        self.books.stuck = {key for (key,) in ask(self._folder, UNFINISHED)}
        self._look()
        self._stop()
        self.books.handled.update(self._words("handled.log"))
        if (integrity := ask(self._folder, "PRAGMA integrity_check")) != [("ok",)]:
            self.books.wrong.append(f"the journal is damaged: {integrity}")
        show("")


def free_port(chance: random.Random) -> int:
    """Return one that no connection is given as its own while no server has it."""
    while True:
        port = chance.randrange(20_000, 30_000)
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            return port


def wait_until_then(moment: float, is_over: Callable[[], bool]) -> None:
    wait_until(lambda: time.monotonic() >= moment or is_over())


def blows(chance: random.Random) -> Iterator[str]:
    """Yield what comes to a server: once each kind, then each as often as it is to come."""
    yield from BLOWS
    while True:
        yield from chance.sample(list(BLOWS), sum(BLOWS.values()), counts=BLOWS.values())


def campaign(folder: Path, seconds: float, seed: int) -> Books:
    """Serve for so long under blows; return what came of it."""
    soak = Soak(folder, seed)
    try:
        soak.run(seconds)
    finally:
        soak.end()
    return soak.books


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("seconds", nargs="?", type=float, default=3_600)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    os.environ.pop("WEBHOOK_SECRET", None)
    # Servers in sessions of their own would outlive us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"--seed {options.seed}, in {folder}", flush=True)
    books = campaign(folder, options.seconds, options.seed)
    print(f"{books.usage}\n{books.reasons}")
    for key in sorted(books.lost | books.stuck)[:20]:
        print(f"{key}: {books.endings.get(key, 'not recorded as failed or ignored')}")
    print(*books.wrong, sep="\n")
    print(f"{books} in {options.seconds:.0f} s")
    if not books.is_fine:
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
