"""SQLite files: how they are opened, and what their errors mean."""

import sqlite3
from pathlib import Path

from hfhooks.errors import DiskError, JournalError, JournalFull

__all__ = ["DISK_ERRORS", "VERSION", "code_of", "connect", "damaged", "explained"]

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
