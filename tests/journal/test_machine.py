"""Every engine beside a model of it: whatever is done to it, in whatever order."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hfhooks.model.delivery import SETTLED, UNFINISHED, Claim, Recorded, Wanted
from tests.journal.engines import NEW, Engine, MemoryEngine, SqliteEngine, finish, record

PAUSE = 60.0
ENDPOINTS = ("train", "deploy")
ENDINGS = ("succeeded", "failed", "retrying", "queued")
ATTEMPTS = {"succeeded": "succeeded", "failed": "raised", "retrying": "raised", "queued": "crashed"}


@dataclass
class Known:
    """What ought to be recorded of a delivery."""

    delivery: Recorded
    status: str
    due_at: float
    attempts: list[str] = field(default_factory=list)
    started: int = 0
    claim: Claim | None = None

    @property
    def is_once(self) -> bool:
        is_hubs = self.delivery.webhook_id is not None and self.delivery.origin != "replay"
        return is_hubs and self.status not in SETTLED

    @property
    def is_suspect(self) -> bool:
        return not {"crashed", "lost"}.isdisjoint(self.attempts)


class JournalMachine(RuleBasedStateMachine):
    kind: type[Engine]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.known: dict[int, Known] = {}
        self.newest = 0
        self.ended: list[Claim] = []
        self.hosts = 1
        self.engine = self.kind(self.folder)
        self.journal = self.wait(self.engine.open("host 1"))

    def wait(self, step: Any) -> Any:
        return self.loop.run_until_complete(step)

    def having(self, *statuses: str) -> list[int]:
        return [id for id, known in self.known.items() if known.status in statuses]

    @rule(
        webhook_id=st.sampled_from([None, "a", "b"]),
        endpoint=st.sampled_from(ENDPOINTS),
        origin=st.sampled_from(["hub", "hub", "replay", "trigger"]),
        status=st.sampled_from(["queued", "queued", "ignored"]),
        body=st.binary(max_size=2000),
        take=st.booleans(),
    )
    def receive(self, take: bool, **values: Any) -> None:
        """New, a duplicate, a replay, or nothing for this endpoint; taken at once or not."""
        new = replace(NEW, received_at=self.engine.now, **values)
        of_new = (new.endpoint, new.webhook_id)
        same = [
            id
            for id, known in self.known.items()
            if known.is_once
            and new.is_once
            and (known.delivery.endpoint, known.delivery.webhook_id) == of_new
        ]
        stored = self.wait(record(self.journal, new, take))
        if same:
            assert (stored.status, [stored.id], stored.claim) == ("duplicate", same, None)
            return
        assert stored.id > self.newest
        self.newest = stored.id
        is_taken = take and new.status == "queued"
        assert stored.status == ("running" if is_taken else new.status)
        known = Known(new, stored.status, new.received_at, started=int(is_taken))
        known.claim = stored.claim
        self.known[stored.id] = known

    @rule(
        room=st.fixed_dictionaries({name: st.integers(0, 2) for name in ENDPOINTS}),
        in_quarantine=st.booleans(),
    )
    def claim(self, room: dict[str, int], in_quarantine: bool) -> None:
        """As much as there is room for, of what is due, in order; or one suspect."""
        next = self.next(Counter(room), in_quarantine)
        if in_quarantine:
            assert self.wait(self.journal.has_suspect(room)) == bool(next)
        claims = {claim.id: claim for claim in self.wait(self.journal.claim(room, in_quarantine))}
        self.wait(self.journal.flush())
        assert list(claims) == next
        for id, claim in claims.items():
            known = self.known[id]
            known.status, known.started, known.claim = "running", known.started + 1, claim
            assert claim.number == known.started

    def next(self, room: Counter[str], in_quarantine: bool) -> list[int]:
        """Return what is to be taken, by due time and arrival."""
        due = [
            (known.due_at, id)
            for id, known in self.known.items()
            if known.status == "queued"
            or (known.status == "retrying" and known.due_at <= self.engine.now)
        ]
        taken = []
        for _, id in sorted(due):
            known = self.known[id]
            if room[known.delivery.endpoint] and known.is_suspect == in_quarantine:
                room[known.delivery.endpoint] -= 1
                taken.append(id)
        return taken[:1] if in_quarantine else taken

    @precondition(lambda self: self.having("running"))
    @rule(data=st.data(), status=st.sampled_from(ENDINGS))
    def end(self, data: st.DataObject, status: str) -> None:
        known = self.known[data.draw(st.sampled_from(self.having("running")))]
        claim, known.claim = known.claim, None
        assert claim and self.wait(finish(self.journal, claim, status, **self.pause(status)))
        known.attempts.append(ATTEMPTS[status])
        known.status = status
        later = self.engine.now + PAUSE
        known.due_at = later if status == "retrying" else known.delivery.received_at
        self.ended.append(claim)

    def pause(self, status: str) -> dict[str, float]:
        return {"retry_after": PAUSE} if status == "retrying" else {}

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), status=st.sampled_from(ENDINGS))
    def end_late(self, data: st.DataObject, status: str) -> None:
        """A worker that was given up answers all the same."""
        late = data.draw(st.sampled_from(self.ended))
        assert not self.wait(finish(self.journal, late, status))

    @precondition(lambda self: self.having("running"))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        known = self.known[data.draw(st.sampled_from(self.having("running")))]
        assert known.claim
        self.wait(self.journal.release([known.claim]))
        known.status, known.started, known.claim = "queued", known.started - 1, None
        known.due_at = known.delivery.received_at

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.known)))
        known = self.known[id]
        of_it = (known.delivery.endpoint, known.delivery.webhook_id)
        is_sent_again = known.delivery.is_once and any(
            other.is_once and (other.delivery.endpoint, other.delivery.webhook_id) == of_it
            for other in self.known.values()
        )
        may_be = known.status == "retrying" or (known.status == "failed" and not is_sent_again)
        assert self.wait(self.journal.requeue(Wanted(ids=[id]))) == ([id] if may_be else [])
        if may_be:
            known.status, known.due_at = "queued", 0.0

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.known)))
        known = self.known[id]
        is_open = known.status in UNFINISHED
        assert self.wait(self.journal.cancel(Wanted(ids=[id]))) == ([id] if is_open else [])
        if is_open:
            known.status = "cancelled"
            if known.claim:
                self.ended.append(known.claim)
                known.claim = None

    @rule(seconds=st.sampled_from([1.0, PAUSE / 2, PAUSE, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.wait(self.journal.extend())
        for _ in range(int(seconds // PAUSE) + 1):  # as a host does that is alive
            self.engine.now += min(seconds, PAUSE)
            self.wait(self.journal.extend())

    @rule(age=st.sampled_from([0.0, 30.0, 1800.0]))
    def prune(self, age: float) -> None:
        before = self.engine.now - age
        old = [
            id
            for id, known in self.known.items()
            if known.status not in UNFINISHED and known.delivery.received_at < before
        ]
        assert self.wait(self.journal.prune(before)) == len(old)
        for id in old:
            del self.known[id]

    @rule()
    def die(self) -> None:
        """The next host finds what this one had, and nothing else of it."""
        self.hosts += 1
        self.journal = self.wait(self.engine.succeed(self.journal, f"host {self.hosts}"))
        self.wait(self.journal.claim({}))  # which looks for claims that are void
        for known in self.known.values():
            if known.status == "running":
                known.attempts.append("lost")
                known.status, known.due_at = "queued", known.delivery.received_at
                assert known.claim
                self.ended.append(known.claim)
                known.claim = None

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        assert [each.id for each in self.wait(self.journal.list(Wanted(limit=10_000)))] == sorted(
            self.known, reverse=True
        )
        for id, known in self.known.items():
            found = self.wait(self.journal.get(id))
            assert (found.status, found.body) == (known.status, known.delivery.body)
            attempts = self.wait(self.journal.attempts(id))
            assert [attempt.status for attempt in attempts] == known.attempts
            assert found.attempt_count == known.started
            assert found.raised == known.attempts.count("raised")
            assert found.crashed == known.attempts.count("crashed")

    def teardown(self) -> None:
        self.wait(self.engine.close())
        self.loop.close()
        self.look_at_the_file()
        shutil.rmtree(self.folder)

    def look_at_the_file(self) -> None: ...


class MemoryMachine(JournalMachine):
    kind = MemoryEngine


class SqliteMachine(JournalMachine):
    kind = SqliteEngine

    def look_at_the_file(self) -> None:
        with closing(sqlite3.connect(self.folder / "journal.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


SETTINGS = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMemory, TestSqlite = MemoryMachine.TestCase, SqliteMachine.TestCase
TestMemory.settings = TestSqlite.settings = SETTINGS
