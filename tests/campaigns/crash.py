"""Kill servers at random moments, and look for deliveries that were acknowledged and then lost.

    python tests/campaigns/crash.py [CYCLES] [--parallel N] [--seed N] [--acknowledge-first]

In each cycle four clients post to a server as fast as it answers, until after some of the answers
kill -9 hits the gateway, its worker, or both, in turn; in every fourth cycle it comes while the
server starts. The next server goes on with the same journal. Now and then, and at the end, what
was acknowledged is compared with what is in the journal and with what the handler has seen.

Goal: nothing acknowledged is lost. The control is --acknowledge-first, a server that answers before
it commits: the campaign must find its losses.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import chain, count, cycle, islice
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

from hfhooks.processes import has_members
from tests.harness import COMMAND, JSON, Server, payload, wait_until

ACKNOWLEDGE_FIRST = [sys.executable, str(Path(__file__).with_name("acknowledge_first.py"))]
PAYLOAD = payload("repo_content_update_main_v3_captured")
SCRIPT = """\
import os, time
from hfhooks import webhook_endpoint

log = os.open("handled.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

@webhook_endpoint
def note(payload: dict):
    if payload["key"].endswith("0"):
        time.sleep(0.02)
    os.write(log, f"{payload['key']}\\n".encode())
"""

KINDS = ("gateway", "worker", "both")
CLIENTS = 4
MOST_POSTS = 300
"""Before a kill."""
WAITS = (0.0, 0.1)
"""For --wait: acknowledged once recorded; acknowledged with what the handler answers."""
CHECK_AFTER = 4_000
"""Posts. The journal may forget finished deliveries beyond 10,000."""
GONE_WITHIN = 5.0
"""Seconds that a worker may outlive its gateway."""
PATIENCE = 120.0
"""Seconds for an answer, and for finishing everything that is recorded."""
ACKNOWLEDGED = ACCEPTED, DUPLICATE = "accepted", "accepted as duplicates"
CUT_OFF = "cut off"
Post: TypeAlias = tuple[str, str]
"""A key, and how its post ended."""
# From the body, for that is what must not be lost.
KEY = "json_extract(CAST(body AS TEXT), '$.key')"
DELIVERIES = "deliveries JOIN bodies ON delivery_id = id"
UNFINISHED = f"SELECT {KEY} FROM {DELIVERIES} WHERE status IN ('queued', 'running', 'retrying')"


@dataclass
class Books:
    """What all servers were sent and what became of it. Every delivery has a key."""

    events: list[str] = field(default_factory=list)
    """What is only counted."""
    acknowledged: set[str] = field(default_factory=set)
    interrupted: set[str] = field(default_factory=set)
    """Recorded, and unfinished when a kill came."""
    recorded: dict[str, str] = field(default_factory=dict)
    """The status in the journal, when that was checked."""
    handled: dict[str, int] = field(default_factory=dict)
    """How often."""
    damage: list[str] = field(default_factory=list)

    @property
    def lost(self) -> set[str]:
        return self.acknowledged - self.recorded.keys()

    @property
    def unhandled(self) -> set[str]:
        return self.acknowledged - self.handled.keys()

    @property
    def is_fine(self) -> bool:
        return not (self.lost or self.unhandled or self.damage)

    def __str__(self) -> str:
        events = {"left-over workers": 0, f"posts {DUPLICATE}": 0, **Counter(self.events)}
        rows = {
            **dict(sorted(events.items())),
            "acknowledged": len(self.acknowledged),
            "recorded": len(self.recorded),
            "recovered": len(self.interrupted & self.recorded.keys()),
            "handled": len(self.handled),
            "handled more than once": sum(times > 1 for times in self.handled.values()),
            "given up": list(self.recorded.values()).count("failed"),
            "LOST": len(self.lost),
            "UNHANDLED": len(self.unhandled),
            "DAMAGED JOURNALS": len(self.damage),
        }
        return "\n".join(f"{name:<36}{number:>9,}" for name, number in rows.items())


class Victim(Server):
    """A server that writes to this folder only."""

    def __init__(
        self, folder: Path, command: Sequence[str], wait: float, *options: str, port: int = 0
    ) -> None:
        (home := folder / "home").joinpath("tmp").mkdir(parents=True, exist_ok=True)
        self._workers: list[int] = []
        own = {"HOME": home, "XDG_STATE_HOME": home / "state", "TMPDIR": home / "tmp"}
        super().__init__(
            *("app.py", "--tunnel", "none", "--state-dir", folder, "--wait", str(wait)),
            *options,
            cwd=folder,
            env={name: str(path) for name, path in own.items()},
            command=command,
            has_own_session=True,
            port=port,
        )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self, kind: str) -> None:
        if kind == "worker":
            os.kill(wait_until(lambda: self.worker_pids)[0], signal.SIGKILL)
            return
        if self.is_running:
            self._workers = self.worker_pids
        self.process.kill()
        for pid in self._workers if kind == "both" else ():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.process.wait()

    def is_gone(self) -> bool:
        """Say whether the workers, and all of their groups, are gone too."""
        return not any(map(has_members, self._workers))


class Rig:
    """One journal, the servers that are killed over it one after the other, and their clients."""

    def __init__(self, folder: Path, command: Sequence[str], seed: str, books: Books) -> None:
        self._folder = folder
        self._command = command
        self._random = random.Random(seed)
        self._books = books
        self._keys = map(f"{folder.name}-{{}}".format, count())
        self._unanswered: list[str] = []
        self._unchecked = 0
        folder.mkdir()
        (folder / "app.py").write_text(SCRIPT)
        began = time.monotonic()
        self._server = self._start()
        assert self._server.ready
        self._start_takes = time.monotonic() - began

    def run(self, kinds: Iterable[str], is_over: Event) -> None:
        """Kill these, one after the other, and check the books, unless it is over before."""
        try:
            for number, kind in enumerate(kinds):
                if is_over.is_set():
                    return
                if number % 4 == 1:
                    self._kill_while_it_starts(kind)
                else:
                    self._kill_under_load(kind)
                self._books.events.append("cycles")
                if self._unchecked > CHECK_AFTER:
                    self._check()
            self._check()
        finally:
            if self._server.is_running:
                self._server.kill("both")

    def _kill_while_it_starts(self, kind: str) -> None:
        if self._server.is_running:
            self._kill("both")
        self._server = self._start()
        moment = time.monotonic() + self._random.uniform(0, self._start_takes)
        wait_until(lambda: time.monotonic() >= moment)
        self._kill(kind, " during a start")
        wait_until(lambda: self._server.lines or not self._server.is_running, PATIENCE)

    def _kill_under_load(self, kind: str) -> None:
        port = self._port()
        again = [key for key in self._unanswered if self._random.random() < 0.5]
        killed, posts = Event(), list[Post]()
        number = self._random.randint(1, MOST_POSTS)
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [
                pool.submit(post_until, killed, port, chain(again[nth::CLIENTS], self._keys), posts)
                for nth in range(CLIENTS)
            ]
            try:
                wait_until(lambda: len(posts) >= number or all(map(Future.done, clients)), PATIENCE)
                self._kill(kind)
            finally:
                killed.set()
        for client in clients:
            client.result()
        self._unchecked += len(posts)
        self._unanswered = [key for key, ending in posts if ending == CUT_OFF]
        self._books.acknowledged.update(key for key, ending in posts if ending in ACKNOWLEDGED)
        self._books.events.extend(f"posts {ending}" for _, ending in posts)
        self._books.events.extend("posts sent again" for key, _ in posts if key in again)

    def _start(self) -> Victim:
        return Victim(self._folder, self._command, self._random.choice(WAITS))

    def _port(self) -> int:
        """Return where a server is ready, starting one if there is none."""
        if not self._server.is_running:
            self._server = self._start()
        return int(self._server.ready["local_url"].rpartition(":")[2])

    def _kill(self, kind: str, moment: str = "") -> None:
        self._server.kill(kind)
        self._books.events.append(f"kill -9 of {kind}{moment}")
        self._books.interrupted.update(key for (key,) in ask(self._folder, UNFINISHED))
        if kind == "worker":
            return
        try:
            wait_until(self._server.is_gone, GONE_WITHIN)
        except AssertionError:
            self._books.events.append("left-over workers")
            self._server.kill("both")

    def _check(self) -> None:
        """Let the server finish everything and stop, and look at what it leaves."""
        self._port()
        wait_until(lambda: not ask(self._folder, UNFINISHED), PATIENCE)
        assert self._server.stop() == 0, self._server.stderr
        self._unchecked = 0
        if (integrity := ask(self._folder, "PRAGMA integrity_check")) != [("ok",)]:
            self._books.damage.append(f"{self._folder}: {integrity}")
        self._books.recorded.update(ask(self._folder, f"SELECT {KEY}, status FROM {DELIVERIES}"))
        self._books.handled.update(Counter((self._folder / "handled.log").read_text().split()))
        left_over = [path for path in (self._folder / "home").rglob("*") if not path.is_dir()]
        self._books.events.extend(f"left-over {path.suffix} files" for path in left_over)
        shutil.rmtree(self._folder / "home")


def ask(folder: Path, sql: str) -> list[Any]:
    """Ask the journal in a state folder, as a reader that cannot change it."""
    (path,) = folder.glob("journals/*/journal.db")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def post_until(is_over: Event, port: int, keys: Iterable[str], posts: list[Post]) -> None:
    """Post as fast as the server answers; note each post."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        for key in keys:
            ending = post(connection, key)
            posts.append((key, ending))
            if is_over.is_set() or ending == CUT_OFF:
                break


def post(connection: HTTPConnection, key: str) -> str:
    body = json.dumps(PAYLOAD | {"key": key})
    try:
        connection.request("POST", "/webhooks/note", body, JSON | {"webhook-id": key})
        response = connection.getresponse()
        answer = response.read()
    except (OSError, HTTPException):
        return CUT_OFF
    if response.status >= 300:
        return f"refused with {response.status}"
    return DUPLICATE if b'"duplicate"' in answer else ACCEPTED


def campaign(folder: Path, cycles: int, parallel: int, seed: int, command: Sequence[str]) -> Books:
    """Run so many cycles, on so many servers at a time; return what came of it."""
    books, is_over = Books(), Event()

    def run(nth: int) -> None:
        kinds = islice(cycle(KINDS), nth, nth + len(range(nth, cycles, parallel)))
        Rig(folder / str(nth), command, f"{seed}/{nth}", books).run(kinds, is_over)

    with ThreadPoolExecutor(parallel) as pool:
        rigs = [pool.submit(run, nth) for nth in range(parallel)]
        try:
            while (state := wait_for(rigs, 1, FIRST_EXCEPTION)).not_done:
                for rig in state.done:
                    rig.result()
                show(
                    f"{books.events.count('cycles')} cycles, {len(books.acknowledged)} acknowledged"
                )
        finally:
            is_over.set()
            show("")
    for rig in rigs:
        rig.result()
    return books


def show(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress}", end="\033[K", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cycles", nargs="?", type=int, default=100)
    parser.add_argument("--parallel", metavar="N", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--acknowledge-first", action="store_true", help="must lose deliveries")
    options = parser.parse_args()
    command = ACKNOWLEDGE_FIRST if options.acknowledge_first else COMMAND
    os.environ.pop("WEBHOOK_SECRET", None)
    # Servers in sessions of their own would outlive us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    print(f"--seed {options.seed} --parallel {options.parallel}, in {folder}", flush=True)
    began = time.monotonic()
    books = campaign(folder, options.cycles, options.parallel, options.seed, command)
    print(f"{books}\nin {time.monotonic() - began:.0f} s")
    if not books.is_fine:
        for key in sorted(books.lost | books.unhandled)[:20]:
            print(f"{key}: {books.recorded.get(key, 'not recorded')}")
        print(*books.damage, sep="\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
