"""One worker process, as the gateway holds it: warm, then loading, ready and gone."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from math import inf
from threading import Thread
from typing import Any

from hfhooks.errors import Fault, HfhooksError, LoadError
from hfhooks.http.passage import Site
from hfhooks.model.delivery import Claim
from hfhooks.model.ending import CRASHED, INTERRUPTED, Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.redact import redact
from hfhooks.script.target import Target
from hfhooks.supervisor.asked import Amend, Asked
from hfhooks.supervisor.link import Link
from hfhooks.supervisor.spawn import Spawned
from hfhooks.worker.frames import (
    ALIVE,
    ANSWER,
    BLOCKED,
    CANCEL,
    FAILED,
    LATE,
    LEFT,
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
    message_from,
    of_attempt,
    of_message,
)

__all__ = ["Worker", "WorkerDied"]

CANCELLED_WITHIN = 1.0
"""Seconds that a handler gets to end which was given up."""
LEAVE_WITHIN = 1.5
"""Seconds that a worker gets to leave when it has nothing more to do."""
LEAVE_LATER = 30.0
"""The same where nobody waits for that: what is killed takes with it what handlers have started."""


class WorkerDied(LoadError):
    """A worker ended before it had loaded the scripts, by their doing or another's."""


class Worker:
    """A worker process, from the moment it is started.

    `amend` hears of what its attempts leave to be done after their answers; `noted` hears what a
    person should know of what the script does. Raises `OSError` where it cannot be.
    """

    def __init__(
        self,
        process: Spawned,
        amend: Amend,
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
        self.takes_more = True
        """It calls what it is given; see `dispatch.attempts.Worker`."""
        self.site: Site | None = None
        """What it serves beside endpoints, once it has loaded them."""
        self.asked = Asked(amend)
        """The attempts that it has not answered, or that have left something to be done."""
        self._process, self._noted = process, noted

        def blocked(said: dict[str, Any]) -> None:
            noted(said["why"])
            if said.get("is_worn_out"):
                self._wear_out()

        def silent() -> None:
            # A process that says nothing more, or nothing that makes sense, is of no use. One that
            # leaves as it was told to must not be killed: what it has started would be, too.
            if not self.served.is_set():
                self.kill()

        self._messages: dict[int, Callable[[dict[str, Any]], None]] = {
            BLOCKED: blocked,
            LATE: self.asked.late,
            LEFT: lambda said: self.left_behind.extend(said["what"]),
            SECRET: lambda said: redact.learn_passing(said["secret"]),
        }
        self.left_behind: list[str] = []
        """What its handlers have left behind, once that is all that it waits for."""
        self.worn_out = asyncio.Event()
        """It can be given nothing more, and another is to take its place."""
        self._is_interrupted = False
        """It is ended on purpose."""
        self._why: str | None = None
        """Why we have killed it, where nobody else knows."""
        self._ran = ""
        """What ran in it when it ended."""
        self._loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[Frame] = self._loop.create_future()
        self.served = asyncio.Event()
        """It was told to end, and all that it had begun is over."""
        self._steps = {PRELOADED: self.is_warm, SERVED: self.served}
        self._exit_code: asyncio.Future[int] = self._loop.create_future()
        process.note()
        try:
            self._link = Link(process.sock, self._hear, silent)
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
            self.site = Site(partial(self._link.reach, lambda: self.is_gone), report["has_page"])
        return [Endpoint.from_json(row) for row in report["endpoints"]]

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        """Have the handler called that a claim is for; see `dispatch.attempts.Worker`."""
        number = self.asked.add(claim, ended)
        if self.is_gone:
            self._loop.call_soon(self.asked.end_all, None)
        else:
            self._link.send(of_attempt(number, claim, secret))

    def give_up(self, id: int) -> None:
        """End a call; see `dispatch.attempts.Worker`. Where it does not end, the worker will."""
        if (number := self.asked.give_up(id)) is not None:
            self._link.send(of_message(CANCEL, {"id": id}))
            self._loop.call_later(CANCELLED_WITHIN, self._end_in_vain, number)

    def ping(self) -> None:
        """Ask whether the process is alive."""
        self.is_alive = False
        self._link.send(Frame(PING))

    def kill(self, why: str | None = None) -> None:
        """End it at once; `why` is what others are told, unless it has ended by itself."""
        self._why = self._why or why
        self._process.kill()

    async def ended(self) -> str:
        """Return how it ended, and while what ran, when it has."""
        code = await asyncio.shield(self._exit_code)
        return f"{self._why or _how(code)}{self._ran}"

    async def stop(self, grace: float) -> None:
        """End it; handlers and their background tasks get this many seconds."""
        self._process.may_leave = True
        self._link.send(Frame(STOP))
        ended = asyncio.ensure_future(self.ended())
        served = asyncio.ensure_future(self.served.wait())
        first: set[asyncio.Future[Any]] = {ended, served}
        await asyncio.wait(first, timeout=max(grace, 0), return_when=asyncio.FIRST_COMPLETED)
        served.cancel()
        self._is_interrupted, self.takes_more = True, False
        if not (self.served.is_set() or ended.done()):
            self._process.terminate()
            self.asked.end_all(None)
            if self.left_behind:
                self._noted(f"cut off, as handlers left it behind: {'; '.join(self.left_behind)}.")
        await asyncio.wait({ended}, timeout=LEAVE_LATER if grace == inf else LEAVE_WITHIN)
        if not ended.done():
            self._process.kill()
        await ended

    def _hear(self, frame: Frame) -> None:
        try:
            if frame.kind == ANSWER:
                self.asked.answered(frame)
            elif frame.kind == ALIVE:
                self.is_alive = True
            elif frame.kind in (READY, FAILED):
                if not self._loaded.done():
                    self._loaded.set_result(frame)
            elif frame.kind in self._steps:
                self._steps[frame.kind].set()
            elif frame.kind in self._messages:
                self._messages[frame.kind](message_from(frame))
            if not self.takes_more:
                self._end_in_vain()
        except (Malformed, KeyError):
            self.kill()
        except Exception as error:  # noqa: BLE001 # of this frame, and others follow
            context = {"message": "what a worker said", "exception": error}
            self._loop.call_exception_handler(context)
            self.asked.fail(frame.number, Fault("what a worker said", error))

    def _end_in_vain(self, number: int | None = None) -> None:
        """Take nothing more where a call was given up and goes on, as this one, and end when it is
        all that does: nobody can take its thread, or its loop, from it.
        """
        if number is not None and self.asked.goes_on(number):
            self._wear_out()
        if self.worn_out.is_set() and self.asked.is_in_vain:
            names = ", ".join(call.name for call in self.asked.given_up)
            self.kill(f"was ended, because {names} went on after it was given up")

    def _wear_out(self) -> None:
        self.takes_more = False
        self.worn_out.set()

    def _has_ended(self, code: int) -> None:
        self.takes_more = False
        try:
            self._link.read()  # its last words
            self._link.close()
        finally:
            if self.asked.names and not self.asked.is_in_vain:
                self._ran = f" while {self.asked.names} ran"
            self._exit_code.set_result(code)
            self.asked.end_all(None if self._is_interrupted else self._why or _how(code))
            self.asked.cut_off(INTERRUPTED if self._is_interrupted else CRASHED)


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
        with suppress(OSError):
            process.let_go(code)
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(ended, code)


def _how(code: int) -> str:
    """Return how a process has ended, by its exit code."""
    if code >= 0:
        return f"exited with code {code}"
    with suppress(ValueError):
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"was ended by signal {-code}"


def _failure(report: dict[str, Any]) -> HfhooksError:
    error = LoadError(report["message"], report["help"], report["file"], report["line"])
    error.traceback = report["traceback"]
    error.exit_code = report["exit_code"]
    return error
