"""A SQLite file is opened, and made if need be, so that what is written to it stays there."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from errno import ENOSPC
from pathlib import Path
from typing import NamedTuple, TypeAlias

from hfhooks.errors import DiskError, JournalError, JournalFull, JournalTaken
from hfhooks.journal.sqlite.files import (
    ANOTHER,
    DISK_ERRORS,
    LOG_BYTES,
    LOOK_AT_THE_DISK,
    code_of,
    connect,
    damaged,
    explained,
    index_of,
    log_of,
    sync,
    sync_folder,
)
from hfhooks.journal.sqlite.holder import Holder
from hfhooks.journal.sqlite.identity import Identity
from hfhooks.mounts import file_system, is_elsewhere

__all__ = ["Opened", "Prepare", "Use", "opened", "remove"]

MOST_CHECKED = 512 * 1024 * 1024
"""Bytes of a file that is checked when it is opened; it takes about a second."""
MOST_PATIENCE = 1000
"""Milliseconds that a write waits for a lock of another program before that is said."""
MAKE_ROOM = "Make room on the disk, and start again, or choose another: --state-dir FOLDER"
Use: TypeAlias = Callable[[sqlite3.Connection], object]
Prepare: TypeAlias = Callable[[sqlite3.Connection, str], object]
"""Is told how the one who had the database last came to its end; see `holder`."""


class Opened(NamedTuple):
    """A database that this process alone writes to."""

    writer: sqlite3.Connection
    lock: sqlite3.Connection
    """It keeps others away for as long as it is open."""
    identity: Identity
    holder: Holder


def opened(path: Path, name: str, check: Use, prepare: Prepare) -> Opened:
    """Open a database for this process alone; `name` is what others are told who want it too.

    What is there is checked before anything is written to it, and then prepared. Raises
    `JournalError` when another process has the file, or it cannot be used.
    """
    try:
        _create(path)
        holder = Holder(path)
        _refuse_planted((path, log_of(path), index_of(path), _lock_of(path), holder.path))
        with ExitStack() as stack:
            lock = stack.enter_context(closing(connect(_lock_of(path), timeout=0)))
            _hold(lock, path, holder)
            end_of_the_last = holder.end_of_the_last
            holder.take(name)
            stack.callback(holder.leave)
            _sync_log(path)
            writer = stack.enter_context(closing(connect(path)))
            check(writer)
            _configure(writer, path)
            _check(writer, path)
            prepare(writer, end_of_the_last)
            writer.execute(f"PRAGMA busy_timeout = {MOST_PATIENCE}")
            identity = Identity((path, log_of(path), index_of(path), _lock_of(path)))
            stack.pop_all()
    except (OSError, sqlite3.Error, ValueError) as error:  # what is damaged may not be text
        if code_of(error) == sqlite3.SQLITE_BUSY:
            raise explained(path, error) from error
        is_full = code_of(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) == ENOSPC
        if is_full or isinstance(error, OSError) or code_of(error) in DISK_ERRORS:
            what = f"the journal in {path.parent} cannot be used: {error}"
            if is_full:
                raise JournalFull(f"{what}.", help=MAKE_ROOM) from error
            raise JournalError(what) from error
        raise damaged(path, error) from error
    return Opened(writer, lock, identity, holder)


def _create(path: Path) -> None:
    _make(path.parent)
    if is_elsewhere(kind := file_system(path.parent)):
        raise JournalError(
            f"the journal in {path.parent} would be on a network file system ({kind}), "
            "where locks and syncs cannot be trusted.",
            help="Choose a folder on a disk of this machine: --state-dir FOLDER",
        )
    # SQLite would create it readable by everyone.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _refuse_planted(files: Iterable[Path]) -> None:
    """Refuse what others have put in the place of ours, who could read or change all of it."""
    if os.name == "nt":
        return
    for file in files:
        with suppress(FileNotFoundError):
            found = file.lstat()
            trusted = {os.geteuid(), 0, file.parent.stat().st_uid}
            if not stat.S_ISREG(found.st_mode):
                raise JournalError(f"{file} is no file, but a link or something else.", ANOTHER)
            if found.st_uid not in trusted:
                raise JournalError(f"{file} belongs to another user.", ANOTHER)


def _make(folder: Path) -> None:
    """Make a folder that a power loss cannot take away: SQLite syncs the file's own folder only."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def _hold(lock: sqlite3.Connection, path: Path, holder: Holder) -> None:
    """Keep other servers away. The kernel releases the lock however this process ends."""
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if code_of(error) != sqlite3.SQLITE_BUSY:  # a full disk, for one
            raise
        raise JournalTaken(
            f"the journal in {path.parent} is in use by {holder.name}.",
            help="Stop that one, or give this one its own: --state-dir FOLDER",
        ) from error


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def remove(path: Path) -> None:
    """Delete a database that this process has locked, but for its folder."""
    with suppress(OSError):  # it may stay
        for file in (path, log_of(path), index_of(path), _lock_of(path)):
            file.unlink(missing_ok=True)


def _sync_log(path: Path) -> None:
    """Have on the disk whatever will be read of what a process wrote that was killed meanwhile."""
    try:
        sync(log_of(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DiskError(f"{log_of(path)}: {error}.", help=LOOK_AT_THE_DISK) from error


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "fullfsync": 1}
    for name, wanted in pragmas.items():
        # All of it: the switch to WAL commits, and may fail, after its row is there.
        connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
        if (value := connection.execute(f"PRAGMA {name}").fetchone()[0]) != wanted:
            raise JournalError(f"{path}: SQLite keeps {name} at {value}, not {wanted}.")
    connection.execute("PRAGMA checkpoint_fullfsync = 1")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # it says no errors


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Look for damage, unless that takes longer than a start may take."""
    if path.stat().st_size > MOST_CHECKED:
        return
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise damaged(path, verdict)
