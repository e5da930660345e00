"""What becomes of a worker, and of what its handlers have started, however a server ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest

from hfhooks.private import state_folder
from tests.harness import COMMAND, Server, Terminal, wait_until

Script = Callable[..., Path]
Start = Callable[..., Server]
BEGUN = """
import ctypes, os, re, signal, subprocess, sys, time
from pathlib import Path
from hfhooks import webhook_endpoint

HERE = Path(__file__).parent

def begin(*commands):
    for command in commands:
        subprocess.Popen(["/bin/sh", "-c", command])
    with open(HERE / "begun", "a") as file:
        file.write(f"{os.getpid()}\\n")

@webhook_endpoint
def works(payload: dict):
"""
DEAF = "begin(\"trap '' TERM INT HUP; sleep 1000 & exec sleep 1001\")"
HOLDING = {
    "a regular expression": 're.match(r"(a+)+$", "a" * 64 + "b")',
    "C code": "ctypes.PyDLL(None).sleep(1000)",
    "a stopped process": "os.kill(os.getpid(), signal.SIGSTOP)",
}


class Site:
    """A script, what its handlers have begun, and what runs of that."""

    def __init__(self, folder: Path) -> None:
        self._begun = folder / "begun"
        self.path = folder / "app.py"

    def write(self, *lines: str) -> Path:
        self.path.write_text(BEGUN + "".join(f"    {line}\n" for line in lines))
        return self.path

    @property
    def workers(self) -> list[int]:
        """The worker of each attempt."""
        return [int(line) for line in self._begun.read_text().split()]

    def begun(self, number: int = 1) -> list[int]:
        """Return the workers once so many attempts have begun."""
        wait_until(lambda: self._begun.exists() and len(self.workers) == number, timeout=30)
        return self.workers

    def group(self, pid: int, number: int | None = None) -> list[int]:
        """Return what runs of a worker's group, once there is so much."""
        if number is not None:
            wait_until(lambda: len(self.group(pid)) == number, timeout=40)
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def close(self) -> None:
        for pid in self.workers if self._begun.exists() else ():
            for each in self.group(pid):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def post(server: Server) -> None:
    """Send a delivery and wait for no answer: the handler may never come to one."""

    def send() -> None:
        with suppress(OSError):
            server.post("works", {})

    assert server.ready
    Thread(target=send, daemon=True).start()


def notes() -> list[Path]:
    return [*(state_folder() / "processes").glob("*")]


@pytest.mark.parametrize("held_by", HOLDING)
def test_a_worker_whose_gateway_is_killed_is_gone_with_all_it_has_started(
    start: Start, site: Site, held_by: str
) -> None:
    server = start(site.write(DEAF, HOLDING[held_by]))
    post(server)
    [worker] = site.begun()
    site.group(worker, 3)
    server.stop(signal.SIGKILL)
    wait_until(lambda: site.group(worker) == [])


GUARDED = """
import sys
from hfhooks.supervisor import spawn
spawn.ENDS_WITH_US = False
from hfhooks.__main__ import main
main()
"""


def test_elsewhere_a_guard_sees_to_that(start: Start, site: Site) -> None:
    command = [sys.executable, "-c", GUARDED]
    server = start(site.write(DEAF, HOLDING["C code"]), command=command)
    post(server)
    [worker] = site.begun()
    site.group(worker, 3)
    server.stop(signal.SIGKILL)
    wait_until(lambda: site.group(worker) == [])


def test_a_guard_goes_with_what_it_guards(start: Start, site: Site) -> None:
    server = start(site.write("return 1"), command=[sys.executable, "-c", GUARDED])
    assert server.ready
    children = psutil.Process(server.process.pid).children()
    assert sorted(child.name() for child in children)[-1] == "sh"
    assert server.stop() == 0
    assert not any(child.is_running() for child in children)


