"""What is left to be done after an answer: whether there is something, and room for it.

No FastAPI here.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from threading import Lock
from typing import Any

from hfhooks.errors import Fault
from hfhooks.model.ending import Ending, failed_by
from hfhooks.worker.endings import ending_of
from hfhooks.worker.unsendable import MISSING, unsendable

__all__ = ["HELD", "TURNS", "Held", "Room", "ending_of_call"]

TURNS = 16
"""Turns of a loop in which a call may end that leaves nothing; each middleware takes some."""
HELD: "ContextVar[Held | None]" = ContextVar("held", default=None)
"""The answer of the call that is going on."""


class Held:
    """An answer that waits for the end of its call, or a few turns of the loop.

    By then is known whether something is left to be done, such as background tasks: a call that
    leaves nothing ends as soon as it has answered.
    """

    __slots__ = ("_all", "_answered", "_held", "fault", "is_answered", "pending_after", "returned")

    def __init__(
        self, answered: Callable[[Ending], None], all_held: "set[Held] | None" = None
    ) -> None:
        self.is_answered = False
        self.pending_after = False
        """It went out while the call went on."""
        self.fault: Exception | None = None
        """Why nothing can be answered at all."""
        self.returned: Any = MISSING
        """What the handler has returned, if it has: whatever comes now, it is not run again."""
        self._answered = answered
        self._all = all_held
        self._held: list[Ending] = []

    def __call__(self, ending: Ending) -> None:
        """Take the answer, on the loop of the call; the first one counts."""
        if not self.is_answered:
            self.is_answered = True
            self._held.append(ending)
            if self._all is not None:
                self._all.add(self)
            self._wait(TURNS)

    def at_once(self, ending: Ending) -> None:
        """Take the answer of a call that leaves nothing to be done."""
        self.is_answered = True
        self._answer(ending)

    def ending_of(self, error: BaseException) -> Ending:
        """Return how the call has ended in which this was raised."""
        return ending_of(error) if self.returned is MISSING else unsendable(error, self.returned)

    def _wait(self, turns: int) -> None:
        if turns and self._held:
            asyncio.get_running_loop().call_soon(self._wait, turns - 1)
        else:
            self.let_go()

    def let_go(self, pending_after: bool = True) -> None:
        """Let out the answer if it still waits, in whatever thread."""
        if not self._held:
            return
        with suppress(IndexError):  # another thread has
            ending = self._held.pop()
            if self._all is not None:
                self._all.discard(self)
            self.pending_after = ending.pending_after = pending_after
            self._answer(ending)

    def _answer(self, ending: Ending) -> None:
        try:
            self._answered(ending)
        except Exception as error:  # noqa: BLE001 # a fault of ours: somebody waits
            try:
                self._answered(failed_by(Fault("calling a handler", error)))
            except Exception as again:  # noqa: BLE001 # whoever calls raises it
                self.fault = again


def ending_of_call(error: BaseException) -> Ending:
    """Return how the call that is going on has ended, in which this was raised."""
    held = HELD.get()
    return held.ending_of(error) if held else ending_of(error)


class Room:
    """So many responses of an endpoint whose background tasks run at once, on whatever loops."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._lock = Lock()

    def bound(self, response: Any) -> None:
        """Have the background tasks of a response wait for a place."""
        if response.background is not None:
            response.background = partial(self.run, response.background)

    async def run(self, background: Callable[[], Awaitable[None]]) -> None:
        """Run background tasks as soon as there is a place for them."""
        if not getattr(background, "tasks", True):  # there may be any, and there are none
            return
        if held := HELD.get():
            held.let_go()  # they may block the loop, and the answer goes first
        await self._take_place()
        try:
            await background()
        finally:
            self._give_place()

    async def _take_place(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_place()
            raise

    def _give_place(self) -> None:
        """Give a place to the one that waits longest, and is still there."""
        with self._lock:
            while self._waiting:
                place = self._waiting.popleft()
                with suppress(RuntimeError):  # its loop is closed
                    place.get_loop().call_soon_threadsafe(self._hand_over, place)
                    return
            self._free += 1

    def _hand_over(self, place: "asyncio.Future[None]") -> None:
        if place.done():  # it was cancelled
            self._give_place()
        else:
            place.set_result(None)
