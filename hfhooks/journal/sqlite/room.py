"""Whether a disk has room for what is new, and who is told when that changes."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from hfhooks.errors import JournalFull
from hfhooks.model.condition import Condition

__all__ = ["Room"]


class Room:
    """The room for a file; `least` bytes must be free. `become` is called when it is another."""

    def __init__(self, path: Path, least: int, become: Callable[[Condition], None]) -> None:
        self.full: JournalFull | None = None
        """Why there is none, as far as is known."""
        self._path, self._folder = path, str(path.parent)
        self._least, self._become = least, become

    def is_there(self) -> bool:
        """Look whether there is room, and note it if there is none."""
        try:
            is_there = shutil.disk_usage(self._folder).free >= self._least
        except OSError:  # SQLite will say what is wrong
            is_there = True
        if not is_there:
            self.learn([JournalFull(f"{self._path}: the disk is nearly full.")])
        return is_there

    def learn(self, outcomes: Iterable[object]) -> None:
        """Note what writes have come to, for which there was room or not."""
        full = next((each for each in outcomes if isinstance(each, JournalFull)), None)
        was_full, self.full = self.full is not None, full
        if was_full is (full is None):
            self._become(Condition("full", full) if full else Condition())
