"""Starts, watches, replaces and stops the worker."""

import asyncio
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import Any

from hfhooks.endpoints import Endpoint
from hfhooks.errors import HfhooksError, LoadError
from hfhooks.gateway.client import WorkerClient
from hfhooks.state import is_alive
from hfhooks.worker.loading import Target
from hfhooks.worker.spawn import WorkerProcess

__all__ = ["Supervisor"]

LIVED_WELL = 10.0
"""Seconds after which a worker's death counts as the first."""
LONGEST_PAUSE = 5.0
"""Seconds between two starts of a worker that dies again and again."""
LONGEST_SOCKET_PATH = 100
"""Bytes; the system's limit is 104 or 108."""

PING_EVERY = 5.0
"""Seconds between two questions whether the worker is alive."""
MOST_SILENCE = 6
"""Questions in a row without an answer after which it is not."""

LEAVE_WITHIN = 1.5
"""Seconds that a worker gets to leave when it has nothing more to do."""

LAST_WORD: dict[str, Any] = {}
"""Stands in the queue of a worker's reports when there will be no more."""

OnReady = Callable[[WorkerClient, list[Endpoint]], None]
Tell = Callable[[str], None]


class Supervisor:
    """Keeps a worker running for as long as it is used.

    `on_ready` hears of each worker that can take deliveries, `on_lost` why there is none,
    `on_trouble` what else a person should know.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        on_ready: OnReady,
        on_lost: Tell,
        on_trouble: Tell,
        ping_every: float = PING_EVERY,
    ) -> None:
        self._targets = targets
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._on_trouble = on_trouble
        self._ping_every = ping_every
        self._worker: _Worker | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self, process: WorkerProcess) -> None:
        """Load the scripts into this process and keep it, or its successor, running.

        Raises `HfhooksError` when they cannot be loaded.
        """
        await self._load(process)
        self._keeping = asyncio.create_task(self._keep())

    def replace(self) -> None:
        """End the worker, which is no use any more, and start another."""
        if self._worker:
            self._worker.kill()

    async def stop(self, grace: float) -> None:
        """End the worker; background tasks of its handlers get this many seconds."""
        if self._keeping:
            self._keeping.cancel()
        if self._worker:
            await self._worker.stop(grace)

    async def _load(self, process: WorkerProcess) -> None:
        try:
            self._worker = _Worker(process)
        except BaseException:
            process.close()
            list(process.reports())  # reads to the end, and closes
            raise
        endpoints = await self._worker.load(self._targets)
        self._on_ready(self._worker.client(), endpoints)

    async def _keep(self) -> None:
        pause = 0.0
        while self._worker:
            started = time.monotonic()
            ending = await self._ending(self._worker)
            self._on_lost(f"the worker {ending}; starting another.")
            lived_well = time.monotonic() - started > LIVED_WELL
            pause = 0.0 if lived_well else min(2 * pause + 0.1, LONGEST_PAUSE)
            await asyncio.sleep(pause)
            try:
                await self._load(WorkerProcess())
            except (HfhooksError, OSError, RuntimeError) as error:  # no memory, no room, no thread
                self._worker.kill()  # it may have failed to load and live on, by a thread
                self._on_lost(str(error))

    async def _ending(self, worker: "_Worker") -> str:
        """Return how the worker ended, after ending it if it hangs."""
        ended = asyncio.ensure_future(worker.ended())
        watching = asyncio.ensure_future(self._watch(worker))
        try:
            await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            worker.kill()
            await ended
            return f"did not answer for {MOST_SILENCE * self._ping_every:g} s"
        finally:
            ended.cancel()
            watching.cancel()

    async def _watch(self, worker: "_Worker") -> None:
        """Ask the worker again and again whether it is alive; return when it is not."""
        silence = blocked = 0
        while silence < MOST_SILENCE:
            worker.ping()
            await asyncio.sleep(self._ping_every)
            silence = 0 if worker.is_alive else silence + 1
            blocked = 0 if worker.is_responsive or silence else blocked + 1
            if blocked == MOST_SILENCE:
                self._on_trouble(
                    f"an `async def` handler has blocked the others for "
                    f"{blocked * self._ping_every:g} s. A handler that waits or computes without "
                    "`await` should be `def`: it then runs in a thread."
                )


class _Worker:
    """One worker process: loading, then ready, then gone."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self._socket = _socket_path()
        self._token = secrets.token_urlsafe(32)
        self._port: int | None = None
        self._loop = asyncio.get_running_loop()
        self._reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._exit_code: asyncio.Future[int] = self._loop.create_future()
        self.is_alive = self.is_responsive = False
        """What came back since the last `ping`."""
        for watch in (self._listen, self._wait):
            Thread(target=watch, daemon=True, name="hfhooks-worker").start()

    async def load(self, targets: Sequence[Target]) -> list[Endpoint]:
        self._process.send(
            type="load",
            targets=[asdict(target) for target in targets],
            socket=str(self._socket) if self._socket else None,
            token=self._token,
        )
        report = await self._first_report()
        if report["type"] == "failed":
            raise _failure(report)
        self._port = report["port"]
        return [Endpoint.from_json(row) for row in report["endpoints"]]

    def client(self) -> WorkerClient:
        if self._port:
            return WorkerClient(self._port, self._token)
        return WorkerClient(str(self._socket))

    def ping(self) -> None:
        """Ask whether the process is alive, and whether its event loop turns."""
        self.is_alive = self.is_responsive = False
        self._process.send(type="ping")

    def kill(self) -> None:
        self._process.kill()

    async def ended(self) -> str:
        code = await asyncio.shield(self._exit_code)
        return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"

    async def stop(self, grace: float) -> None:
        self._process.send(type="stop")
        ended = asyncio.ensure_future(self.ended())
        served = asyncio.ensure_future(self._reports.get())  # it has nothing else to say
        first = {ended, served}
        await asyncio.wait(first, timeout=max(grace, 0), return_when=asyncio.FIRST_COMPLETED)
        served.cancel()
        await asyncio.wait({ended}, timeout=LEAVE_WITHIN)
        if not ended.done():
            self._process.kill()
        await ended

    async def _first_report(self) -> dict[str, Any]:
        report = asyncio.ensure_future(self._reports.get())
        first: set[asyncio.Future[Any]] = {report, self._exit_code}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        # Its last words and its end reach us on two ways; a program it started may keep one open.
        await asyncio.wait({report}, timeout=1)
        if report.done() and report.result() != LAST_WORD:
            return report.result()
        report.cancel()
        raise LoadError(f"the worker {await self.ended()} while the script was loading.")

    def _listen(self) -> None:
        for report in self._process.reports():
            if report["type"] == "alive":
                self.is_alive = True
            elif report["type"] == "responsive":
                self.is_responsive = True
            else:
                self._tell(self._reports.put_nowait, report)
        self._tell(self._reports.put_nowait, LAST_WORD)

    def _wait(self) -> None:
        code = self._process.wait()
        self._process.close()
        if self._socket:
            self._socket.unlink(missing_ok=True)
            with suppress(OSError):
                self._socket.parent.rmdir()
        self._tell(self._exit_code.set_result, code)

    def _tell(self, tell: Callable[[Any], None], what: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(tell, what)


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
    error.exit_code = report["exit_code"]
    return error
