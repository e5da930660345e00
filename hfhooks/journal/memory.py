"""The journal in memory: for tests, and the model of what every engine does."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from hfhooks.errors import JournalError
from hfhooks.journal.alarm import Alarm
from hfhooks.journal.backlog import LIMITS, Backlog, Limits
from hfhooks.journal.changes import Changes
from hfhooks.journal.store import Row, Store
from hfhooks.journal.telling import Telling
from hfhooks.model.delivery import Attempt, Claim, Recorded, Stored, Summary, Verdict, Wanted
from hfhooks.model.endpoint import Published

__all__ = ["LEASE", "MemoryJournal", "Store"]

LEASE = 60.0
"""Seconds."""


class MemoryReading:
    """A store that is read; see `journal.Reading`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes = Changes(self.list)

    async def get(self, id: int) -> Recorded | None:
        row = self._store.rows.get(id)
        return row.recorded if row else None

    async def attempts(self, id: int) -> Sequence[Attempt]:
        row = self._store.rows.get(id)
        return list(row.attempts) if row else []

    async def list(self, wanted: Wanted) -> Sequence[Summary]:
        return [row.summary for row in self._store.wanted(wanted)[::-1][: wanted.limit]]

    async def counts(self) -> Mapping[tuple[str, str], int]:
        return Counter((row.delivery.endpoint, row.status) for row in self._store.rows.values())

    async def endpoints(self) -> Sequence[Published]:
        return [each for published in self._store.published.values() for each in published]

    async def check(self) -> None:
        """Find nothing: memory is not damaged."""

    def follow(self, after: int) -> AsyncIterator[Summary]:
        return self._changes.follow(after)


class MemoryCommands:
    """What an owner has done to a store; see `journal.Journal`."""

    _store: Store
    _owner: str

    async def requeue(self, wanted: Wanted) -> Sequence[int]:
        return self._store.requeue(wanted)

    async def cancel(self, wanted: Wanted) -> Sequence[int]:
        return self._store.cancel(wanted)

    async def publish(self, endpoints: Sequence[Published]) -> None:
        self._store.published[self._owner] = list(endpoints)

    async def prune(self, before: float) -> int:
        return self._store.prune(before)


class MemoryJournal(Telling, MemoryCommands, MemoryReading):
    """One host's journal on a store that others may share; see `journal.Journal`."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        owner: str = "this host",
        lease: float = LEASE,
        limits: Limits = LIMITS,
        now: Callable[[], float] = time.time,
    ) -> None:
        Telling.__init__(self)
        MemoryReading.__init__(self, store or Store())
        self.given_up: list[int] = []
        self._owner = owner
        self._lease = lease
        self._limits = limits
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(lambda: self._tell_due(), now)
        self._store.followers.append(self._hear)

    @property
    def backlog(self) -> Backlog:
        return self._store.backlog(self._limits)

    def record(
        self, delivery: Recorded, done: Callable[[Stored | JournalError], None], take: bool = False
    ) -> None:
        def recorded() -> Stored | JournalError:
            self._store.leases[self._owner] = self._now() + self._lease
            taken_by = self._owner if take else None
            full = self.backlog.refusal(delivery.endpoint, len(delivery.body))
            return full or self._store.record(delivery, taken_by, self._now())

        self._loop.call_soon(lambda: done(self.condition.error or recorded()))

    async def has_suspect(self, room: Mapping[str, int]) -> bool:
        self._store.take_back(self._now())
        return any(self._store.due(room, self._now(), in_quarantine=True))

    async def claim(self, room: Mapping[str, int], in_quarantine: bool = False) -> Sequence[Claim]:
        await self.extend()
        self._store.take_back(self._now())
        claims = self._store.claim(room, self._owner, self._now(), in_quarantine=in_quarantine)
        self._alarm.set(self._store.next_at(self._now()))
        return claims

    def stopping(self) -> None:
        """Do nothing: nobody finds what this one has left."""

    async def extend(self) -> None:
        self._store.leases[self._owner] = self._now() + self._lease

    async def release(self, claims: Sequence[Claim]) -> None:
        self._store.release(claims)

    def finish(
        self,
        claim: Claim,
        attempt: Attempt,
        verdict: Verdict,
        done: Callable[[bool | JournalError], None],
    ) -> None:
        def finished() -> bool:
            return self._store.finish(claim, attempt, verdict, self._now())

        self._loop.call_soon(lambda: done(self.condition.error or finished()))

    async def amend(self, id: int, number: int, error: str | None, status: str = "raised") -> None:
        self._store.amend(id, number, error, status)

    async def flush(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        self._alarm.cancel()
        self._store.followers.remove(self._hear)

    def _hear(self, rows: Sequence[Row]) -> None:
        self._changes.tell(row.id for row in rows)
        if any(row.is_due(self._now()) for row in rows):
            self._tell_due()
        if any(row.status == "retrying" for row in rows):
            self._alarm.set(self._store.next_at(self._now()))
