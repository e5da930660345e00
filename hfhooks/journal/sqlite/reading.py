"""SQLite files: how they are opened, read beside their writer, and what their errors mean."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hfhooks.errors import DiskError, JournalError, JournalFull

__all__ = ["DISK_ERRORS", "VERSION", "Reader", "code_of", "connect", "damaged", "explained"]

T = TypeVar("T")
VERSION = sqlite3.sqlite_version

DISK_ERRORS = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)
"""Result codes that say nothing about what is in the file."""


class Reader:
    """Reads the file, also beside the process that writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = connect(f"{path.as_uri()}?mode=ro", uri=True)
        self._connection.row_factory = sqlite3.Row
        # SQLite opens the file at the first query, and until then the writer thinks it is alone.
        self.rows(tuple, "SELECT count(*) FROM sqlite_schema")

    def rows(self, convert: Callable[[sqlite3.Row], T], query: str, *values: Any) -> list[T]:
        """Return the rows of a query, converted. Raises `JournalError`.

        The values are given one by one, or as a dictionary where the query names them.
        """
        given = values[0] if values and isinstance(values[0], dict) else values
        try:
            return [convert(row) for row in self._connection.execute(query, given).fetchall()]
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise explained(self._path, error) from error

    def close(self) -> None:
        self._connection.close()


def connect(path: Path | str, timeout: float = 5, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False, uri=uri
    )


def explained(path: Path, error: Exception) -> JournalError:
    """Return what an error of a running database means."""
    code = code_of(error)
    if code == sqlite3.SQLITE_FULL:
        return JournalFull(f"{path}: the disk is full.")
    if code in DISK_ERRORS:
        return DiskError(f"{path}: {error}. Nothing more is accepted.")
    return damaged(path, error)


def code_of(error: Exception) -> int:
    """Return SQLite's primary result code, 0 for an error that is not SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def damaged(path: Path, why: object) -> JournalError:
    return JournalError(
        f"{path} is damaged: {why}",
        help=f"It is kept as it is. Start anew: mv {path.parent} {path.parent}.damaged. "
        f"Read what can be read: sqlite3 {path} .recover",
    )
