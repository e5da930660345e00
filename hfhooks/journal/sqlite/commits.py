"""Writes become commits of a SQLite file, on a disk that is not trusted.

Whatever is committed at once shares one sync of the disk. When the disk is full writes are refused
until there is room again; when it has failed they are refused for good, because after a failed sync
nobody knows what is on it, whatever SQLite says (https://wiki.postgresql.org/wiki/Fsync_Errors);
and so they are when a file was deleted or replaced. What another program locks is away for a while.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from hfhooks.errors import (
    DiskError,
    JournalAway,
    JournalError,
    JournalFault,
    JournalFull,
)
from hfhooks.journal.sqlite.files import LOG_BYTES, code_of, explained, log_of
from hfhooks.journal.sqlite.opening import Opened
from hfhooks.journal.sqlite.room import Room
from hfhooks.model.condition import Condition

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
NOT_WHILE_RUNNING = "Leave the journal's files alone while a server runs; stop it first."
LOOK_EVERY = 1.0
"""Seconds without writes after which is looked whether the files are still there."""
PAUSE = 0.005
"""Seconds since the last look after which is looked before a commit."""


class Write(NamedTuple):
    """What is to be done to the database, and who waits for it."""

    apply: Apply[Any]
    done: Done | None = None
    is_new: bool = False


class Commits:
    """All that writes to a database, checkpoints too, on its one connection and in one thread.

    Beside each other commits and checkpoints meet SQLite's WAL-reset bug, which 3.51.3 has mended.
    `become` is called when there is no room, when there is again, and when the disk has failed.
    """

    def __init__(
        self,
        path: Path,
        opened: Opened,
        *,
        chore: Apply[bool],
        min_free: int,
        become: Callable[[Condition], None],
    ) -> None:
        self.failure: JournalError | None = None
        """Why nothing may be written, and nothing acknowledged, any more."""
        self.rest = 0.0
        """Seconds without writes after which the chore is to be done."""
        self.away: JournalAway | None = None
        """Who has kept the last writes from being committed."""
        self.room = Room(path, min_free, become)
        self._path, self._connection, self._identity = path, opened.writer, opened.identity
        self._log = log_of(path)
        self._chore, self._become = chore, become
        self._until_chore = 0
        self._looked_at = self._wrote_at = time.monotonic()

    @property
    def idle_after(self) -> float:
        """Seconds without writes after which `idle` is to be called."""
        return min(self.rest, LOOK_EVERY)

    def write(self, writes: Sequence[Write]) -> Sequence[Any]:
        """Return what each write has returned, all on disk, or the `JournalError` it failed with.

        Nothing that is asked for meanwhile is covered by the sync.
        """
        try:
            if time.monotonic() - self._looked_at > PAUSE:
                self._look()
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
        self._wrote_at = time.monotonic()

    def idle(self) -> None:
        """Look at the files, the room and locks, and do the chore when it is time for it."""
        self._look()
        self._together([])
        if self.room.full and self.room.is_there():  # and nobody may come any more to find it
            self.room.learn(self._together([_touch]))
        if not self.away and time.monotonic() - self._wrote_at >= self.rest:
            self.do_chore()
            self._wrote_at = time.monotonic()

    def do_chore(self) -> None:
        """Do some of the chore, and copy the log into the database."""
        [done] = self._together([self._chore])
        self._checkpoint()
        if isinstance(done, JournalFault):
            self.fail(done)
        self.away = None  # nobody has waited
        if isinstance(done, JournalError):  # a full disk is what it may help against
            self._until_chore, self.rest = CHORE_EVERY, CHORE_AGAIN
        elif done:
            self._until_chore, self.rest = 0, 0.0
        else:
            self._until_chore, self.rest = CHORE_EVERY, HOUR

    def fail(self, error: JournalError) -> JournalError:
        """Note that nothing may be acknowledged any more, unless that will pass."""
        if not (isinstance(error, JournalFull | JournalAway) or self.failure):
            self.away, self.failure = None, error
            self._become(Condition("failed", error))
        return error

    def _outcomes(self, writes: Sequence[Write]) -> Sequence[Any]:
        if not any(write.is_new for write in writes):
            return self._together([write.apply for write in writes])
        if self.room.is_there():
            outcomes = self._together([write.apply for write in writes])
            self.room.learn(outcomes)
            return outcomes
        refused = self.room.full
        others = iter(self._together([write.apply for write in writes if not write.is_new]))
        return [refused if write.is_new else next(others) for write in writes]

    def _together(self, writes: Sequence[Apply[T]]) -> Sequence[T | JournalError]:
        """Commit all of the writes or none; but what no database takes concerns none but itself."""
        if self.failure:
            return [self.failure] * len(writes)
        try:
            with _transaction(self._connection):
                self.away = None
                return [write(self._connection) for write in writes]
        except sqlite3.Error as error:
            return [self.fail(self._explained(error))] * len(writes)
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
            self.fail(explained(self._path, error))  # a lock will pass, and the log can wait

    def _explained(self, error: sqlite3.Error) -> JournalError:
        if self.away and code_of(error) == sqlite3.SQLITE_BUSY:
            return self.away
        explanation = explained(self._path, error)
        self.away = explanation if isinstance(explanation, JournalAway) else None
        return explanation

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        if lost := self._identity.lost():
            what = f"{lost} was deleted or replaced. Nothing more is accepted."
            self.fail(DiskError(what, help=NOT_WHILE_RUNNING))
        self.room.is_there()

    def _is_log_long(self) -> bool:
        """Tell whether it is longer than SQLite leaves it when it begins it anew."""
        try:
            return self._log.stat().st_size > LOG_BYTES
        except OSError:  # as above
            return False


def _touch(connection: sqlite3.Connection) -> None:
    """Write what is there already: a page of it."""
    [[version]] = connection.execute("PRAGMA user_version").fetchall()
    connection.execute(f"PRAGMA user_version = {version}")


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
