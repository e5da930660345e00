"""The calls of handlers that are going on, each until its end is known."""

import asyncio
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from hfhooks.model.delivery import Claim
from hfhooks.model.ending import CANCELLED, INTERRUPTED, TIMED_OUT, Ending
from hfhooks.model.endpoint import Endpoint

__all__ = ["LONG", "Attempts", "Running", "Worker"]

LONG = 600.0
"""Seconds after which is said that a handler still runs."""


class Worker(Protocol):
    """Where handlers are called."""

    @property
    def takes_more(self) -> bool:
        """It calls what it is given: it has not ended, and is not about to."""

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        """Have the handler called that a claim is for, once, and call back with how that ended.

        `secret` is what the handler may compare with. `ended` is called once, on the loop's thread,
        and not before this returns; also where the worker dies.
        """

    def give_up(self, id: int) -> None:
        """End the call for this delivery, of which nobody waits for the outcome any more."""


@dataclass(eq=False, slots=True)
class Running:
    """A call that is going on."""

    claim: Claim
    endpoint: Endpoint
    worker: Worker
    started_at: float
    """Seconds since 1970."""
    started: float = field(default_factory=time.perf_counter)
    is_over: bool = False
    """Its outcome is known, though the handler may go on."""
    is_long: bool = False
    """It was said that it takes long."""
    timer: asyncio.TimerHandle | None = None

    @property
    def named(self) -> tuple[str, int]:
        """Its endpoint and delivery."""
        return self.claim.delivery.endpoint, self.claim.id

    @property
    def duration(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.started


class Attempts:
    """All calls that are going on.

    `ended` hears how each of them ended, `left` when its handler runs no more: later, where that
    has outlived its time.
    """

    def __init__(
        self, ended: Callable[[Running, Ending], None], left: Callable[[Running], None]
    ) -> None:
        self._ended, self._left = ended, left
        self._running: dict[int, Running] = {}
        """By delivery."""
        self._one_ended = asyncio.Event()

    def begin(self, running: Running) -> None:
        """Call a handler."""
        self._running[running.claim.id] = running
        endpoint = running.endpoint
        if endpoint.timeout is not None:
            loop = asyncio.get_running_loop()
            running.timer = loop.call_later(endpoint.timeout, self._time_out, running)
        running.worker.attempt(
            running.claim,
            endpoint.secrets[0] if endpoint.secrets else None,
            partial(self.leave, running),
        )

    @property
    def running(self) -> list[Running]:
        """Those whose outcome is not known."""
        return [running for running in self._running.values() if not running.is_over]

    @property
    def long(self) -> list[Running]:
        """Those that have been going on for very long."""
        return [running for running in self.running if running.duration >= LONG]

    def goes_on(self, id: int) -> bool:
        """Tell whether a handler runs for this delivery, though it may have been given up."""
        return id in self._running

    def cancel(self, ids: Container[int]) -> list[int]:
        """End the calls for these deliveries now, whatever comes of them; return whose they are."""
        cancelled = [each for each in self.running if each.claim.id in ids]
        for running in cancelled:
            self.give_up(running, Ending(CANCELLED))
        return [running.claim.id for running in cancelled]

    async def over(self, id: int) -> None:
        """Return when no call for this delivery is going on."""
        while any(running.claim.id == id for running in self.running):
            self._one_ended.clear()
            await self._one_ended.wait()

    async def drain(self, grace: float) -> None:
        """Give all of them this many seconds, then give them up."""
        try:
            async with asyncio.timeout(grace):
                while self.running:
                    self._one_ended.clear()
                    await self._one_ended.wait()
        except TimeoutError:
            for running in self.running:
                self.end(running, Ending(INTERRUPTED))

    def end(self, running: Running, ending: Ending) -> None:
        """Note how a call ended; the first word counts."""
        if running.is_over:
            return
        running.is_over = True
        if running.timer:
            running.timer.cancel()
        self._one_ended.set()
        self._ended(running, ending)

    def leave(self, running: Running, ending: Ending) -> None:
        """Note that a handler runs no more."""
        self.end(running, ending)
        if self._running.get(running.claim.id) is running:
            del self._running[running.claim.id]
            self._left(running)

    def give_up(self, running: Running, ending: Ending) -> None:
        """End a call that has not ended by itself; until it has indeed, it keeps its place."""
        self.end(running, ending)
        running.worker.give_up(running.claim.id)

    def _time_out(self, running: Running) -> None:
        why = f"The handler ran longer than its timeout of {running.endpoint.timeout:g} s."
        self.give_up(running, Ending(TIMED_OUT, 500, body=why.encode()))
