"""What waits for a handler, in memory: an engine of one process need not look for it on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from hfhooks.model.delivery import Recorded

__all__ = ["Due", "Waiting"]

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of bodies that are held; of other deliveries that wait only the number is."""


@dataclass(order=True)
class Waiting:
    """A delivery that waits for its turn, which is that of its time, then of its number."""

    since: float
    """When it came or, where it was to wait, when it is due; in seconds since 1970."""
    id: int
    endpoint: str = field(compare=False)
    is_suspect: bool = field(compare=False, default=False)
    """It ran when a process died; see `Recorded.is_suspect`."""
    size: int = field(compare=False, default=0)
    """Bytes of its body."""
    delivery: Recorded | None = field(compare=False, default=None)
    """None where it is to be read first."""


class Due:
    """Deliveries that wait, those that are due by endpoint."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._queues: dict[str, list[Waiting]] = {}
        self._suspects: list[Waiting] = []
        """Those that are due and may have ended a process; few."""
        self._later: list[Waiting] = []
        self._held = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, new: Waiting, is_due: bool = True) -> None:
        """Add a delivery that waits, for its turn or first until it is due."""
        size = len(new.delivery.body) if new.delivery else 0
        if self._held + size > MOST_BYTES:
            new.delivery, size = None, 0
        self._held += size
        self._waiting[new.id] = new
        if is_due:
            self._queue(new)
        else:
            heappush(self._later, new)

    def remove(self, id: int) -> None:
        """Remove a delivery."""
        if found := self._waiting.pop(id, None):
            self._held -= len(found.delivery.body) if found.delivery else 0

    def take(self, room: Mapping[str, int], now: float) -> Sequence[Waiting]:
        """Return those that are due and for which there is room, and let them wait no longer.

        They come in order, without suspects.
        """
        self._look_at_the_clock(now)
        taken: list[Waiting] = []
        for endpoint in [name for name in self._queues if room.get(name, 0) > 0]:
            taken += self._take_some(endpoint, room[endpoint])
        return sorted(taken)

    def suspect(self, room: Mapping[str, int], now: float) -> Waiting | None:
        """Return the first suspect that is due and for which there is room; it waits on."""
        self._look_at_the_clock(now)
        self._suspects = [each for each in self._suspects if self._waits(each)]
        return min(
            (each for each in self._suspects if room.get(each.endpoint, 0) > 0), default=None
        )

    def _take_some(self, endpoint: str, most: int) -> Iterator[Waiting]:
        queue = self._queues[endpoint]
        while queue and most > 0:
            if self._waits(first := heappop(queue)):
                most -= 1
                self.remove(first.id)
                yield first
        if not queue:
            self._queues.pop(endpoint, None)

    def next_at(self) -> float:
        """Return when the next one is due that was not yet, `inf` where there is none."""
        while self._later and not self._waits(self._later[0]):
            heappop(self._later)
        return self._later[0].since if self._later else inf

    def shift(self, seconds: float) -> None:
        """Have what is not due yet be due so many seconds later."""
        for each in self._later:  # they stay in order
            each.since += seconds

    def _look_at_the_clock(self, now: float) -> None:
        while self._later and self._later[0].since <= now:
            if self._waits(due := heappop(self._later)):
                self._queue(due)

    def _queue(self, due: Waiting) -> None:
        if due.is_suspect:
            self._suspects.append(due)
        else:
            heappush(self._queues.setdefault(due.endpoint, []), due)

    def _waits(self, one: Waiting) -> bool:
        return self._waiting.get(one.id) is one
