"""How soon what comes now will have been handled, as far as the last seconds tell. Pure."""

from collections import deque
from math import inf

__all__ = ["ENOUGH", "WINDOW", "Pace"]

WINDOW = 2.0
"""Seconds, of those in which deliveries waited, that count."""
ENOUGH = 8
"""Completions in less time than that by which something can be told."""
MEDIAN_OF = 32
"""Calls, the last ones, whose median counts."""


class Pace:
    """How quickly one lane gets on; `now` is in seconds of one clock that goes on."""

    def __init__(self) -> None:
        self._durations: deque[float] = deque(maxlen=MEDIAN_OF)
        self._completions: deque[float] = deque()
        """When each call ended that ended while others waited, in seconds of such time."""
        self._busy = 0.0
        """Seconds in which deliveries waited, up to `_since`."""
        self._since: float | None = None
        """When they began to, if they do now."""

    def waits(self, now: float, *, is_busy: bool) -> None:
        """Note whether deliveries wait from now on."""
        if is_busy and self._since is None:
            self._since = now
        elif not is_busy and self._since is not None:
            self._busy = self._clock(now)
            self._since = None

    def ended(self, now: float, duration: float) -> None:
        """Note that a call has ended which took so many seconds."""
        self._durations.append(duration)
        if self._since is not None:
            self._completions.append(self._clock(now))

    def answer_in(self, now: float, waiting: int) -> float:
        """Return the seconds in which one is handled that comes behind so many.

        That is 0 where nothing waits, or too little is known.
        """
        clock = self._clock(now)
        while self._completions and self._completions[0] < clock - WINDOW:
            self._completions.popleft()
        number = len(self._completions)
        if not waiting or (number < ENOUGH and clock < WINDOW):
            return 0.0
        if not number:
            return inf
        median = sorted(self._durations)[len(self._durations) // 2]
        return waiting * min(clock, WINDOW) / number + median

    def _clock(self, now: float) -> float:
        return self._busy + (now - self._since if self._since is not None else 0.0)
