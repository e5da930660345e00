"""One worker process, as the gateway holds it: warm, then loading, ready and gone."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from math import inf
from threading import Thread
from typing import Any

from hfhooks.errors import Fault, HfhooksError, LoadError
from hfhooks.http.passage import Site, SiteGone
from hfhooks.model.delivery import Claim
from hfhooks.model.ending import CRASHED, INTERRUPTED, Ending, failed_by
from hfhooks.model.endpoint import Endpoint
from hfhooks.redact import redact
from hfhooks.script.target import Target
from hfhooks.supervisor.link import Link
from hfhooks.supervisor.spawn import Spawned
from hfhooks.worker.frames import (
    ALIVE,
    ANSWER,
    BLOCKED,
    FAILED,
    LATE,
    LOAD,
    PING,
    PRELOAD,
    PRELOADED,
    READY,
    SECRET,
    SERVED,
    STOP,
    Frame,
    Malformed,
    ending_from,
    message_from,
    of_attempt,
    of_message,
)

__all__ = ["Worker", "WorkerDied"]

LEAVE_WITHIN = 1.5
"""Seconds that a worker gets to leave when it has nothing more to do."""


class WorkerDied(LoadError):
    """A worker ended before it had loaded the scripts, by their doing or another's."""


class Worker:
    """A worker process, from the moment it is started.

    `failed_late` hears which delivery's attempt has failed after its answer, and how; `noted` hears
    what a person should know of what the script does. Raises `OSError` where it cannot be.
    """

    def __init__(
        self,
        process: Spawned,
        failed_late: Callable[[int, int, str], None],
        noted: Callable[[str], None],
    ) -> None:
        self.files: list[str] = []
        """The user's own files that it has tried to load."""
        self.read_at = inf
        """When it began to read them, in seconds since 1970."""
        self.has_fastapi = False
        """It has imported FastAPI, which not every script needs."""
        self.is_warm = asyncio.Event()
        self.is_alive = True
        """It has answered the last question."""
        self.site: Site | None = None
        """What it serves beside endpoints, once it has loaded them."""
        self._process = process
        self._failed_late, self._noted = failed_late, noted
        self._asked: dict[int, Callable[[Ending], None]] = {}
        """The attempts that it has not answered, by their number on the wire."""
        self._number = 0
        self._is_interrupted = False
        """It is ended on purpose."""
        self._loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[Frame] = self._loop.create_future()
        self._served = asyncio.Event()
        self._steps = {PRELOADED: self.is_warm, SERVED: self._served}
        self._exit_code: asyncio.Future[int] = self._loop.create_future()
        try:
            # A process that says nothing more, or nothing that makes sense, is of no use.
            self._link = Link(process.sock, self._hear, self.kill)
            waiting = (process, self._loop, self._has_ended)
            Thread(target=_wait, args=waiting, daemon=True, name="hfhooks-worker").start()
        except BaseException:
            process.close()
            raise

    @property
    def is_gone(self) -> bool:
        return self._exit_code.done()

    @property
    def pid(self) -> int:
        return self._process.pid

    def warm_up(self, targets: Sequence[Target], needs_fastapi: bool = False) -> None:
        """Have it import what the scripts begin with, in the background."""
        self._process.step_back()
        named = [asdict(target) for target in targets]
        self._link.send(of_message(PRELOAD, {"targets": named, "needs_fastapi": needs_fastapi}))

    async def load(self, targets: Sequence[Target], verbose: bool = False) -> list[Endpoint]:
        """Load the scripts and return their endpoints. Raises `HfhooksError`.

        If `verbose`, that has the frames of libraries too.
        """
        self._process.step_forward()
        self.read_at = time.time()
        content = {"targets": [asdict(target) for target in targets], "verbose": verbose}
        self._link.send(of_message(LOAD, content))
        first: set[asyncio.Future[Any]] = {self._loaded, self._exit_code}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not self._loaded.done():
            raise WorkerDied(f"the worker {await self.ended()} while the script was loading.")
        report = message_from(self._loaded.result())
        self.files = report["files"]
        if self._loaded.result().kind == FAILED:
            raise _failure(report)
        self.has_fastapi = report.get("has_fastapi", False)
        if report["has_site"]:
            self.site = Site(self._reach, report["has_page"])
        return [Endpoint.from_json(row) for row in report["endpoints"]]

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        """Have the handler called that a claim is for; see `dispatch.attempts.Worker`."""
        self._number += 1
        self._asked[self._number] = ended
        if self.is_gone:
            self._loop.call_soon(self._answer_all)
        else:
            self._link.send(of_attempt(self._number, claim, secret))

    def ping(self) -> None:
        """Ask whether the process is alive."""
        self.is_alive = False
        self._link.send(Frame(PING))

    def kill(self) -> None:
        self._process.kill()

    async def ended(self) -> str:
        """Return how it ended, when it has."""
        code = await asyncio.shield(self._exit_code)
        return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"

    async def stop(self, grace: float) -> None:
        """End it; handlers and their background tasks get this many seconds."""
        self._link.send(Frame(STOP))
        ended = asyncio.ensure_future(self.ended())
        served = asyncio.ensure_future(self._served.wait())
        first: set[asyncio.Future[Any]] = {ended, served}
        await asyncio.wait(first, timeout=max(grace, 0), return_when=asyncio.FIRST_COMPLETED)
        served.cancel()
        self._is_interrupted = True
        if not self._served.is_set():
            self._answer_all()
        await asyncio.wait({ended}, timeout=LEAVE_WITHIN)
        if not ended.done():
            self._process.kill()
        await ended

    async def _reach(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Open a connection to what it serves beside endpoints. Raises `SiteGone`."""
        if self.is_gone:
            raise SiteGone("the worker has ended")
        try:
            ours, theirs = socket.socketpair()
            self._link.hand_over(theirs)
            await self._loop.create_unix_connection(protocol, sock=ours)
        except OSError as error:
            raise SiteGone(str(error)) from error

    def _hear(self, frame: Frame) -> None:
        try:
            self._understand(frame)
        except (Malformed, KeyError):
            self.kill()
        except Exception as error:  # noqa: BLE001 # of this frame, and others follow
            context = {"message": "what a worker said", "exception": error}
            self._loop.call_exception_handler(context)
            if ended := self._asked.pop(frame.number, None):
                ended(failed_by(Fault("what a worker said", error)))

    def _understand(self, frame: Frame) -> None:
        if frame.kind == ANSWER:
            ending = ending_from(frame)
            if ended := self._asked.pop(frame.number, None):
                ended(ending)
        elif frame.kind == ALIVE:
            self.is_alive = True
        elif frame.kind in (READY, FAILED):
            if not self._loaded.done():
                self._loaded.set_result(frame)
        elif frame.kind in self._steps:
            self._steps[frame.kind].set()
        elif frame.kind == BLOCKED:
            self._noted(message_from(frame)["why"])
        elif frame.kind == LATE:
            late = message_from(frame)
            self._failed_late(late["id"], late["attempt"], late["error"])
        elif frame.kind == SECRET:
            redact.learn_passing(message_from(frame)["secret"])

    def _answer_all(self) -> None:
        """Tell those who wait for answers that none will come."""
        asked, self._asked = self._asked, {}
        for ended in asked.values():
            ended(Ending(INTERRUPTED if self._is_interrupted else CRASHED))

    def _has_ended(self, code: int) -> None:
        try:
            self._link.read()  # its last words
            self._link.close()
        finally:
            self._exit_code.set_result(code)
            self._answer_all()


def _wait(process: Spawned, loop: asyncio.AbstractEventLoop, ended: Callable[[int], None]) -> None:
    """Have `ended` called on a loop, with the exit code of a process, when that has ended."""
    code = 1
    try:
        code = process.wait()
    except Exception as error:  # noqa: BLE001 # whatever it is, of this process nothing is known
        context = {"message": "waiting for a worker", "exception": error}
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.call_exception_handler, context)
        process.kill()
        code = process.wait()
    finally:
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(ended, code)


def _failure(report: dict[str, Any]) -> HfhooksError:
    error = LoadError(report["message"], report["help"], report["file"], report["line"])
    error.traceback = report["traceback"]
    error.exit_code = report["exit_code"]
    return error
