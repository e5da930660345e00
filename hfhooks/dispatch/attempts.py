"""The calls of handlers that are going on, each until its end is known."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hfhooks.model.delivery import Claim
from hfhooks.model.ending import INTERRUPTED, Ending
from hfhooks.model.endpoint import Endpoint

__all__ = ["Attempts", "Running", "Worker"]


class Worker(Protocol):
    """Where handlers are called."""

    @property
    def is_gone(self) -> bool:
        """It has ended, and calls nothing any more."""

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        """Have the handler called that a claim is for, once, and call back with how that ended.

        `secret` is what the handler may compare with. `ended` is called once, on the loop's thread,
        and not before this returns; also where the worker dies.
        """


@dataclass(eq=False, slots=True)
class Running:
    """A call that is going on."""

    claim: Claim
    endpoint: Endpoint
    started_at: float
    """Seconds since 1970."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def duration(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.started


class Attempts:
    """All calls that are going on; `ended` hears how each of them ended."""

    def __init__(self, ended: Callable[[Running, Ending], None]) -> None:
        self._ended = ended
        self._running: set[Running] = set()
        self._one_ended = asyncio.Event()

    def begin(self, worker: Worker, running: Running) -> None:
        """Call a handler."""
        self._running.add(running)
        secrets = running.endpoint.secrets
        worker.attempt(
            running.claim, secrets[0] if secrets else None, lambda ending: self.end(running, ending)
        )

    @property
    def ids(self) -> set[int]:
        """The deliveries that handlers are called for."""
        return {running.claim.id for running in self._running}

    async def over(self, id: int) -> None:
        """Return when no call for this delivery is going on."""
        while any(running.claim.id == id for running in self._running):
            self._one_ended.clear()
            await self._one_ended.wait()

    async def drain(self, grace: float) -> None:
        """Give all of them this many seconds, then give them up."""
        try:
            async with asyncio.timeout(grace):
                while self._running:
                    self._one_ended.clear()
                    await self._one_ended.wait()
        except TimeoutError:
            for running in list(self._running):
                self.end(running, Ending(INTERRUPTED))

    def end(self, running: Running, ending: Ending) -> None:
        """Note how a call ended; the first word counts."""
        if running in self._running:
            self._running.remove(running)
            self._one_ended.set()
            self._ended(running, ending)
