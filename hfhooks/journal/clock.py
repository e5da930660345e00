"""The time of day, which somebody may set while deliveries wait for theirs."""

import time
from collections.abc import Callable
from functools import partial
from math import inf

__all__ = ["Clock", "due_at_last", "steady"]

# It goes on while the machine sleeps, so that this is not taken for a clock that was set.
BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)
steady: Callable[[], float] = (
    time.monotonic if BOOTTIME is None else partial(time.clock_gettime, BOOTTIME)
)
"""Seconds that go on, and that nobody sets."""
LEAST = 1.0
"""Seconds by which a clock is set; below that it runs a little fast or slow."""
LONGEST_PAUSE, LONGEST_ASKED = 15 * 60.0, 7 * 24 * 3600.0
"""Seconds that a delivery waits for its next attempt, and that a handler may ask for."""


class Clock:
    """`now` tells seconds since 1970, `steady` some that nobody sets."""

    def __init__(self, now: Callable[[], float], steady: Callable[[], float] = steady) -> None:
        self.now, self._steady = now, steady
        self._offset = now() - steady()

    def set_by(self) -> float:
        """Return by how many seconds it was set since it was last asked."""
        before, self._offset = self._offset, self.now() - self._steady()
        moved = self._offset - before
        return moved if abs(moved) > LEAST else 0.0


def due_at_last(due_at: float, since: float | None, is_asked: bool, now: float) -> float:
    """Return when a delivery is due that an earlier run has left.

    It has waited `since` then; where the clock was set back meanwhile, what it was to wait counts.
    """
    pause = due_at - since if since is not None and since <= due_at else inf
    return min(due_at, now + min(pause, LONGEST_ASKED if is_asked else LONGEST_PAUSE))