def test_the_next_server_runs_a_delivery_beside_nothing_that_the_last_has_begun(
    start: Start, site: Site
) -> None:
    server = start(site.write(DEAF, HOLDING["C code"]))
    post(server)
    [worker] = site.begun()
    site.group(worker, 3)
    os.kill(worker, signal.SIGSTOP)  # so that it cannot follow the gateway, as of old
    for pid in (server.process.pid, worker):
        os.kill(pid, signal.SIGKILL)
    server.stop()
    left = site.group(worker)
    site.write(
        f"found = [os.path.exists(f'/proc/{{pid}}') for pid in {left}]", "begin()", "return found"
    )
    second = start(site.path)
    assert second.ready
    wait_until(lambda: second.deliveries)
    assert site.group(worker) == []
    assert second.stop() == 0


def test_the_start_of_another_server_ends_nothing_of_one_that_runs(
    start: Start, site: Site, script: Script
) -> None:
    server = start(site.write(DEAF, "time.sleep(1000)"), "--grace", "0")
    post(server)
    [worker] = site.begun()
    site.group(worker, 3)
    assert start(
        script("from hfhooks import webhook_endpoint as e\ne('a')(lambda: 1)", "b.py")
    ).ready
    assert len(site.group(worker)) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_handler_has_started_ends_with_the_server(
    start: Start, site: Site, number: signal.Signals
) -> None:
    server = start(site.write(DEAF, "return 1"))
    assert server.post("works", {}).status == 200
    [worker] = site.begun()
    site.group(worker, 3)
    server.stop(number)
    assert site.group(worker) == [] and notes() == []


def test_what_still_runs_after_the_grace_is_asked_to_leave_first(
    start: Start, site: Site, tmp_path: Path
) -> None:
    asked = f"""begin("trap 'echo > {tmp_path}/asked; exit' TERM; sleep 1000 & wait")"""
    server = start(site.write(asked, "time.sleep(1000)"), "--grace", "0.1")
    post(server)
    [worker] = site.begun()
    site.group(worker, 3)
    server.stop()
    assert (tmp_path / "asked").exists() and site.group(worker) == []


def test_a_save_does_not_end_what_a_handler_has_started_and_the_end_does(
    start: Start, site: Site
) -> None:
    server = start(site.write(DEAF, "return 1"), "--reload")
    assert server.post("works", {}).status == 200
    [worker] = site.begun()
    site.group(worker, 3)
    site.write("return 2")
    wait_until(lambda: any(event["type"] == "reload" for event in server.events))
    site.group(worker, 2)  # all but the worker
    assert server.stop() == 0
    assert site.group(worker) == [] and notes() == []


def test_what_a_worker_has_started_dies_with_it(start: Start, site: Site) -> None:
    server = start(site.write(DEAF, "len(sys.argv) and os._exit(0)"))
    post(server)
    first, _ = site.begun(2)[:2]
    assert site.group(first) == []


def test_what_a_handler_starts_cannot_ask_at_the_terminal(site: Site) -> None:
    text = "subprocess.run(['sh', '-c', 'read answer < /dev/tty'], stderr=subprocess.DEVNULL)"
    command = [*COMMAND, "serve", str(site.write(f"return {text}.returncode")), "--port", "0"]
    terminal = Terminal(command)
    try:
        port = terminal.wait_for("Press Ctrl-C").partition("http://127.0.0.1:")[2].split()[0]
        asked = subprocess.run(
            [*COMMAND, "trigger", "repo.content:update", "--port", port, "--to", "works"],
            capture_output=True,
        )
        assert asked.returncode == 0, asked
        assert terminal.ended("\x03") == 130
    finally:
        terminal.close()


def test_its_files_and_notes_go_with_it(start: Start, site: Site) -> None:
    server = start(site.write("os._exit(1)"))
    assert server.ready
    opened = Path(f"/proc/{server.process.pid}/fd")
    files = len([*opened.iterdir()])
    post(server)
    wait_until(lambda: server.deliveries and server.deliveries[-1]["status"] == "failed", 60)
    wait_until(lambda: len([*opened.iterdir()]) <= files)
    wait_until(lambda: len(notes()) == 1)
