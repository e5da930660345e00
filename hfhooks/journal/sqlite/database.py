"""A SQLite file of which this process is the only writer, on a disk that is not trusted.

One connection writes, in one thread, and commits everything that is waiting at once, so that many
writes share one sync of the disk. When the disk is full writes are refused until there is room
again; when it has failed they are refused for good, because after a failed sync nobody knows what
is on it, whatever SQLite says (https://wiki.postgresql.org/wiki/Fsync_Errors).
"""

import asyncio
import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeAlias, TypeVar

from hfhooks.errors import JournalError, JournalFault, JournalFull
from hfhooks.journal.sqlite.files import explained
from hfhooks.journal.sqlite.opening import holder_of, opened

__all__ = ["Apply", "Database", "open_database"]

T = TypeVar("T")
Apply: TypeAlias = Callable[[sqlite3.Connection], T]
Done: TypeAlias = Callable[[Any], None]
"""Gets what a write has returned when it is on disk, or the `JournalError` that kept it from it."""

MOST_WRITES_A_COMMIT = 256
SOON = 0.02
"""Seconds that a write which can wait waits for others to share a commit with."""
CHORE_EVERY = 100
"""New rows after which the chore is done."""
CHORE_AGAIN = 1.0
"""Seconds after which it is tried again when it failed."""
HOUR = 3600.0


class _Write(NamedTuple):
    apply: Apply[Any]
    done: Done | None = None
    is_new: bool = False


