"""Writes become commits of a SQLite file, on a disk that is not trusted.

Whatever is committed at once shares one sync of the disk. When the disk is full writes are refused
until there is room again; when it has failed they are refused for good, because after a failed sync
nobody knows what is on it, whatever SQLite says (https://wiki.postgresql.org/wiki/Fsync_Errors).
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from hfhooks.errors import JournalError, JournalFault, JournalFull
from hfhooks.journal.sqlite.files import LOG_BYTES, explained, log_of

__all__ = ["Apply", "Commits", "Done", "Write"]

T = TypeVar("T")
Apply: TypeAlias = Callable[[sqlite3.Connection], T]
Done: TypeAlias = Callable[[Any], None]
"""Gets what a write has returned when it is on disk, or the `JournalError` that kept it from it."""

CHORE_EVERY = 100
"""New rows after which the chore is done."""
CHORE_AGAIN = 1.0
"""Seconds after which it is tried again when it failed."""
HOUR = 3600.0


class Write(NamedTuple):
    """What is to be done to the database, and who waits for it."""

    apply: Apply[Any]
    done: Done | None = None
    is_new: bool = False


class Commits:
    """All that writes to a database, checkpoints too, on its one connection and in one thread.

    Beside each other commits and checkpoints meet SQLite's WAL-reset bug, which 3.51.3 has mended.
    `failed` is called when the disk has failed.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        chore: Apply[bool],
        min_free: int,
        failed: Callable[[JournalError], None],
    ) -> None:
        self.failure: JournalError | None = None
        """Why nothing may be written, and nothing acknowledged, any more."""
        self.rest = 0.0
        """Seconds without writes after which the chore is to be done."""
        self._path, self._connection = path, connection
        self._folder, self._log = str(path.parent), log_of(path)
        self._chore, self._min_free, self._failed = chore, min_free, failed
        self._until_chore = 0

    def write(self, writes: Sequence[Write]) -> Sequence[Any]:
        """Return what each write has returned, all on disk, or the `JournalError` it failed with.

        Nothing that is asked for meanwhile is covered by the sync.
        """
        try:
            return self._outcomes(writes)
        except Exception as error:  # noqa: BLE001 # whatever it is, those who wait must hear
            return [self.fail(JournalFault(error))] * len(writes)

    def tidy(self, writes: Sequence[Write]) -> None:
        """Do what is due after these writes: the chore, or to make the log short."""
        self._until_chore -= sum(write.is_new for write in writes)
        if self._until_chore <= 0:
            self.do_chore()
        elif self._is_log_long():
            self._checkpoint()

    def do_chore(self) -> None:
        """Do some of the chore, and copy the log into the database."""
        [done] = self._together([self._chore])
        self._checkpoint()
        if isinstance(done, JournalFault):
            self.fail(done)
        if isinstance(done, JournalError):  # a full disk is what it may help against
            self._until_chore, self.rest = CHORE_EVERY, CHORE_AGAIN
        elif done:
            self._until_chore, self.rest = 0, 0.0
        else:
            self._until_chore, self.rest = CHORE_EVERY, HOUR

    def fail(self, error: JournalError) -> JournalError:
        """Note that nothing may be acknowledged any more, unless only room is missing."""
        if not (isinstance(error, JournalFull) or self.failure):
            self.failure = error
            self._failed(error)
        return error

    def _outcomes(self, writes: Sequence[Write]) -> Sequence[Any]:
        if not any(write.is_new for write in writes) or self._has_room():
            return self._together([write.apply for write in writes])
        refused = JournalFull(f"{self._path}: the disk is nearly full.")
        others = iter(self._together([write.apply for write in writes if not write.is_new]))
        return [refused if write.is_new else next(others) for write in writes]

    def _together(self, writes: Sequence[Apply[T]]) -> Sequence[T | JournalError]:
        """Commit all of the writes or none; but what no database takes concerns none but itself."""
        if self.failure:
            return [self.failure] * len(writes)
        try:
            with _transaction(self._connection):
                return [write(self._connection) for write in writes]
        except sqlite3.Error as error:
            return [self.fail(explained(self._path, error))] * len(writes)
        except Exception as error:  # noqa: BLE001 # such as of a text that cannot be encoded
            if len(writes) > 1:
                return [outcome for write in writes for outcome in self._together([write])]
            return [JournalFault(error)]

    def _checkpoint(self) -> None:
        """Copy the log into the database, as SQLite does by itself, but without saying errors."""
        if self.failure:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self.fail(explained(self._path, error))

    def _has_room(self) -> bool:
        try:
            return shutil.disk_usage(self._folder).free >= self._min_free
        except OSError:  # SQLite will say what is wrong
            return True

    def _is_log_long(self) -> bool:
        """Tell whether it is longer than SQLite leaves it when it begins it anew."""
        try:
            return self._log.stat().st_size > LOG_BYTES
        except OSError:  # as above
            return False


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
