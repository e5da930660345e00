"""What tests share: payloads, waiting, and a real server in a process of its own."""

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from select import select
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import psutil

from tests.zygote import NAME, Forked, take_terminal

PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*.json"))
EXAMPLES = Path(__file__).parents[1] / "examples"
JSON = {"content-type": "application/json"}
WAITING = ("note: still ", "note: background tasks are still running")
"""How lines begin that say that something takes long."""
COMMAND = [sys.executable, "-m", "hfhooks"]
LONGEST = 60
"""Seconds that a command may take."""


def payload_bytes(name: str) -> bytes:
    """Return the sample payload of this name, as it came over the wire."""
    return (Path(__file__).parent / "payloads" / f"{name}.json").read_bytes()


def payload(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(payload_bytes(name))
    return content


def wait_until(condition: Callable[[], Any], timeout: float = 10) -> Any:
    """Return the first true value of the condition; fail after so many seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {condition}"
        threading.Event().wait(0.01)
    return value


async def until(condition: Callable[[], Any]) -> None:
    """Let the event loop turn until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def polled() -> None:
    """Return when the event loop has seen all that has come to its sockets by now."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for _ in range(4):  # a connection is accepted, then made, then read from
            loop.call_soon(theirs.send, b".")  # or it would be there at once, without a look
            await loop.sock_recv(ours, 1)


def content_of(file: Path) -> bytes:
    """Return what is in a file that SQLite may have open in this process.

    Whoever closes it here would drop SQLite's locks.
    """
    return subprocess.run(["cat", file], check=True, capture_output=True).stdout


def copy_folder(folder: Path, target: Path) -> None:
    """Copy a folder with a journal that may be open in this process."""
    subprocess.run(["cp", "-r", folder, target], check=True)


def mounted(folder: Path, kind: str) -> Path:
    """Return a list of mounts, as Linux has it, in which a folder is of this kind."""
    mounts = folder.with_name(f"{folder.name}.{kind}")
    mounts.write_text(
        "23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"24 23 0:21 / {folder} rw shared:2 master:1 - {kind} host:/export rw,vers=4\n"
    )
    return mounts


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one HTTP request over a connection of its own."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def post(url: str, body: bytes | dict[str, Any], **headers: str) -> Answer:
    """POST a payload as the Hub does."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("POST", url, encoded, JSON | named)


def run_command(
    *arguments: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `hfhooks` to its end."""
    result = run_raw(*arguments, stdin=stdin, env=env, cwd=cwd)
    out, err = result.stdout.decode(), result.stderr.decode()
    return subprocess.CompletedProcess(result.args, result.returncode, out, err)


def run_raw(
    *arguments: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `hfhooks` to its end, whatever bytes it prints."""
    command = [*COMMAND, *arguments]
    pipe, environment = subprocess.PIPE, os.environ | dict(env or {})
    with Forked(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=cwd) as process:
        try:
            out, err = process.communicate(stdin, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def at_terminal(
    *arguments: str,
    answer: tuple[bytes, bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `hfhooks` where a person sits; `stdout` is all that he sees.

    `answer` is a question, and what he types when he sees it, and again where nothing comes of it:
    Ctrl-C may come just before Python waits for what is typed, and be noticed after it.
    """
    environment = {**os.environ, "TERM": "xterm", **(env or {})}
    process, terminal = open_terminal([*COMMAND, *arguments], cwd, environment)
    shown, patience = b"", 0
    with suppress(OSError):  # the terminal's end
        while chunk := os.read(terminal, 65536):
            shown += chunk
            while answer and answer[0] in shown and not select([terminal], [], [], patience)[0]:
                os.write(terminal, answer[1])
                patience = 1
    os.close(terminal)
    code = process.wait()
    return subprocess.CompletedProcess(arguments, code, shown.decode(errors="replace"), "")


def open_terminal(
    command: Sequence[str], cwd: Path | None, env: Mapping[str, str]
) -> tuple[Forked, int]:
    """Start a program at a terminal of its own; return it, and where a person sits."""
    ours, its = pty.openpty()
    process = Forked(
        list(command),
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=cwd,
        env=env,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(its)
    return process, ours


class Terminal:
    """A program at a terminal of its own, and a person who types there."""

    def __init__(
        self, command: list[str], cwd: Path | None = None, env: Mapping[str, str] = os.environ
    ) -> None:
        self.shown = ""
        self._process, self.fd = open_terminal(command, cwd, env)
        self.pid = self._process.pid

    def read(self) -> str:
        """Return all that was shown so far."""
        while select([self.fd], [], [], 0)[0]:
            try:
                more = os.read(self.fd, 65536)
            except OSError:  # it has ended
                break
            if not more:
                break
            self.shown += more.decode(errors="replace")
        return self.shown

    def wait_for(self, text: str, number: int = 1) -> str:
        wait_until(lambda: self.read().count(text) >= number, timeout=30)
        return self.shown

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def ended(self, pressing: str = "") -> int:
        """Return the exit code, reading what it says, and pressing keys, meanwhile."""

        def look() -> bool:
            self.read()
            os.write(self.fd, pressing.encode())
            return self._process.poll() is not None

        wait_until(look, timeout=30)
        return int(self._process.returncode)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self.fd)


class Server:
    """`hfhooks serve --json` in a process of its own, by default on a free port."""

    def __init__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        as_json: bool = True,
        command: Sequence[str] | None = None,
        has_own_session: bool = False,
        port: int = 0,
    ) -> None:
        options = ["--port", str(port), *(["--json"] if as_json else [])]
        self.lines: list[str] = []
        self.errors: list[str] = []
        start = subprocess.Popen if command else Forked
        self.process = start(
            [*(command or COMMAND), "serve", *map(str, arguments), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=os.environ | dict(env or {}),
            start_new_session=has_own_session,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(stream)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines so far."""
        return [json.loads(line) for line in self.lines]

    @property
    def deliveries(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == "delivery"]

    @property
    def stderr(self) -> str:
        return "".join(self.errors)

    @property
    def said(self) -> str:
        """What is on stderr, but for what a busy machine has it say."""
        return "".join(line for line in self.errors if not line.startswith(WAITING))

    @property
    def ready(self) -> dict[str, Any]:
        """The `ready` line, waiting for it."""

        def first() -> dict[str, Any] | None:
            assert self.lines or self.process.poll() is None, self.stderr
            return self.events[0] if self.lines else None

        event: dict[str, Any] = wait_until(first, timeout=30)
        assert event["type"] == "ready"
        return event

    def url(self, name: str) -> str:
        """Return the URL of an endpoint."""
        return f"{self.ready['local_url']}/webhooks/{name}"

    def post(self, name: str, body: bytes | dict[str, Any], **headers: str) -> Answer:
        return post(self.url(name), body, **headers)

    @property
    def worker_pids(self) -> list[int]:
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if child.name() != NAME]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        for reader in self._readers:
            reader.join(timeout=10)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
