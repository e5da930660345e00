"""`hfhooks serve` where nobody reads what it prints."""

import fcntl
import json
import os
import re
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import COMMAND, Terminal, payload_bytes, post, request, wait_until

Script = Callable[..., Path]

PULL = payload_bytes("pr_create_v3_docs")
APP = """
import time
from hfhooks import webhook_endpoint

@webhook_endpoint
def hello():
    return "hello"

@webhook_endpoint
def talks():
    print("x" * 200_000)

@webhook_endpoint
async def talks_in_the_loop():
    print("x" * 200_000)
"""


class Unread:
    """A server whose output goes to a pipe that takes little, and is read in the end."""

    def __init__(self, script: Path, port: int, *options: str, pipe: str = "stderr") -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [*COMMAND, "serve", str(script), "--port", str(port), *options]
        self.process = subprocess.Popen(command, **{**streams, pipe: writer})
        os.close(writer)
        wait_until(self._is_healthy, timeout=30)

    def _is_healthy(self) -> bool:
        try:
            return request("GET", f"{self.url}/healthz").status == 200
        except OSError:
            assert self.process.poll() is None
            return False

    def post(self, name: str = "hello") -> int:
        return post(f"{self.url}/webhooks/{name}", PULL).status

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def read(self) -> str:
        """Read what it says until it has ended."""
        self.process.send_signal(signal.SIGTERM)
        with os.fdopen(self.reader, "rb") as stream:
            text = stream.read().decode()
        assert self.process.wait(30) == 0
        return text


@pytest.fixture
def unread(script: Script, free_tcp_port: int) -> Iterator[Callable[..., Unread]]:
    started: list[Unread] = []

    def start(*options: str, pipe: str = "stderr") -> Unread:
        started.append(Unread(script(APP), free_tcp_port, *options, pipe=pipe))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def test_what_nobody_reads_holds_up_neither_deliveries_nor_the_stop(
    unread: Callable[..., Unread],
) -> None:
    server = unread()
    assert {server.post() for _ in range(1500)} == {200}
    assert request("GET", f"{server.url}/healthz").status == 200
    assert server.stop() == 0


def test_what_is_read_late_says_how_much_is_missing(unread: Callable[..., Unread]) -> None:
    server = unread()
    assert {server.post() for _ in range(1500)} == {200}
    text = server.read()
    assert "Webhooks are ready:" in text
    assert text.endswith("Stopped.\n")
    [lost] = re.findall(r"^… (\d+) lines not shown$", text, re.MULTILINE)
    assert int(lost) + len(re.findall(r"✓ 200  hello .*#\d+$", text, re.MULTILINE)) == 1500


def test_json_that_is_read_late_begins_with_ready_and_ends_with_stopped(
    unread: Callable[..., Unread],
) -> None:
    server = unread("--json", pipe="stdout")
    assert {server.post() for _ in range(300)} == {200}
    types = [json.loads(line)["type"] for line in server.read().splitlines()]
    assert types == ["ready", *["delivery"] * 300, "stopped"]


@pytest.mark.parametrize("talker", ["talks", "talks_in_the_loop"])
def test_a_handler_that_prints_waits_alone(unread: Callable[..., Unread], talker: str) -> None:
    server = unread("--wait", "2", "--grace", "1")
    assert server.post(talker) == 202
    assert {server.post() for _ in range(100)} == {200}
    assert server.stop() == 0


def test_a_terminal_that_is_stopped_holds_up_nothing(script: Script, free_tcp_port: int) -> None:
    command = [*COMMAND, "serve", str(script(APP)), "--port", str(free_tcp_port), "--no-reload"]
    terminal = Terminal(command)
    terminal.wait_for("Press Ctrl-C to stop")
    wait_until(lambda: not _shows_keys(terminal))
    terminal.press("\x13")
    url = f"http://127.0.0.1:{free_tcp_port}/webhooks/hello"
    assert {post(url, PULL).status for _ in range(300)} == {200}
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.ended() == 0
    assert _shows_keys(terminal)
    terminal.close()


def _shows_keys(terminal: Terminal) -> bool:
    return bool(termios.tcgetattr(terminal.fd)[3] & termios.ECHO)
