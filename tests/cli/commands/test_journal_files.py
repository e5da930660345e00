"""A server while others have their hands on its journal."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hfhooks.journal.folders import journals
from hfhooks.private import state_folder
from tests.harness import payload_bytes, run_command, wait_until

Script = Callable[..., Path]
Start = Callable[..., Any]

PULL = payload_bytes("pr_create_v3_docs")
SLOW = """
import pathlib, threading
from hfhooks import webhook_endpoint

@webhook_endpoint
def quick():
    return "quick"

@webhook_endpoint
def slow():
    folder = pathlib.Path(__file__).parent
    with (folder / "calls").open("a") as calls:
        calls.write("called ")
    while not (folder / "go").exists():
        threading.Event().wait(0.01)
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a journal from this process, which is another one than the server's."""
    with closing(sqlite3.connect(path, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        yield


def journal_of(server: Any) -> Path:
    assert server.ready
    [path] = journals(state_folder())
    return path


def running(server: Any, folder: Path) -> Path:
    """Have a handler run; return the file of the server's journal."""
    assert server.post("slow", PULL).status == 202
    wait_until((folder / "calls").exists)
    return journal_of(server)


def statuses(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT status FROM deliveries ORDER BY id").fetchall()
    return [status for (status,) in rows]


def test_a_lock_of_another_program_passes(start: Start, script: Script) -> None:
    file = script(SLOW)
    server = start(file, "--wait", "0")
    journal = running(server, file.parent)
    with locked(journal):
        refused = server.post("quick", PULL)
        assert (refused.status, refused.headers["retry-after"]) == (503, "60")
        (file.parent / "go").touch()
        wait_until(lambda: "is locked by " in server.stderr)
    wait_until(lambda: statuses(journal) == ["succeeded"])
    wait_until(lambda: "deliveries are accepted again" in server.stderr)
    assert server.post("quick", PULL).status == 202
    assert server.stop() == 0
    assert (file.parent / "calls").read_text() == "called "
    assert statuses(journal) == ["succeeded"] * 2


def test_a_server_whose_journal_is_locked_can_be_stopped(start: Start, script: Script) -> None:
    file = script(SLOW)
    server = start(file, "--wait", "0", "--grace", "1")
    journal = running(server, file.parent)
    with locked(journal):
        (file.parent / "go").touch()
        assert server.stop() == 0
        assert "what came of a handler is not recorded" in server.stderr
    assert statuses(journal) == ["running"]


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "journal.lock", ""])
def test_a_journal_that_is_deleted_ends_the_server(start: Start, script: Script, name: str) -> None:
    server = start(script(SLOW), "--wait", "0")
    assert server.post("quick", PULL).status == 202
    folder = journal_of(server).parent
    if name:
        (folder / name).unlink()
    else:
        shutil.rmtree(folder)
    assert server.process.wait(timeout=30) == 5
    server.stop()
    assert f"{name} was deleted or replaced. Nothing more is accepted." in server.stderr
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize("text", ["1 / 0", "x = 1", "import nothing_of_this_name"])
def test_a_script_that_never_served_leaves_no_journal(script: Script, text: str) -> None:
    assert run_command("serve", str(script(text)), "--port", "0").returncode == 3
    assert list((state_folder() / "journals").iterdir()) == []


def test_a_script_that_has_served_leaves_its_journal(start: Start, script: Script) -> None:
    server = start(script(SLOW))
    path = journal_of(server)
    assert server.stop() == 0
    assert path.is_file()
    assert run_command("serve", str(script("1 / 0")), "--port", "0").returncode == 3
    assert path.is_file()


def test_a_journal_that_was_named_stays(script: Script, tmp_path: Path) -> None:
    options = ("--port", "0", "--journal", f"sqlite://{tmp_path}/named/journal.db")
    assert run_command("serve", str(script("1 / 0")), *options).returncode == 3
    assert (tmp_path / "named" / "journal.db").is_file()
