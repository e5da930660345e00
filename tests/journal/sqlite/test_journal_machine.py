"""The journal as a whole beside a model of it: whatever is done to it, in whatever order."""

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hfhooks.journal.sqlite.journal import Journal, Retention, open_journal
from hfhooks.journal.sqlite.records import Attempt, Delivery
from tests.harness import wait_until
from tests.journal.sqlite.test_journal import NEW

KEPT = 6
DAY = 24 * 3600.0
UNFINISHED = ("queued", "running", "retrying")
ENDINGS = {
    "succeeded": "succeeded",
    "failed": "failed",
    "retrying": "failed",
    "queued": "crashed",
}
"""What a delivery becomes, and the attempt that makes it so."""


@dataclass
class Known:
    """What ought to be recorded of a delivery."""

    delivery: Delivery
    status: str
    attempts: list[str] = field(default_factory=list)

    @property
    def counts_as_received(self) -> bool:
        is_hubs = self.delivery.webhook_id is not None and not self.delivery.is_replay
        return is_hubs and self.status not in ("failed", "ignored")


class JournalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.now = 1e9
        self.known: dict[int, Known] = {}
        self.newest = 0
        self.ended: list[tuple[Delivery, Attempt]] = []
        self.journal = self.opened()

    def opened(self) -> Journal:
        keep = Retention(deliveries=KEPT)
        journal = open_journal(self.folder, retention=keep, now=lambda: self.now)
        wait_until(lambda: journal._database._until_chore > 0)  # it has pruned what it found
        return journal

    def wait(self, step: Any) -> Any:
        return self.loop.run_until_complete(step)

    def having(self, *statuses: str) -> list[int]:
        return [id for id, known in self.known.items() if known.status in statuses]

    @rule(
        webhook_id=st.sampled_from([None, "a", "b"]),
        endpoint=st.sampled_from(["train", "deploy"]),
        is_replay=st.booleans(),
        status=st.sampled_from(["queued", "queued", "ignored"]),
        body=st.binary(max_size=2000),
    )
    def receive(self, status: str, **values: Any) -> None:
        """New, a duplicate, a replay, or nothing for this endpoint."""
        new = replace(NEW, status=status, received_at=self.now, **values)
        same = [
            id
            for id, known in self.known.items()
            if known.counts_as_received
            and not new.is_replay
            and (known.delivery.endpoint, known.delivery.webhook_id)
            == (new.endpoint, new.webhook_id)
        ]
        recorded = self.wait(self.journal.record(new))
        if same:
            assert (recorded.status, [recorded.id]) == ("duplicate", same)
        else:
            assert recorded.id > self.newest
            self.newest = recorded.id
            self.known[recorded.id] = Known(recorded, status)

    @precondition(lambda self: self.having("queued", "retrying"))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        known = self.known[data.draw(st.sampled_from(self.having("queued", "retrying")))]
        known.delivery = self.wait(self.claim(known.delivery))
        known.status = "running"

    async def claim(self, delivery: Delivery) -> Delivery:
        delivery = self.journal.claim(delivery, self.now)
        await self.journal._database.commit(lambda _: None)  # a claim waits for no disk
        return delivery

    @precondition(lambda self: self.having("running"))
    @rule(data=st.data(), status=st.sampled_from(list(ENDINGS)))
    def end(self, data: st.DataObject, status: str) -> None:
        known = self.known[data.draw(st.sampled_from(self.having("running")))]
        attempt = Attempt(known.delivery.attempts, self.now, 0.5, ENDINGS[status])
        assert self.wait(self.journal.finish(known.delivery, attempt, status, due_at=self.now))
        known.attempts.append(attempt.status)
        known.status = status
        self.ended.append((known.delivery, attempt))

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), status=st.sampled_from(list(ENDINGS)))
    def end_late(self, data: st.DataObject, status: str) -> None:
        """A worker that was given up answers all the same."""
        delivery, attempt = data.draw(st.sampled_from(self.ended))
        assert not self.wait(self.journal.finish(delivery, attempt, status))

    @rule(times=st.sampled_from([1 / 24, 40, 365, -365]))
    def clock_jumps(self, times: float) -> None:
        self.now += times * DAY

    @rule()
    def prune(self) -> None:
        while self.wait(self.journal._database.commit(self.journal._database._chore)):
            pass
        self.forget_pruned()

    @rule()
    def die_and_recover(self) -> None:
        """The next server finds what this one had on disk, and nothing else of it."""
        self.journal.close()
        self.journal = self.opened()
        for known in self.known.values():
            if known.status == "running":
                known.attempts.append("interrupted")
            if known.status in UNFINISHED:
                known.status = "queued"
        self.forget_pruned()

    def forget_pruned(self) -> None:
        """The oldest finished ones go, as far as they are too old or too many."""
        newest = max(self.known, default=0)
        for id, known in list(self.known.items()):
            if known.status in UNFINISHED:
                continue
            if id > newest - KEPT and known.delivery.received_at >= self.now - 30 * DAY:
                return
            del self.known[id]

    @invariant()
    def unfinished_ones_are_known_in_order_of_arrival(self) -> None:
        left = self.journal.unfinished()
        assert [row.id for row in left] == self.having(*UNFINISHED)
        for row in left:
            assert row.has_crashed == ("crashed" in self.known[row.id].attempts)

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        for id, known in self.known.items():
            found = self.journal.get(id)
            assert found is not None
            assert (found.status, found.body) == (known.status, known.delivery.body)
            assert [attempt.status for attempt in self.journal.attempts(id)] == known.attempts
            assert found.attempts == len(known.attempts) + (known.status == "running")
            assert found.failures == known.attempts.count("failed")
            assert found.crashes == known.attempts.count("crashed")

    def teardown(self) -> None:
        self.journal.close()
        self.loop.close()
        with closing(sqlite3.connect(self.journal.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        shutil.rmtree(self.folder)


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