class Database:
    """Commits writes, which are asked for on one event loop; `open_database` makes one.

    `failure` is set when the disk has failed, and `on_failure` called on the loop's thread.
    """

    def __init__(
        self,
        path: Path,
        writer: sqlite3.Connection,
        lock: sqlite3.Connection,
        *,
        chore: Apply[bool],
        min_free: int,
        on_failure: Callable[[JournalError], None],
    ) -> None:
        self.path = path
        self.failure: JournalError | None = None
        self._on_failure = on_failure
        self._writer, self._lock = writer, lock
        self._chore = chore
        self._min_free = min_free
        self._until_chore = 0
        self._rest = 0.0
        """Seconds without writes after which the chore is done."""
        self._writes: deque[_Write] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        """True: there is something to write; False: and after that nothing more."""
        self._waking: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        # A daemon: Ctrl-C between here and whoever closes us must not leave Python waiting.
        self._thread = Thread(target=self._write, name="hfhooks-journal", daemon=True)
        self._thread.start()

    def write(
        self,
        apply: Apply[Any],
        done: Done | None = None,
        is_new: bool = False,
        can_wait: bool = False,
    ) -> None:
        """Call back with what `apply` returns once its writes are on disk, or with what failed.

        A write that `is_new` is refused where the disk is nearly full: the room that is left is
        for what became of the older ones. One that `can_wait` shares the next commit, which comes
        soon. Writes are applied in the order in which they came. Call it on the loop's thread, on
        which `done` is called too.
        """
        self._writes.append(_Write(apply, done, is_new))
        if not can_wait:
            self._wake.put(True)
        elif self._waking is None:
            self._waking = self._loop.call_later(SOON, self._wake_up)

    async def commit(self, apply: Apply[T], is_new: bool = False, can_wait: bool = False) -> T:
        """Return what `apply` returns once its writes are on disk. Raises `JournalError`."""
        written: asyncio.Future[T] = self._loop.create_future()

        def done(result: Any) -> None:
            if written.done():  # whoever waited has gone
                return
            if isinstance(result, JournalError):
                written.set_exception(result)
            else:
                written.set_result(result)

        self.write(apply, done, is_new, can_wait)
        return await written

    def fail(self, error: JournalError) -> JournalError:
        """Note that nothing may be acknowledged any more, unless only room is missing."""
        if not (isinstance(error, JournalFull) or self.failure):
            self.failure = error
            self._tell(partial(self._on_failure, error))
        return error

    def close(self) -> None:
        """Finish the writes that are waiting and close the file."""
        self._wake.put(False)
        self._thread.join()
        with suppress(sqlite3.Error):
            self._writer.close()
        holder_of(self.path).unlink(missing_ok=True)
        self._lock.close()

    def _wake_up(self) -> None:
        self._waking = None
        self._wake.put(True)

    def _write(self) -> None:
        is_open = True
        while is_open:
            try:
                is_open = self._wait()
                while self._writes:
                    self._write_some()
            except Exception as error:  # noqa: BLE001 # whatever it is, those who wait must hear
                self.fail(JournalFault(error))

    def _wait(self) -> bool:
        """Wait until something is to be written, doing the chore meanwhile; False at the end."""
        while True:
            try:
                return self._wake.get(timeout=self._rest)
            except Empty:
                self._do_chore()

    def _write_some(self) -> None:
        number = min(len(self._writes), MOST_WRITES_A_COMMIT)
        writes = [self._writes.popleft() for _ in range(number)]
        try:
            outcomes = self._outcomes(writes)
        except Exception as error:  # noqa: BLE001 # as above
            outcomes = [self.fail(JournalFault(error))] * number
        self._settle(writes, outcomes)
        self._until_chore -= sum(write.is_new for write in writes)
        if self._until_chore <= 0:
            self._do_chore()

    def _outcomes(self, writes: Sequence[_Write]) -> Sequence[Any]:
        """Return what each write has returned, or the `JournalError` that it failed with."""
        if not any(write.is_new for write in writes) or _has_room(self.path.parent, self._min_free):
            return self._together([write.apply for write in writes])
        refused = JournalFull(f"{self.path}: the disk is nearly full.")
        others = iter(self._together([write.apply for write in writes if not write.is_new]))
        return [refused if write.is_new else next(others) for write in writes]

    def _together(self, writes: Sequence[Apply[T]]) -> Sequence[T | JournalError]:
        """Commit all of the writes or none; but what no database takes concerns none but itself."""
        if self.failure:
            return [self.failure] * len(writes)
        try:
            with _transaction(self._writer):
                return [write(self._writer) for write in writes]
        except sqlite3.Error as error:
            return [self.fail(explained(self.path, error))] * len(writes)
        except Exception as error:  # noqa: BLE001 # such as of a text that cannot be encoded
            if len(writes) > 1:
                return [outcome for write in writes for outcome in self._together([write])]
            return [JournalFault(error)]

    def _settle(self, writes: Sequence[_Write], outcomes: Sequence[Any]) -> None:
        """Call back everyone whose write was in this commit, with one call into the loop."""
        waiting = [
            (write.done, outcome)
            for write, outcome in zip(writes, outcomes, strict=True)
            if write.done
        ]

        def tell() -> None:
            for done, outcome in waiting:
                try:
                    done(outcome)
                except Exception as error:  # noqa: BLE001 # of one, and the others wait too
                    context = {"message": "what follows a write", "exception": error}
                    self._loop.call_exception_handler(context)

        if waiting:
            self._tell(tell)

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)

    def _do_chore(self) -> None:
        [done] = self._together([self._chore])
        self._checkpoint()
        if isinstance(done, JournalFault):
            raise done.error
        if isinstance(done, JournalError):  # a full disk is what it may help against
            self._until_chore, self._rest = CHORE_EVERY, CHORE_AGAIN
        elif done:
            self._until_chore, self._rest = 0, 0.0
        else:
            self._until_chore, self._rest = CHORE_EVERY, HOUR

    def _checkpoint(self) -> None:
        """Copy the log into the database, as SQLite does by itself, but without saying errors."""
        if self.failure:
            return
        try:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self.fail(explained(self.path, error))


def open_database(
    path: Path,
    *,
    holder: str,
    prepare: Callable[[sqlite3.Connection], None],
    chore: Apply[bool],
    min_free: int,
    on_failure: Callable[[JournalError], None],
) -> Database:
    """Open the file, making it and its folder as needed, for this process alone.

    `prepare` makes it what is expected, before anyone reads. `chore` is called now and then, in the
    writing thread, and tells whether there is more of it. `holder` is what others are told who want
    the file too. Raises `JournalError` when another process has it, or it cannot be used.
    """
    writer, lock = opened(path, holder, prepare)
    return Database(path, writer, lock, chore=chore, min_free=min_free, on_failure=on_failure)


def _has_room(folder: Path, min_free: int) -> bool:
    try:
        return shutil.disk_usage(folder).free >= min_free
    except OSError:  # SQLite will say what is wrong
        return True


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
