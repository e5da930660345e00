"""Which files a database has, whatever becomes of their names."""

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Identity"]


class Identity:
    """Files that SQLite has open, by their names and numbers.

    As long as it has them open no other file gets their numbers. They are not opened here: whoever
    closes a file drops all locks that its process has on it, SQLite's too
    (https://www.sqlite.org/howtocorrupt.html, 2.2). Raises `OSError` where one is not there.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._numbers = {str(file): _number(str(file)) for file in files}

    def lost(self) -> str | None:
        """Return the name of a file that was deleted, moved or replaced; None if none was."""
        for file, number in self._numbers.items():
            try:
                if _number(file) != number:
                    return file
            except (FileNotFoundError, NotADirectoryError):
                return file
            except OSError:  # nobody can tell; SQLite will say what is wrong
                continue
        return None


def _number(file: str) -> tuple[int, int]:
    status = os.stat(file)  # noqa: PTH116 # it is called before commits
    return status.st_dev, status.st_ino
