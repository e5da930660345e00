"""What a host is told by its journal."""

from collections.abc import Callable

from hfhooks.model.condition import Condition

__all__ = ["Telling"]


class Telling:
    """A journal's condition, and who is told when that, or what is due, has changed."""

    def __init__(self) -> None:
        self.condition = Condition()
        self._tell_due: Callable[[], None] = lambda: None
        self._tell_changed: Callable[[Condition], None] = lambda _: None

    def when_due(self, tell: Callable[[], None]) -> None:
        """Have this called on the loop's thread when something may have become due."""
        self._tell_due = tell

    def when_changed(self, tell: Callable[[Condition], None]) -> None:
        """Have this called on the loop's thread when its condition is another one."""
        self._tell_changed = tell

    def become(self, condition: Condition) -> None:
        """Take on a condition; one that has failed for good has no other."""
        if condition.state != self.condition.state and self.condition.state != "failed":
            self.condition = condition
            self._tell_changed(condition)
