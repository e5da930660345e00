"""A time at which something is to be told."""

import asyncio
from collections.abc import Callable
from math import inf

__all__ = ["Alarm"]

LOOK_AGAIN = 30.0
"""Seconds after which the clock is looked at again: it may have jumped."""


class Alarm:
    """Calls `ring` on the running loop's thread when it is time, or a clock says that it may be.

    `now` tells seconds since 1970.
    """

    def __init__(self, ring: Callable[[], None], now: Callable[[], float]) -> None:
        self._ring, self._now = ring, now
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at this time, and at no other; at `inf` never."""
        self.cancel()
        if at < inf:
            pause = min(max(at - self._now(), 0.0), LOOK_AGAIN)
            self._timer = self._loop.call_later(pause, self._look, at)

    def cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look(self, at: float) -> None:
        self._timer = None
        self._ring()
        if self._timer is None and self._now() < at:
            self.set(at)
