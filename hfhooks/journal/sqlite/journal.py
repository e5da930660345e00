"""The journal in a SQLite file, for one process: what waits is in memory too.

The lock on the file is the lease of all claims: they are void when the process that made them ends,
and the next one to open the file finds them.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from hfhooks.errors import JournalError
from hfhooks.journal.backlog import LIMITS, Limits
from hfhooks.journal.clock import Clock, due_at_last, steady
from hfhooks.journal.due import Waiting
from hfhooks.journal.sqlite import writing
from hfhooks.journal.sqlite.commands import Commands
from hfhooks.journal.sqlite.database import open_database
from hfhooks.journal.sqlite.in_thread import ThreadReading
from hfhooks.journal.sqlite.migrating import version_of
from hfhooks.journal.sqlite.pruning import MIB, Pruning
from hfhooks.journal.sqlite.reading import Left, Reader
from hfhooks.journal.telling import Telling
from hfhooks.journal.unfinished import Unfinished
from hfhooks.model.delivery import (
    SUSPICIOUS,
    Attempt,
    Claim,
    Recorded,
    Stored,
    Verdict,
)
from hfhooks.model.retention import Retention

__all__ = ["SqliteJournal"]

KEEP = Retention()
MIN_FREE = 64 * MIB
"""Bytes that must be free on the disk to record a delivery: what becomes of it needs room too."""


class SqliteJournal(Telling, Commands, ThreadReading):
    """A journal in a file that no other process writes to, for as long as this one has it.

    Whatever is unfinished in it is queued. `owner` is what others are told who want it too. Without
    a `retention` nothing is deleted. Without `keep_unused` a file in which nothing was recorded,
    neither a delivery nor an endpoint, is deleted when it is closed. Raises `JournalError` when
    another process has it, or it cannot be used. Everything is called on the thread of the running
    loop.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: str = "another server",
        retention: Retention | None = KEEP,
        min_free: int = MIN_FREE,
        limits: Limits = LIMITS,
        keep_unused: bool = True,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady,
    ) -> None:
        Telling.__init__(self)
        self.path = path
        self.given_up: list[int] = []
        self._owner = owner
        self._is_wanted = _always if keep_unused else writing.is_used
        self._now = now
        self._unfinished = Unfinished(
            lambda: self._tell_due(),
            Clock(now, steady),
            lambda by: self._database.write(partial(writing.shift, seconds=by)),
            limits,
        )
        self.backlog = self._unfinished.backlog
        pruning = Pruning(retention, now)
        self._database = open_database(
            path,
            holder=owner,
            check=partial(version_of, path=path),
            prepare=partial(_prepare, path, self.given_up, pruning),
            chore=pruning,
            min_free=min_free,
            become=self.become,
        )
        try:
            reader = Reader(path)
            left, sooner = _in_time(reader.unfinished(), now())
            for each in left:
                self._unfinished.wait(each.waiting, is_due=each.due_at is None)
            if sooner:
                self._database.write(partial(writing.be_due, at=sooner, now=now()))
            if served := reader.endpoints():
                self.backlog.serve(each.endpoint.name for each in served)
        except BaseException:
            self._database.close()
            raise
        self.stopping = self._database.holder.stopping
        ThreadReading.__init__(self, reader)

    def record(
        self, delivery: Recorded, done: Callable[[Stored | JournalError], None], take: bool = False
    ) -> None:
        recorded = partial(self._recorded, delivery, done)
        if full := self.backlog.refusal(delivery.endpoint, len(delivery.body)):
            asyncio.get_running_loop().call_soon(done, full)
            return
        taken_at = self._now() if take and delivery.status == "queued" else None
        insert = partial(writing.insert, delivery=delivery, taken_at=taken_at)
        self._database.write(insert, recorded, is_new=True)

    def _recorded(
        self,
        delivery: Recorded,
        done: Callable[[Stored | JournalError], None],
        result: tuple[int, str] | JournalError,
    ) -> None:
        if isinstance(result, JournalError):
            done(result)
            return
        id, status = result
        claim = None
        if status == "running":
            claim = Claim(id, delivery, 1, self._owner)
            self._unfinished.hold(claim)
        elif status == "queued":
            since, endpoint, size = delivery.received_at, delivery.endpoint, len(delivery.body)
            self._unfinished.wait(Waiting(since, id, endpoint, size=size, delivery=delivery))
        if status != "duplicate":
            self._changes.tell((id,))
        done(Stored(id, status, claim))

    async def has_suspect(self, room: Mapping[str, int]) -> bool:
        return self._unfinished.suspect(room) is not None

    async def claim(self, room: Mapping[str, int], in_quarantine: bool = False) -> Sequence[Claim]:
        taken = self._unfinished.take(room, in_quarantine)
        unread = [each.id for each in taken if each.delivery is None]
        read = await self._reads.call(self._reader.some, unread) if unread else {}
        claims = []
        for id, delivery in ((each.id, each.delivery or read.get(each.id)) for each in taken):
            if delivery is None or not self._unfinished.is_taken(id):  # it is deleted, or cancelled
                self._unfinished.drop(id)
                continue
            number = delivery.attempt_count + 1
            claim = Claim(id, delivery, number, self._owner)
            self._unfinished.hold(claim)
            note = partial(writing.claim, id=id, number=number, started_at=self._now())
            self._database.write(note, partial(self._changes.tell, (id,)), can_wait=True)
            claims.append(claim)
        if claims and (unread or in_quarantine):  # or what ends us at once would not be counted
            await self.flush()
        return claims

    async def extend(self) -> None:
        """Do nothing: claims hold as long as this process has the file."""

    async def release(self, claims: Sequence[Claim]) -> None:
        held = [claim for claim in claims if self._unfinished.holds(claim)]
        await self._database.commit(partial(writing.release, claims=held))
        for claim in held:
            self._unfinished.drop(claim.id)
            self._unfinished.wait(_again(claim))
        self._changes.tell(claim.id for claim in held)

    def finish(
        self,
        claim: Claim,
        attempt: Attempt,
        verdict: Verdict,
        done: Callable[[bool | JournalError], None],
    ) -> None:
        if not self._unfinished.holds(claim):
            asyncio.get_running_loop().call_soon(done, False)
            return
        since = None if verdict.retry_after is None else self._unfinished.now()
        finish = partial(writing.finish, claim=claim, attempt=attempt, verdict=verdict, since=since)
        finished = partial(self._finished, claim, verdict, done)
        self._database.write(finish, finished, can_wait=True)

    def _finished(
        self,
        claim: Claim,
        verdict: Verdict,
        done: Callable[[bool | JournalError], None],
        result: bool | JournalError,
    ) -> None:
        if isinstance(result, JournalError):
            done(result)
            return
        if self._unfinished.holds(claim):
            self._unfinished.drop(claim.id)
            if result and verdict.status in ("queued", "retrying"):
                pause = verdict.retry_after  # the clock may have been set since it was recorded
                due_at = None if pause is None else self._unfinished.now() + pause
                waiting = _again(claim, due_at, is_suspect=verdict.attempt in SUSPICIOUS)
                self._unfinished.wait(waiting, is_due=due_at is None)
        self._changes.tell((claim.id,))
        done(result)

    async def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        amend = partial(writing.amend, id=id, number=number, error=error, status=status)
        await self._database.commit(amend, can_wait=True)
        self._changes.tell((id,))

    async def flush(self) -> None:
        await self._database.commit(lambda _: None)

    async def close(self) -> None:
        self._unfinished.close()
        await self._reads.close()
        # The last one to close copies the log into the database, unless it may only read: of a
        # disk that has failed nothing is copied.
        close_file = partial(self._database.close, self._is_wanted)
        both: list[Callable[[], None]] = [self._reader.close, close_file]
        for close in reversed(both) if self._database.failure else both:
            with suppress(sqlite3.Error):
                close()
        await asyncio.sleep(0)  # what was written last is told


def _always(_: sqlite3.Connection) -> bool:
    return True


def _again(claim: Claim, due_at: float | None = None, is_suspect: bool = False) -> Waiting:
    """Return what a delivery is to who gives turns that was taken, and waits again."""
    delivery = claim.delivery
    since = delivery.received_at if due_at is None else due_at
    is_suspect |= delivery.is_suspect
    return Waiting(since, claim.id, delivery.endpoint, is_suspect, len(delivery.body))


def _in_time(left: Iterable[Left], now: float) -> tuple[Sequence[Left], Mapping[int, float]]:
    """Return what an earlier run has left, and when that is due which would wait too long."""
    found, sooner = [], {}
    for each in left:
        due_at = each.due_at
        if due_at is not None:
            due_at = due_at_last(due_at, each.since, each.is_pause_asked, now)
        if due_at is not None and due_at != each.due_at:
            sooner[each.id] = due_at
        found.append(each._replace(due_at=due_at))
    return found, sooner


def _prepare(
    path: Path,
    given_up: list[int],
    pruning: Pruning,
    connection: sqlite3.Connection,
    end_of_the_last: str,
) -> None:
    writing.prepare(connection, end_of_the_last, path, given_up)
    pruning.begin(connection)
