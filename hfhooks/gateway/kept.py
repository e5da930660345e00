"""Senders that are kept for the outcome, each for the same time."""

import asyncio

from hfhooks.model.host import Sender

__all__ = ["Kept"]


class Kept:
    """Keeps senders for `wait` seconds each, and not more than `most` at once.

    They are in order of their ends, so that one timer does for all of them.
    """

    def __init__(self, wait: float, most: int) -> None:
        self.wait = wait
        self._most = most
        self._until: dict[Sender, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def may_add(self, answer_in: float) -> bool:
        """Tell whether one may be kept whose answer is expected in so many seconds."""
        return 0 < self.wait >= answer_in and len(self._until) < self._most

    def add(self, one: Sender, since: float) -> None:
        """Keep one that has waited since that time of the loop's."""
        self._until[one] = until = since + self.wait
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(until, self._look)

    def remove(self, one: Sender) -> None:
        """Keep one no longer."""
        self._until.pop(one, None)

    def _look(self) -> None:
        """Send those away who have waited in vain."""
        self._timer = None
        loop = asyncio.get_running_loop()
        late = []
        for one, until in self._until.items():
            if until > loop.time():
                self._timer = loop.call_at(until, self._look)
                break
            late.append(one)
        for one in late:
            one.waits_in_vain()
