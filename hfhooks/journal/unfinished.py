"""What is not finished, of a journal that one process has: what waits, and what is taken."""

from collections.abc import Callable, Mapping, Sequence

from hfhooks.journal.alarm import Alarm
from hfhooks.journal.backlog import LIMITS, Backlog, Limits
from hfhooks.journal.clock import Clock
from hfhooks.journal.due import Due, Waiting
from hfhooks.model.delivery import Claim

__all__ = ["Unfinished"]


class Unfinished:
    """Deliveries that wait, or are taken; `tell_due` is called when one may have become due.

    `clock_set` is called when what waits is due so many seconds later, because the clock was set.
    """

    def __init__(
        self,
        tell_due: Callable[[], None],
        clock: Clock,
        clock_set: Callable[[float], None],
        limits: Limits = LIMITS,
    ) -> None:
        self.backlog = Backlog(limits)
        self._tell_due = tell_due
        self._clock, self._clock_set = clock, clock_set
        self._due = Due()
        self._taken: dict[int, int] = {}
        """The number of the attempt, by delivery; 0 while that is not known."""
        self._alarm = Alarm(tell_due, clock.now)

    def now(self) -> float:
        """Return the time of day; if that was set, what waits is due when it would have been."""
        if moved := self._clock.set_by():
            self._due.shift(moved)
            self._clock_set(moved)
        return self._clock.now()

    def wait(self, waiting: Waiting, is_due: bool = True) -> None:
        """Add a delivery that waits for its turn, or first until it is due."""
        self.backlog.add(waiting.id, waiting.endpoint, waiting.size)
        self._due.add(waiting, is_due)
        if is_due:
            self._tell_due()
        else:
            self._alarm.set(self._due.next_at())

    def suspect(self, room: Mapping[str, int]) -> Waiting | None:
        """Return the first suspect that is due and for which there is room; see `Due.suspect`."""
        return self._due.suspect(room, self.now())

    def take(self, room: Mapping[str, int], in_quarantine: bool) -> Sequence[Waiting]:
        """Take those that are due and for which there is room, or one suspect."""
        if in_quarantine:
            suspect = self.suspect(room)
            taken: Sequence[Waiting] = [suspect] if suspect else []
            for each in taken:
                self._due.remove(each.id)
        else:
            taken = self._due.take(room, self.now())
        self._alarm.set(self._due.next_at())
        self._taken.update((each.id, 0) for each in taken)
        return taken

    def hold(self, claim: Claim) -> None:
        """Note that a delivery is taken, for this attempt."""
        self._taken[claim.id] = claim.number
        self.backlog.add(claim.id, claim.delivery.endpoint, len(claim.delivery.body))

    def is_taken(self, id: int) -> bool:
        return id in self._taken

    def holds(self, claim: Claim) -> bool:
        """Tell whether this claim still holds."""
        return self._taken.get(claim.id) == claim.number

    def drop(self, id: int) -> None:
        """Remove a delivery, which neither waits nor is taken."""
        self.backlog.remove(id)
        self._due.remove(id)
        self._taken.pop(id, None)

    def close(self) -> None:
        """Tell nothing more."""
        self._alarm.cancel()
