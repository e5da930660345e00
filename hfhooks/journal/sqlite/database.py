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

from hfhooks.errors import JournalAway, JournalError, JournalFault
from hfhooks.journal.sqlite.commits import Apply, Commits, Done, Write
from hfhooks.journal.sqlite.opening import Opened, Prepare, Use, opened, remove
from hfhooks.model.condition import Condition
from hfhooks.tasks import interruptibly

__all__ = ["Database", "open_database"]

T = TypeVar("T")
MOST_WRITES_A_COMMIT = 256
SOON = 0.02
"""Seconds that a write which can wait waits for others to share a commit with."""


class Database:
    """Commits writes, which are asked for on one event loop; `open_database` makes one.

    `become` is called on the loop's thread when its condition is another one.
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
        self.path = path
        self._writer, self._lock, self.holder = opened.writer, opened.lock, opened.holder
        self._become = become
        self._commits = Commits(
            path,
            opened,
            chore=chore,
            min_free=min_free,
            become=lambda condition: self._tell(partial(become, condition)),
        )
        self._away: JournalAway | None = None
        """Who keeps it locked, as the loop's thread knows."""
        self._is_closing = False
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
        for what became of the older ones. So it is while another program has the file locked, and
        the others wait until it goes on. One that `can_wait` shares the next commit, which comes
        soon. Writes are applied in the order in which they came. Call it on the loop's thread, on
        which `done` is called too.
        """
        if is_new and self._away:
            refused = [Write(apply, done)]
            self._loop.call_soon(_call_back, self._loop, refused, [self._away])
            return
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

    def close(self, is_wanted: Apply[bool] = lambda _: True) -> None:
        """Finish the writes that are waiting, unless they are kept from it, and close the file.

        It is deleted if, as it was in the end, it is not wanted.
        """
        self._is_closing = True
        while self._writes:
            self._hand_over()
        self._batches.put(None)
        self._thread.join()
        is_kept = True
        with suppress(sqlite3.Error):
            is_kept = self.failure is not None or is_wanted(self._writer)
        with suppress(sqlite3.Error):
            self._writer.close()
        if not self.failure:  # or the names may be those of another one's files
            self.holder.leave()
        if not is_kept:
            remove(self.path)  # while nobody else can have it
        self._lock.close()
        if not is_kept:
            with suppress(OSError):  # something else is there
                self.path.parent.rmdir()

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
            batch = self._batches.get(timeout=self._commits.idle_after)
        except Empty:
            self._commits.idle()
            if self._commits.away:
                self._write_when_back((), self._commits.away)
            return True
        if batch is None:
            return False
        outcomes = self._commits.write(batch)
        if self._commits.away:
            batch, outcomes = self._write_when_back(batch, self._commits.away)
        self._tell(partial(self._written, batch, outcomes))
        self._commits.tidy(batch)
        return True

    def _write_when_back(
        self, batch: Sequence[Write], away: JournalAway
    ) -> tuple[Sequence[Write], Sequence[Any]]:
        """Refuse what is new, and write the rest as soon as nobody has the file locked."""
        self._tell(partial(self._turn_away, [each for each in batch if each.is_new], away))
        batch = [each for each in batch if not each.is_new]
        outcomes: Sequence[Any] = [away] * len(batch)
        while self._commits.away and not self._is_closing:
            outcomes = self._commits.write(batch)
        if self._commits.away:
            self._commits.failure = away  # nobody waits for it, or for what follows, any longer
        else:
            self._tell(partial(self._turn_away, (), None))
        return batch, outcomes

    def _turn_away(self, batch: Sequence[Write], away: JournalAway | None) -> None:
        """Refuse what is new of a batch, and whatever is until it is not away any more."""
        self._away = away
        full = self._commits.room.full
        others = Condition("full", full) if full else Condition()
        self._become(Condition("away", away) if away else others)
        if away:
            refused = [*batch, *(each for each in self._writes if each.is_new)]
            self._writes = [each for each in self._writes if not each.is_new]
            _call_back(self._loop, refused, [away] * len(refused))

    def _written(self, batch: Sequence[Write], outcomes: Sequence[Any]) -> None:
        """Call back everyone whose write was in this batch, and go on with the next one."""
        _call_back(self._loop, batch, outcomes)
        self._is_busy = False
        if self._is_wanted:
            self._want()

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)


def _call_back(
    loop: asyncio.AbstractEventLoop, writes: Sequence[Write], outcomes: Sequence[Any]
) -> None:
    for write, outcome in zip(writes, outcomes, strict=True):
        try:
            if write.done:
                write.done(outcome)
        except Exception as error:  # noqa: BLE001 # of one, and the others wait too
            loop.call_exception_handler({"message": "what follows a write", "exception": error})


def open_database(
    path: Path,
    *,
    holder: str,
    check: Use,
    prepare: Prepare,
    chore: Apply[bool],
    min_free: int,
    become: Callable[[Condition], None],
) -> Database:
    """Open the file, making it and its folder as needed, for this process alone.

    `check` raises `JournalError` for what is not ours; then `prepare` makes it what is expected,
    before anyone reads. `chore` is called now and then, in the writing thread, and tells whether
    there is more of it. `holder` is what others are told who want the file too. Raises
    `JournalError` when another process has it, or it cannot be used.
    """
    # To copy and to migrate it takes its time, and so does a lock of another program.
    files = interruptibly(opened, path, holder, check, prepare)
    return Database(path, files, chore=chore, min_free=min_free, become=become)
