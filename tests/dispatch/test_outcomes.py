"""What comes of a call where the journal or the sender is not as usual.

Where all is well: `test_dispatcher.py`; where there is no room: `test_full_journal.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from hfhooks.dispatch.attempts import Running
from hfhooks.dispatch.outcomes import Outcomes, cut_off
from hfhooks.errors import DiskError, JournalAway, JournalError, JournalFault
from hfhooks.journal.memory import MemoryJournal
from hfhooks.model.condition import Condition
from hfhooks.model.delivery import Attempt, Claim, Verdict, Wanted
from hfhooks.model.ending import CUT_OFF, INTERRUPTED, LOST, Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.tasks import Tasks
from tests.dispatch.test_dispatcher import CRASHED, RAISED, FakeSender, FakeWorker
from tests.harness import polled, until
from tests.journal.engines import taken
from tests.wired import NOW, Reports, recorded

GOOD = Ending("answered", 200, body=b"1")
POISON = Ending("answered", 200, body=b"poison")
PENDING = Ending("answered", 200, body=b"1", pending_after=True)
LEFT = Wanted(pending_after=True)
EVERYTHING = Wanted()


class Poisoned(MemoryJournal):
    """A journal that has a fault when it is to keep one kind of answer, or any."""

    takes_nothing = False

    def finish(
        self,
        claim: Claim,
        attempt: Attempt,
        verdict: Verdict,
        done: Callable[[bool | JournalError], None],
    ) -> None:
        if self.takes_nothing or attempt.answer == POISON.body:
            fault = JournalFault(ValueError("no table can hold it"))
            asyncio.get_running_loop().call_soon(done, fault)
        else:
            super().finish(claim, attempt, verdict, done)


@pytest.fixture
async def journal() -> AsyncIterator[Poisoned]:
    journal = Poisoned()
    yield journal
    await journal.close()


class Rig:
    """Outcomes of deliveries that are in a journal."""

    def __init__(self, journal: Poisoned, reports: Reports, tasks: Tasks) -> None:
        self.journal, self.reports = journal, reports
        self.going_on: set[int] = set()
        """Deliveries that handlers are called for."""
        self.outcomes = Outcomes(
            journal, reports, tasks, self._over, again_after=0.001, chance=lambda: 0.5
        )

    async def _over(self, id: int) -> None:
        await until(lambda: id not in self.going_on)

    async def came(self, *, waits: bool = True) -> tuple[Claim, FakeSender]:
        """Let a delivery come."""
        claim, sender = await taken(self.journal), FakeSender()
        self.outcomes.came(claim.id, sender if waits else None)
        return claim, sender

    async def end(self, claim: Claim, ending: Ending = GOOD) -> None:
        self.outcomes.ended(Running(claim, Endpoint("train"), FakeWorker(), NOW), ending)
        await self.outcomes.written()

    async def sent_status(self, id: int = 1) -> int | None:
        [summary] = await self.journal.list(Wanted(ids=[id]))
        return summary.sent_status

    async def kept(self, id: int = 1) -> list[tuple[str, str | None]]:
        return [(each.status, each.error) for each in await self.journal.attempts(id)]


@pytest.fixture
async def rig(journal: Poisoned, reports: Reports, tasks: Tasks) -> Rig:
    return Rig(journal, reports, tasks)


async def test_a_sender_is_told_before_it_is_recorded(rig: Rig) -> None:
    claim, sender = await rig.came()
    rig.outcomes.ended(Running(claim, Endpoint("train"), FakeWorker(), NOW), GOOD)
    assert sender.outcome.done() and (await recorded(rig.journal)).status == "running"
    await rig.outcomes.written()
    assert (await recorded(rig.journal)).status == "succeeded"


@pytest.mark.parametrize(("waits", "sent_status"), [(True, 200), (False, 202)])
async def test_what_the_sender_got_is_recorded(rig: Rig, waits: bool, sent_status: int) -> None:
    claim, _ = await rig.came(waits=waits)
    await rig.end(claim)
    assert await rig.sent_status() == sent_status


async def test_what_the_sender_of_an_earlier_run_got_is_not_known(rig: Rig) -> None:
    await rig.end(await taken(rig.journal))
    assert await rig.sent_status() is None


async def test_a_sender_waits_for_what_comes_after_a_crash(rig: Rig) -> None:
    claim, sender = await rig.came()
    await rig.end(claim, CRASHED)
    assert not sender.outcome.done() and rig.reports.finished == []
    [again] = await rig.journal.claim({"train": 1}, in_quarantine=True)
    await rig.end(again)
    assert await sender.status() == "succeeded"


async def test_a_sender_hears_of_the_first_attempt_alone(rig: Rig) -> None:
    claim, sender = await rig.came()
    await rig.end(claim, RAISED)
    assert await sender.status() == "retrying"
    await rig.journal.requeue(EVERYTHING)
    [again] = await rig.journal.claim({"train": 1})
    await rig.end(again)
    assert [told.sent_status for told in rig.reports.finished] == [200, None]
    assert await rig.sent_status() == 200


async def test_what_an_earlier_run_has_left_is_said_once(rig: Rig) -> None:
    claim = await taken(rig.journal)
    rig.outcomes.left = {claim.id}
    await rig.end(claim, RAISED)
    await rig.journal.requeue(EVERYTHING)
    [again] = await rig.journal.claim({"train": 1})
    await rig.end(again)
    assert [told.is_recovered for told in rig.reports.finished] == [True, False]


async def test_who_comes_when_nobody_is_waited_for_is_told_so(rig: Rig) -> None:
    _, early = await rig.came()
    rig.outcomes.give_up_waiting()
    _, late = await rig.came()
    assert (await early.outcome, await late.outcome) == (None, None)


async def test_who_waits_for_what_runs_may_wait_on(rig: Rig) -> None:
    (claim, running), (_, waiting) = await rig.came(), await rig.came()
    rig.outcomes.give_up_waiting({claim.id})
    assert await waiting.outcome is None and not running.outcome.done()


async def test_what_cannot_be_kept_is_kept_as_failed_for_that_reason(rig: Rig) -> None:
    claim, _ = await rig.came()
    await rig.end(claim, POISON)
    reason = "a fault in the journal: ValueError: no table can hold it."
    assert await rig.kept() == [("raised", reason)]
    assert [told.status for told in rig.reports.finished] == ["failed"]
    assert [str(fault.error) for fault in rig.reports.faults] == ["no table can hold it"]
    rig.reports.faults.clear()


async def test_where_nothing_can_be_kept_that_is_said_and_nobody_waits(rig: Rig) -> None:
    claim, _ = await rig.came()
    rig.journal.takes_nothing = True
    await rig.end(claim)
    assert rig.reports.finished == [] and len(rig.reports.faults) == 2
    rig.reports.faults.clear()


async def test_of_a_disk_that_has_failed_nothing_more_is_said(rig: Rig) -> None:
    claim, _ = await rig.came()
    rig.journal.become(Condition("failed", DiskError("no disk.")))
    await rig.end(claim, POISON)
    assert rig.reports.finished == [] and rig.reports.faults == []


async def test_what_does_not_hold_any_more_is_not_told(rig: Rig) -> None:
    claim, sender = await rig.came()
    await rig.journal.release([claim])
    await rig.end(claim)
    assert await sender.status() == "succeeded"
    assert rig.reports.finished == [] and await rig.kept() == []


async def test_what_fails_late_is_recorded_when_the_call_is_over(rig: Rig) -> None:
    claim, _ = await rig.came()
    rig.going_on.add(claim.id)
    rig.outcomes.amend(claim.id, 1, "Traceback")
    await polled()
    await rig.end(claim)
    rig.going_on.clear()
    await rig.outcomes.settle()
    assert await rig.kept() == [("raised", "Traceback")]
    assert [told.is_amended for told in rig.reports.finished] == [False, True]


async def test_what_is_left_after_the_answer_is_recorded_until_it_is_done(rig: Rig) -> None:
    claim, _ = await rig.came()
    await rig.end(claim, PENDING)
    assert [each.id for each in await rig.journal.list(LEFT)] == [claim.id]
    rig.outcomes.amend(claim.id, 1, None)
    await rig.outcomes.settle()
    assert await rig.journal.list(LEFT) == [] and await rig.kept() == [("succeeded", None)]
    assert len(rig.reports.finished) == 1


async def test_what_is_left_after_a_refusal_keeps_nothing_open(rig: Rig) -> None:
    claim, _ = await rig.came()
    await rig.end(claim, replace(PENDING, status=404))
    assert await rig.journal.list(LEFT) == []


async def test_what_an_earlier_run_has_not_done_after_the_answer_has_failed(rig: Rig) -> None:
    claim, _ = await rig.came()
    await rig.end(claim, PENDING)
    cut_off(rig.outcomes, await rig.journal.list(LEFT))
    await rig.outcomes.settle()
    assert await rig.kept() == [("interrupted", CUT_OFF[LOST])]
    assert [(told.status, told.is_amended) for told in rig.reports.finished] == [
        ("succeeded", False),
        ("failed", True),
    ]


async def test_what_is_done_while_the_journal_is_away_is_recorded_later(rig: Rig) -> None:
    claim, _ = await rig.came()
    rig.journal.become(Condition("away", JournalAway("it is locked")))
    rig.outcomes.ended(Running(claim, Endpoint("train"), FakeWorker(), NOW), PENDING)
    rig.outcomes.amend(claim.id, 1, None)
    await polled()
    rig.journal.become(Condition())
    await rig.outcomes.settle()
    assert await rig.journal.list(LEFT) == [] and await rig.kept() == [("succeeded", None)]


async def test_an_attempt_that_was_given_up_is_not_told_once_more(rig: Rig) -> None:
    claim, _ = await rig.came()
    await rig.end(claim, Ending("interrupted"))
    rig.outcomes.amend(claim.id, 1, CUT_OFF[INTERRUPTED], "interrupted")
    await rig.outcomes.settle()
    assert not any(told.is_amended for told in rig.reports.finished)


@pytest.mark.parametrize(("id", "number"), [(1, 2), (99, 1)])
async def test_what_fails_late_and_is_not_known_is_not_told(rig: Rig, id: int, number: int) -> None:
    claim, _ = await rig.came()
    await rig.end(claim)
    rig.outcomes.amend(id, number, "Traceback")
    await rig.outcomes.settle()
    assert len(rig.reports.finished) == 1 and await rig.kept() == [("succeeded", None)]
