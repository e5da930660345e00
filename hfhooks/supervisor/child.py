"""One worker process, as the gateway holds it: warm, then loading, ready and gone."""

import asyncio
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from math import inf
from pathlib import Path
from threading import Thread
from typing import Any

from hfhooks.dispatch.client import WorkerClient
from hfhooks.errors import HfhooksError, LoadError
from hfhooks.http.passage import Site
from hfhooks.model.endpoint import Endpoint
from hfhooks.private import is_alive
from hfhooks.supervisor.spawn import WorkerProcess
from hfhooks.worker.loading import Target

__all__ = ["Child", "WorkerDied"]

LONGEST_SOCKET_PATH = 100
"""Bytes; the system's limit is 104 or 108."""
LEAVE_WITHIN = 1.5
"""Seconds that a worker gets to leave when it has nothing more to do."""
LAST_WORD: dict[str, Any] = {}
"""Stands in the queue of a worker's reports when there will be no more."""


class WorkerDied(LoadError):
    """A worker ended before it had loaded the scripts, by their doing or another's."""


class Child:
    """A worker process, from the moment it is started. Raises `OSError` where that cannot be."""

    def __init__(self, process: WorkerProcess) -> None:
        self.files: list[str] = []
        """The user's own files that it has tried to load."""
        self.read_at = inf
        """When it began to read them, in seconds since 1970."""
        self.is_alive = False
        """It has answered the last `ping`."""
        self.is_warm = asyncio.Event()
        """It has imported what it can before it is told what to load."""
        self.on_late_failure: Callable[[int, int, str], None] = lambda *_: None
        """Hears which delivery's attempt has failed after its answer, and how."""
        self.on_blocked: Callable[[str | None, str | None, list[str]], None] = lambda *_: None
        """Hears which endpoint blocks its event loop, why, and which attempts it has begun."""
        self.site: Site | None = None
        """What it serves beside endpoints, once it has loaded them."""
        self._process = process
        try:
            self._start_listening()
        except BaseException:
            process.close()
            list(process.reports())  # reads to the end, and closes
            raise

    def _start_listening(self) -> None:
        self._socket = _socket_path()
        self._token = secrets.token_urlsafe(32)
        self._client: WorkerClient | None = None
        self._generation = 0
        """How many times loops of it were blocked."""
        self._loop = asyncio.get_running_loop()
        self._reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._exit_code: asyncio.Future[int] = self._loop.create_future()
        for watch in (self._listen, self._wait):
            Thread(target=watch, daemon=True, name="hfhooks-worker").start()

    @property
    def is_gone(self) -> bool:
        return self._exit_code.done()

    @property
    def pid(self) -> int:
        return self._process.pid

    def warm_up(self, targets: Sequence[Target]) -> None:
        """Let it import what the scripts begin with, in the background."""
        self._process.step_back()
        self._process.send(type="preload", targets=[asdict(target) for target in targets])

    async def load(self, targets: Sequence[Target], verbose: bool = False) -> list[Endpoint]:
        """Load the scripts and return their endpoints. Raises `HfhooksError`.

        If `verbose`, that has the frames of libraries too.
        """
        self._process.step_forward()
        self.read_at = time.time()
        self._process.send(
            type="load",
            targets=[asdict(target) for target in targets],
            socket=str(self._socket) if self._socket else None,
            token=self._token,
            verbose=verbose,
        )
        report = await self._first_report()
        self.files = report["files"]
        if report["type"] == "failed":
            raise _failure(report)
        port = report["port"]
        self._client = WorkerClient(port, self._token) if port else WorkerClient(str(self._socket))
        if self._generation:
            self._client.outlive(self._generation)
        if report["has_site"]:
            self.site = Site(self._client, report["has_page"])
        return [Endpoint.from_json(row) for row in report["endpoints"]]

    @property
    def client(self) -> WorkerClient:
        """Where its handlers are called, once it has loaded them."""
        assert self._client
        return self._client

    def ping(self) -> None:
        """Ask whether the process is alive."""
        self.is_alive = False
        self._process.send(type="ping")

    def kill(self) -> None:
        self._process.kill()

    async def ended(self) -> str:
        """Return how it ended, when it has."""
        code = await asyncio.shield(self._exit_code)
        return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"

    async def stop(self, grace: float) -> None:
        """End it; handlers and their background tasks get this many seconds."""
        self._process.send(type="stop")
        ended = asyncio.ensure_future(self.ended())
        served = asyncio.ensure_future(self._reports.get())  # it has nothing else to say
        first = {ended, served}
        await asyncio.wait(first, timeout=max(grace, 0), return_when=asyncio.FIRST_COMPLETED)
        if not served.done() and self._client:
            self._client.interrupt()
        served.cancel()
        await asyncio.wait({ended}, timeout=LEAVE_WITHIN)
        if not ended.done():
            self._process.kill()
        await ended

    async def _first_report(self) -> dict[str, Any]:
        report = asyncio.ensure_future(self._reports.get())
        first: set[asyncio.Future[Any]] = {report, self._exit_code}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            # Its last words and its end reach us on two ways; a program it started may keep one.
            await asyncio.wait({report}, timeout=1)
            if report.done() and report.result() != LAST_WORD:
                return report.result()
        finally:
            report.cancel()
        raise WorkerDied(f"the worker {await self.ended()} while the script was loading.")

    def _listen(self) -> None:
        for report in self._process.reports():
            if report["type"] == "alive":
                self.is_alive = True
            elif report["type"] == "blocked":
                self._tell(self._blocked, report)
            elif report["type"] == "free":
                self._tell(self.client.renew)
            elif report["type"] == "failed_late":
                self._tell(self.on_late_failure, report["id"], report["attempt"], report["error"])
            elif report["type"] == "preloaded":
                self._tell(self.is_warm.set)
            else:
                self._tell(self._reports.put_nowait, report)
        self._tell(self._reports.put_nowait, LAST_WORD)

    def _blocked(self, report: dict[str, Any]) -> None:
        self._generation = report["generation"]
        if self._client:
            self._client.outlive(self._generation)
            self.on_blocked(report["endpoint"], report["why"], report["begun"])

    def _wait(self) -> None:
        code = self._process.wait()
        self._process.close()
        if self._socket:
            self._socket.unlink(missing_ok=True)
            with suppress(OSError):
                self._socket.parent.rmdir()
        self._tell(self._exit_code.set_result, code)

    def _tell(self, tell: Callable[..., Any], *what: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(tell, *what)


def _socket_path() -> Path | None:
    """Return where the worker's socket goes, None where only a loopback port will do."""
    if not hasattr(socket, "AF_UNIX") or os.name == "nt":
        return None
    _sweep()
    path = Path(tempfile.mkdtemp(prefix=f"hfhooks-{os.getpid()}-")) / "worker.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    path.parent.rmdir()
    return None


def _sweep() -> None:
    """Remove the sockets of servers that were killed together with their workers."""
    for folder in Path(tempfile.gettempdir()).glob("hfhooks-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdecimal() and not is_alive(int(pid)):
            with suppress(OSError):  # another user's
                if not _is_served(folder / "worker.sock"):
                    (folder / "worker.sock").unlink(missing_ok=True)
                    folder.rmdir()


def _is_served(path: Path) -> bool:
    """Tell whether somebody listens: another container may share the folder and not the pids."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


def _failure(report: dict[str, Any]) -> HfhooksError:
    error = LoadError(report["message"], report["help"], report["file"], report["line"])
    error.traceback = report["traceback"]
    error.exit_code = report["exit_code"]
    return error
