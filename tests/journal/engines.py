"""The engines that a journal may have, as the contract suite opens and kills them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hfhooks.errors import JournalError
from hfhooks.journal import Journal, open_journal, url_of
from hfhooks.journal.memory import LEASE, MemoryJournal, Store
from hfhooks.model.delivery import Attempt, Claim, Recorded, Stored, Verdict

__all__ = [
    "ENGINES",
    "NEW",
    "Engine",
    "MemoryEngine",
    "SqliteEngine",
    "claimed",
    "ended",
    "finish",
    "record",
    "taken",
]

NEW = Recorded(
    endpoint="train",
    received_at=12.5,
    query="a=1",
    headers=(("content-type", "application/json"), ("x-webhook-secret", "s3cret")),
    body=b'{"a":  1e999, "a": 2}',
    event="repo.content:update",
    repo="dataset:me/data",
)


class Engine:
    """One place where deliveries are recorded, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.now = 1e9
        self.set_by = 0.0
        """Seconds by which the clock on the wall was set."""
        self.folder = folder
        self._open: list[Journal] = []

    async def open(self, owner: str = "a host", **limits: Any) -> Journal:
        """Return a host's journal; `limits` are those that every engine has."""
        journal = self._opened(owner, **limits)
        self._open.append(journal)
        return journal

    async def succeed(
        self, journal: Journal, owner: str = "another host", **limits: Any
    ) -> Journal:
        """Let a host die without a word; return the journal of one that takes over from it."""
        raise NotImplementedError

    def _opened(self, owner: str, **limits: Any) -> Journal:
        raise NotImplementedError

    async def close(self) -> None:
        for journal in self._open:
            await journal.close()


class MemoryEngine(Engine):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = Store()

    def _opened(self, owner: str, **limits: Any) -> Journal:
        return MemoryJournal(self.store, owner=owner, now=lambda: self.now, **limits)

    async def succeed(
        self, journal: Journal, owner: str = "another host", **limits: Any
    ) -> Journal:
        self.now += LEASE + 1
        return await self.open(owner, **limits)


class SqliteEngine(Engine):
    def _opened(self, owner: str, **limits: Any) -> Journal:
        url = url_of(self.folder / "journal.db")
        clocks = {"now": lambda: self.now + self.set_by, "steady": lambda: self.now}
        return open_journal(url, owner=owner, **clocks, **limits)

    async def succeed(
        self, journal: Journal, owner: str = "another host", **limits: Any
    ) -> Journal:
        # What is on disk is what a kill leaves there: nothing is given back by closing.
        self._open.remove(journal)
        await journal.close()
        return await self.open(owner, **limits)


ENGINES = {"memory": MemoryEngine, "sqlite": SqliteEngine}


async def opened(engine: Engine) -> AsyncIterator[Engine]:
    yield engine
    await engine.close()


async def record(journal: Journal, delivery: Recorded = NEW, take: bool = False) -> Stored:
    """Return what became of a delivery that was to be recorded. Raises `JournalError`."""
    told: asyncio.Future[Stored | JournalError] = asyncio.get_running_loop().create_future()
    journal.record(delivery, told.set_result, take)
    result = await told
    if isinstance(result, JournalError):
        raise result
    return result


async def taken(journal: Journal, delivery: Recorded = NEW) -> Claim:
    """Record a delivery and take it, at once."""
    claim = (await record(journal, delivery, take=True)).claim
    assert claim
    return claim


async def claimed(journal: Journal, endpoint: str = "train") -> Claim:
    """Take the only delivery that is due, whether it is a suspect or not."""
    room = {endpoint: 9}
    [claim] = [*await journal.claim(room), *await journal.claim(room, in_quarantine=True)]
    return claim


def ended(claim: Claim, status: str = "succeeded") -> Attempt:
    return Attempt(claim.number, 20.0, 0.5, status)


ATTEMPTS = {"succeeded": "succeeded", "failed": "raised", "retrying": "raised", "queued": "crashed"}
"""What an attempt was that made a delivery this."""


async def finish(journal: Journal, claim: Claim, status: str = "succeeded", **verdict: Any) -> bool:
    """End an attempt, so that its delivery becomes this. Raises `JournalError`."""
    attempt = ended(claim, ATTEMPTS[status])
    if status == "retrying":
        verdict.setdefault("retry_after", 0.0)
    return await finished(journal, claim, attempt, Verdict(attempt.status, status, **verdict))


async def finished(journal: Journal, claim: Claim, attempt: Attempt, verdict: Verdict) -> bool:
    told: asyncio.Future[bool | JournalError] = asyncio.get_running_loop().create_future()
    journal.finish(claim, attempt, verdict, told.set_result)
    result = await told
    if isinstance(result, JournalError):
        raise result
    return result
