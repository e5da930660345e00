"""A SQLite file of which this process is the only writer, as it is used on an event loop.

What is asked for in turns of the loop that follow one another, or while others are written, is
handed to one thread at once and has one commit, and so one sync of the disk, in common.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from hfhooks.errors import JournalError, JournalFault
from hfhooks.journal.sqlite.commits import Apply, Commits, Done, Write
from hfhooks.journal.sqlite.opening import Use, holder_of, opened

__all__ = ["Database", "open_database"]

T = TypeVar("T")
MOST_WRITES_A_COMMIT = 256
SOON = 0.02
"""Seconds that a write which can wait waits for others to share a commit with."""


class Database:
    """Commits writes, which are asked for on one event loop; `open_database` makes one.

    `on_failure` is called on the loop's thread when the disk has failed.
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
        self._writer, self._lock = writer, lock
        self._commits = Commits(
            path,
            writer,
            chore=chore,
            min_free=min_free,
            failed=lambda error: self._tell(partial(on_failure, error)),
        )
        self._writes: list[Write] = []
        """Those of the next commit."""
        self._is_wanted = False
        """Somebody waits for the next commit."""
        self._is_busy = False
        """Writes are with the thread, or will be when no more come."""
        self._soon: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[Sequence[Write] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        # A daemon: Ctrl-C between here and whoever closes us must not leave Python waiting.
        self._thread = Thread(target=self._work, name="hfhooks-journal", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> JournalError | None:
        """Why nothing is written any more."""
        return self._commits.failure

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
        self._writes.append(Write(apply, done, is_new))
        if not can_wait:
            self._want()
        elif self._soon is None:
            self._soon = self._loop.call_later(SOON, self._want_late)

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

    def close(self) -> None:
        """Finish the writes that are waiting and close the file."""
        while self._writes:
            self._hand_over()
        self._batches.put(None)
        self._thread.join()
        with suppress(sqlite3.Error):
            self._writer.close()
        holder_of(self.path).unlink(missing_ok=True)
        self._lock.close()

    def _want_late(self) -> None:
        self._soon = None
        self._is_wanted = bool(self._writes)
        if self._is_wanted and not self._is_busy:
            self._is_busy = True
            self._hand_over()

    def _want(self) -> None:
        """Have what waits written, with all that comes now."""
        self._is_wanted = True
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._gather, 0)

    def _gather(self, before: int) -> None:
        """Hand over what waits when a turn of the loop has brought no more of it."""
        if before < len(self._writes) < MOST_WRITES_A_COMMIT:
            self._loop.call_soon(self._gather, len(self._writes))
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        batch, self._writes = (
            self._writes[:MOST_WRITES_A_COMMIT],
            self._writes[MOST_WRITES_A_COMMIT:],
        )
        self._is_wanted = bool(self._writes)
        self._batches.put(batch)

    def _work(self) -> None:
        """Write what is handed over, in a thread of our own."""
        is_open = True
        while is_open:
            try:
                is_open = self._write_some()
            except Exception as error:  # noqa: BLE001 # whatever it is, those who come must hear
                self._commits.fail(JournalFault(error))

    def _write_some(self) -> bool:
        """Wait for a batch and write it, or do the chore meanwhile; False at the end."""
        try:
            batch = self._batches.get(timeout=self._commits.rest)
        except Empty:
            self._commits.do_chore()
            return True
        if batch is not None:
            self._tell(partial(self._written, batch, self._commits.write(batch)))
            self._commits.tidy(batch)
        return batch is not None

    def _written(self, batch: Sequence[Write], outcomes: Sequence[Any]) -> None:
        """Call back everyone whose write was in this batch."""
        for write, outcome in zip(batch, outcomes, strict=True):
            try:
                if write.done:
                    write.done(outcome)
            except Exception as error:  # noqa: BLE001 # of one, and the others wait too
                context = {"message": "what follows a write", "exception": error}
                self._loop.call_exception_handler(context)
        self._is_busy = False
        if self._is_wanted:
            self._want()

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)


def open_database(
    path: Path,
    *,
    holder: str,
    check: Use,
    prepare: Use,
    chore: Apply[bool],
    min_free: int,
    on_failure: Callable[[JournalError], None],
) -> Database:
    """Open the file, making it and its folder as needed, for this process alone.

    `check` raises `JournalError` for what is not ours; then `prepare` makes it what is expected,
    before anyone reads. `chore` is called now and then, in the writing thread, and tells whether
    there is more of it. `holder` is what others are told who want the file too. Raises
    `JournalError` when another process has it, or it cannot be used.
    """
    writer, lock = opened(path, holder, check, prepare)
    return Database(path, writer, lock, chore=chore, min_free=min_free, on_failure=on_failure)
