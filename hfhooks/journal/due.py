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
    has_crashed: bool = field(compare=False, default=False)
    """A handler of it has ended a worker."""
    delivery: Recorded | None = field(compare=False, default=None)
    """None where it is to be read first."""


class Due:
    """Deliveries that wait, those that are due by endpoint."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._queues: dict[str, list[Waiting]] = {}
        self._crashed: list[Waiting] = []
        """Those that are due, and have crashed a worker; few."""
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

    def take(self, room: Mapping[str, int], crashed: int, now: float) -> Sequence[Waiting]:
        """Return those that are due and for which there is room, and let them wait no longer.

        They come in order; at most `crashed` of them have crashed a worker.
        """
        self._look_at_the_clock(now)
        left = dict(room)
        taken = [*self._take_crashed(left, crashed)]
        for endpoint in [name for name in self._queues if left.get(name, 0) > 0]:
            taken += self._take_others(endpoint, left)
        return sorted(taken)

    def _take_crashed(self, left: dict[str, int], most: int) -> Iterator[Waiting]:
        """Take so many that have crashed a worker, and what comes before them."""
        self._crashed = sorted(each for each in self._crashed if self._waits(each))
        for each in self._crashed:
            if most > 0:
                yield from self._take_others(each.endpoint, left, before=each)
            if most > 0 and left.get(each.endpoint, 0) > 0:
                most -= 1
                yield self._taken(each, left)

    def _take_others(
        self, endpoint: str, left: dict[str, int], before: Waiting | None = None
    ) -> Iterator[Waiting]:
        queue = self._queues.get(endpoint, [])
        while queue and left.get(endpoint, 0) > 0 and (before is None or queue[0] < before):
            if self._waits(first := heappop(queue)):
                yield self._taken(first, left)
        if not queue:
            self._queues.pop(endpoint, None)

    def next_at(self) -> float:
        """Return when the next one is due that was not yet, `inf` where there is none."""
        while self._later and not self._waits(self._later[0]):
            heappop(self._later)
        return self._later[0].since if self._later else inf

    def _look_at_the_clock(self, now: float) -> None:
        while self._later and self._later[0].since <= now:
            if self._waits(due := heappop(self._later)):
                self._queue(due)

    def _queue(self, due: Waiting) -> None:
        if due.has_crashed:
            self._crashed.append(due)
        else:
            heappush(self._queues.setdefault(due.endpoint, []), due)

    def _taken(self, one: Waiting, left: dict[str, int]) -> Waiting:
        left[one.endpoint] -= 1
        self.remove(one.id)
        return one

    def _waits(self, one: Waiting) -> bool:
        return self._waiting.get(one.id) is one
