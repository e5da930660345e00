"""SQLite files: how they are opened, and what their errors mean."""

import os
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote

from hfhooks.errors import DiskError, JournalAway, JournalError, JournalFull
from hfhooks.journal.sqlite.lockers import lockers

if sys.platform == "darwin":
    import fcntl

__all__ = [
    "ANOTHER",
    "DISK_ERRORS",
    "LOG_BYTES",
    "LOOK_AT_THE_DISK",
    "VERSION",
    "code_of",
    "connect",
    "damaged",
    "explained",
    "index_of",
    "log_of",
    "sync",
    "sync_folder",
]

VERSION = sqlite3.sqlite_version

DISK_ERRORS = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)
"""Result codes that say nothing about what is in the file."""

ANOTHER = "Choose another file: --journal sqlite:///path/to/journal.db"
LOOK_AT_THE_DISK = (
    "Look at the disk before the next start, and restart the machine: what can be read now may not "
    "be on it. On Linux: sudo dmesg"
)
LOG_BYTES = 4 * 1024 * 1024
"""What is left of the write-ahead log when it begins anew; if it has more, it is copied first."""


def log_of(path: Path) -> Path:
    """Return the write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def index_of(path: Path) -> Path:
    """Return the index of a database's log, on which those who read and write have their locks.

    See https://sqlite.org/walformat.html, 2.3.
    """
    return path.with_name(f"{path.name}-shm")


def sync(path: Path) -> None:
    """Have a file on the disk itself, one that SQLite does not have open. Raises `OSError`."""
    file = os.open(path, os.O_RDWR)
    try:
        if sys.platform == "darwin":  # where fsync reaches the disk's own memory only
            with suppress(OSError):  # what not every file system knows
                fcntl.fcntl(file, fcntl.F_FULLFSYNC)
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk itself. Raises `OSError`."""
    if os.name == "nt":  # where a folder cannot be opened
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def connect(path: Path | str, timeout: float = 5, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False, uri=uri
    )


def explained(path: Path, error: Exception) -> JournalError:
    """Return what an error of a running database means."""
    code = code_of(error)
    if code == sqlite3.SQLITE_BUSY:
        who = lockers(path, index_of(path))
        return JournalAway(f"{path} is locked by {who}.", help="Wait for that, or end it.")
    if code == sqlite3.SQLITE_FULL:
        return JournalFull(f"{path}: the disk is full.")
    if code in DISK_ERRORS:
        return DiskError(f"{path}: {error}. Nothing more is accepted.", help=LOOK_AT_THE_DISK)
    return damaged(path, error)


def code_of(error: Exception) -> int:
    """Return SQLite's primary result code, 0 for an error that is not SQLite's."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def damaged(path: Path, why: object) -> JournalError:
    """Return that a file cannot be read, and how to go on without it."""
    folder, file = path.parent, quote(str(path))
    instead = ANOTHER
    if all(each.name.startswith(path.stem) for each in folder.iterdir()):
        instead = f"Start anew: mv {quote(str(folder))} {quote(f'{folder}.damaged')}"
    return JournalError(
        f"{path} is damaged: {why}",
        help=f"It is kept as it is. {instead}. Read what can be read: sqlite3 {file} .recover",
    )
