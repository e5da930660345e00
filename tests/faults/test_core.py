"""A fault is put into every task and every thread, and each behaves as its kind promises."""

import os
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest

from hfhooks.cli.journals import now, reading
from hfhooks.model.delivery import Summary, Wanted
from tests.faults.inventory import proves
from tests.harness import Server, Terminal, wait_until

DONE = {"succeeded"}
GRACE, LAST = 2.0, 5.0
"""Seconds for handlers, and those beyond within which a server that has a fault has ended."""
NOISE = 5.0
"""Seconds that a busy machine takes for what takes none."""
HELD = """
import time
from pathlib import Path
from hfhooks import webhook_endpoint

here = Path(__file__).parent

@webhook_endpoint
def quick(): ...

@webhook_endpoint(max_concurrency=1)
def held():
    (here / "begun").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
"""


def kill_the_worker(server: Server) -> None:
    os.kill(server.worker_pids[0], 9)


def post_quick(server: Server) -> None:
    server.post("quick", {})


def post_held(server: Server) -> None:
    server.post("held", {})


def wait(server: Server) -> None: ...


@dataclass(frozen=True)
class Part:
    """A part of the core: where to break it, and what comes to that place."""

    seams: Sequence[str]
    provoke: Callable[[Server], None]
    name: str = ""
    """As it is told, where that is another."""
    left: Sequence[str] = ("succeeded",)
    """What may have become of the delivery whose handler ran."""


CORE = {
    "listening": Part(["hfhooks.http.connection:Connection.deadline"], wait),
    "dispatching": Part(["hfhooks.journal.sqlite.journal:SqliteJournal.claim"], post_held),
    "the heartbeat": Part(
        [
            "hfhooks.dispatch.dispatcher:HEARTBEAT=0.05",
            "hfhooks.journal.sqlite.journal:SqliteJournal.extend",
        ],
        wait,
    ),
    "loading": Part(
        ["hfhooks.supervisor.supervisor:Supervisor._swap"], kill_the_worker, left=["queued"]
    ),
    "watching the worker": Part(
        ["hfhooks.serving.service:Service.lose"], kill_the_worker, left=["queued"]
    ),
    "hfhooks-journal": Part(["shutil:disk_usage"], post_quick, "the journal", left=["running"]),
}


@dataclass
class Struck:
    """A server whose core had a fault while a handler ran, and what came of all."""

    part: Part
    name: str
    folder: Path
    exit_code: int = 0
    seconds: float = 0.0
    """Until it had ended."""
    said: str = ""
    later: list[int] = field(default_factory=list)
    """What those have got who sent something after the fault, 0 where nobody took it."""
    left: Sequence[Summary] = ()
    """What was in the journal then."""
    after: Sequence[Summary] = ()
    """What has become of it in the next server."""

    @property
    def journal(self) -> str:
        return f"sqlite://{self.folder}/journal.db"

    def recorded(self) -> Sequence[Summary]:
        with reading(self.journal) as journal:
            return now(journal.list(Wanted()))


@pytest.fixture(scope="module", params=CORE)
def struck(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Struck:
    part = CORE[request.param]
    struck = Struck(part, part.name or request.param, tmp_path_factory.mktemp("core"))
    here, app = struck.folder, struck.folder / "app.py"
    app.write_text(HELD)
    command = broken(here / "strike", part.seams)
    options = ["--journal", struck.journal, "--grace", str(GRACE)]
    env = {"HOME": str(here), "XDG_STATE_HOME": str(here / "state")}
    with Server(app, *options, command=command, env=env) as server:
        begin(server, "held")
        wait_until((here / "begun").exists)
        (here / "strike").touch()
        begin(server, "held", part.provoke)
        wait_until(lambda: "a fault in" in server.stderr)
        started = time.monotonic()
        struck.later = [sent(server) for _ in range(3)]
        (here / "go").touch()
        struck.exit_code = server.process.wait(GRACE + LAST + NOISE)
        struck.seconds = time.monotonic() - started
        server.stop()  # it has ended: all that it has said is read
        struck.said, struck.left = server.stderr, struck.recorded()
    with Server(app, *options, env=env) as server:
        wait_until(lambda: server.ready and {each.status for each in struck.recorded()} == DONE)
        struck.after = struck.recorded()
    return struck


def broken(strike: Path, seams: Sequence[str]) -> list[str]:
    """Return `hfhooks`, which breaks there when this file is made."""
    return [sys.executable, "-m", "tests.faults.inject", str(strike), *seams, "--"]


def begin(
    server: Server, name: str, provoke: Callable[[Server], None] | None = None
) -> threading.Thread:
    """Send something without waiting for what becomes of it."""

    def send() -> None:
        try:
            provoke(server) if provoke else server.post(name, {})
        except (OSError, HTTPException):
            return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def sent(server: Server) -> int:
    """Send something; return the status of the answer, 0 where there is none."""
    try:
        return server.post("quick", {}).status
    except (OSError, HTTPException):
        return 0


@proves(
    "dispatching",
    "hfhooks-journal",
    "listening",
    "loading",
    "the heartbeat",
    "watching the worker",
)
def test_a_fault_of_the_core_ends_the_server_with_70(struck: Struck) -> None:
    assert struck.exit_code == 70


def test_a_fault_of_the_core_ends_it_within_the_grace_and_five_seconds(struck: Struck) -> None:
    assert struck.seconds < GRACE + LAST + NOISE


def test_a_fault_of_the_core_is_told_in_one_line(struck: Struck) -> None:
    errors = [line for line in struck.said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: a fault in {struck.name}: Injected: ")


def test_nobody_hears_after_a_fault_of_the_core_that_he_was_accepted(struck: Struck) -> None:
    assert set(struck.later) <= {0, 503}


def test_a_handler_that_runs_gets_its_grace(struck: Struck) -> None:
    [status] = [each.status for each in struck.left if each.id == 1]
    assert status in struck.part.left


def test_what_was_accepted_is_done_by_the_next_server(struck: Struck) -> None:
    assert {each.id for each in struck.left} == {each.id for each in struck.after}


@proves("serving/program.py _end_at_last")
def test_a_server_that_cannot_come_to_its_end_is_ended_and_leaves_the_terminal_as_it_was(
    tmp_path: Path, script: Callable[..., Path]
) -> None:
    seams = [
        *CORE["the heartbeat"].seams,
        "hfhooks.serving.program:LAST=0.1",
        "hfhooks.supervisor.supervisor:Supervisor.stop=hangs",
    ]
    command = [*broken(tmp_path / "strike", seams), "serve", str(script(HELD)), "--port", "0"]
    terminal = Terminal([*command, "--grace", "0"])
    terminal.wait_for("Press Ctrl-C to stop")
    assert not shows_keys(terminal)
    (tmp_path / "strike").touch()
    assert terminal.ended() == 70
    assert "a fault in the heartbeat: Injected" in terminal.shown
    assert shows_keys(terminal)
    terminal.close()


def shows_keys(terminal: Terminal) -> bool:
    return bool(termios.tcgetattr(terminal.fd)[3] & termios.ECHO)
