import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import pytest

from hfhooks.dispatch.dispatcher import Dispatcher
from hfhooks.dispatch.pace import WINDOW
from hfhooks.journal import Journal
from hfhooks.model.delivery import Claim, Recorded, Verdict, Wanted
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from hfhooks.tasks import Tasks
from tests.harness import until
from tests.journal.engines import NEW, record, taken
from tests.journal.engines import finish as finished
from tests.wired import NOW, Reports, recorded, settle, unfinished

pytestmark = pytest.mark.parametrize(
    "journal", [{}, {"url": "memory:"}], indirect=True, ids=["sqlite", "memory"]
)


class FakeWorker:
    """Ends calls as it was told, in turn, and well where it was not; while it holds, none."""

    def __init__(self, *endings: Ending | Exception) -> None:
        self.endings = list(endings)
        self.claims: list[Claim] = []
        self.secrets: list[str | None] = []
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self.holds = self.is_gone = False
        self.given_up: list[int] = []
        self._held: list[Callable[[], None]] = []

    @property
    def endpoints(self) -> list[str]:
        return [claim.delivery.endpoint for claim in self.claims]

    @property
    def takes_more(self) -> bool:
        return not self.is_gone

    def give_up(self, id: int) -> None:
        self.given_up.append(id)

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        ending = self.ending(claim)
        if isinstance(ending, Exception):
            raise ending
        self.claims.append(claim)
        self.secrets.append(secret)
        self.at_once[claim.delivery.endpoint] += 1
        self.most_at_once |= self.at_once

        def end() -> None:
            self.at_once[claim.delivery.endpoint] -= 1
            ended(ending)

        if self.holds:
            self._held.append(end)
        else:
            asyncio.get_running_loop().call_soon(end)

    def ending(self, claim: Claim) -> Ending | Exception:
        return self.endings.pop(0) if self.endings else Ending("answered", 200, body=b"null")

    def let_go(self) -> None:
        """Hold no more."""
        self.holds = False
        for end in self._held:
            end()


class KilledBy(FakeWorker):
    """Dies, with all that it runs, when it has been given so many, and each time by this body."""

    def __init__(self, body: bytes, at_once: int) -> None:
        super().__init__()
        self.killer, self.first = body, at_once
        self.holds = True

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        super().attempt(claim, secret, ended)
        if len(self.claims) == self.first:
            asyncio.get_running_loop().call_soon(self.let_go)

    def ending(self, claim: Claim) -> Ending:
        if len(self.claims) < self.first:
            return Ending("lost")
        return CRASHED if claim.delivery.body == self.killer else Ending("answered", 200)


@dataclass
class FakeSender:
    """Who has sent a delivery, and waits."""

    outcome: "asyncio.Future[tuple[Verdict, Ending] | None]" = field(default_factory=asyncio.Future)

    def told(self, claim: Claim, verdict: Verdict, ending: Ending) -> int:
        if self.outcome.done():
            return 202
        self.outcome.set_result((verdict, ending))
        return 200

    def waits_in_vain(self) -> None:
        if not self.outcome.done():
            self.outcome.set_result(None)

    async def status(self) -> str | None:
        outcome = await self.outcome
        return outcome and outcome[0].status


RAISED = Ending("raised", 500, body=b"Traceback")
CRASHED = Ending("crashed")


def retry(after: float) -> Ending:
    return Ending("retry", 500, body=b"not yet", retry_after=after)


def new(endpoint: str = "train", **values: Any) -> Recorded:
    return Recorded(endpoint, NOW, **{"query": "", "headers": (), "body": b"{}"} | values)


def train(**options: Any) -> list[Endpoint]:
    return [Endpoint("train", **options)]


async def statuses(journal: Journal, id: int = 1) -> list[str]:
    return [attempt.status for attempt in await journal.attempts(id)]


Submit = Callable[..., Any]


@pytest.fixture
async def submit(journal: Journal, dispatcher: Dispatcher) -> AsyncIterator[Submit]:
    """Return what hands over a delivery as a gateway does; it returns who waits for its outcome."""

    async def submit(delivery: Recorded | None = None) -> FakeSender:
        turn = dispatcher.expect((delivery or new()).endpoint)
        sender = FakeSender()
        turn.arrived(await record(journal, delivery or new(), turn.takes), sender)
        return sender

    yield submit
    await dispatcher.drain(grace=0)


async def begun(submit: Submit, dispatcher: Dispatcher, worker: FakeWorker) -> FakeSender:
    """Let a handler run that is held back."""
    worker.holds = True
    dispatcher.use(worker, train())
    sender: FakeSender = await submit()
    await until(lambda: worker.claims)
    return sender


async def test_an_outcome_is_recorded_and_told(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(Ending("answered", 200, body=b"1")), train())
    assert await (await submit()).status() == "succeeded"
    await settle(journal)
    [told] = reports.finished
    assert (told.id, told.status, told.sent_status) == (1, "succeeded", 200)
    delivery = await recorded(journal)
    assert (delivery.status, delivery.attempt_count) == ("succeeded", 1)
    [attempt] = await journal.attempts(1)
    assert (attempt.status, attempt.http_status, attempt.started_at) == ("succeeded", 200, NOW)
    assert (attempt.answer, attempt.error) == (b"1", None)
    assert await unfinished(journal) == []


async def test_deliveries_wait_for_a_worker_and_start_in_order(
    submit: Submit, dispatcher: Dispatcher
) -> None:
    names = [f"e{number % 3}" for number in range(20)]
    senders = [await submit(new(name)) for name in names]
    worker = FakeWorker()
    dispatcher.use(worker, [Endpoint(name) for name in ("e0", "e1", "e2")])
    for sender in senders:
        await sender.status()
    assert worker.endpoints == names


async def test_what_an_earlier_run_has_left_comes_first(
    journal: Journal, reports: Reports, tasks: Tasks
) -> None:
    for number in range(3):
        await record(journal, new(query=f"left={number}"))
    dispatcher = Dispatcher(journal, reports, tasks)
    assert await dispatcher.start() == ["train"] * 3
    turn = dispatcher.expect("train")
    turn.arrived(await record(journal, new(query="new"), turn.takes))
    worker = FakeWorker()
    dispatcher.use(worker, train())
    await until(lambda: len(reports.finished) == 4)
    queries = [claim.delivery.query for claim in worker.claims]
    assert queries == ["left=0", "left=1", "left=2", "new"]
    assert [told.is_recovered for told in reports.finished] == [True, True, True, False]
    await dispatcher.drain(grace=0)


async def test_an_endpoint_runs_so_many_handlers_and_holds_up_no_other(
    submit: Submit, dispatcher: Dispatcher
) -> None:
    worker = FakeWorker()
    worker.holds = True
    dispatcher.use(worker, [Endpoint("slow", max_concurrency=2), Endpoint("other")])
    senders = [await submit(new("slow")) for _ in range(5)]
    senders.append(await submit(new("other")))
    await until(lambda: "other" in worker.endpoints)
    assert worker.endpoints.count("slow") == 2
    worker.let_go()
    for sender in senders:
        await sender.status()
    assert worker.most_at_once["slow"] == 2


async def test_who_comes_behind_quick_handlers_may_wait_and_behind_slow_ones_not(
    journal: Journal, reports: Reports, tasks: Tasks
) -> None:
    now = 100.0
    dispatcher, worker = Dispatcher(journal, reports, tasks, clock=lambda: now), FakeWorker()
    await dispatcher.start()
    worker.holds = True
    dispatcher.use(worker, train(max_concurrency=1))
    for _ in range(3):
        turn = dispatcher.expect("train")
        turn.arrived(await record(journal, new(), turn.takes))
        assert turn.answer_in == 0
    now += WINDOW
    assert dispatcher.expect("train").answer_in == inf
    worker.let_go()
    await until(lambda: len(reports.finished) == 3)
    assert dispatcher.expect("train").answer_in == 0
    await dispatcher.drain(grace=0)


async def test_nothing_is_begun_on_a_worker_that_has_ended(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    worker = FakeWorker(CRASHED)
    worker.holds = True
    dispatcher.use(worker, train(max_concurrency=1))
    senders = [await submit() for _ in range(3)]
    await until(lambda: worker.claims)
    worker.is_gone = True
    worker.let_go()
    await settle(journal)
    senders.append(await submit())
    await settle(journal)
    assert len(worker.claims) == 1 and not dispatcher.has_worker
    another = FakeWorker()
    dispatcher.use(another, train())
    assert [await sender.status() for sender in senders] == ["succeeded"] * 4
    await settle(journal)
    assert [await statuses(journal, id) for id in (1, 2, 3, 4)] == [
        ["crashed", "succeeded"],
        *[["succeeded"]] * 3,
    ]


async def test_a_handler_gets_the_delivery_as_it_came_and_the_secret_of_now(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    worker = FakeWorker(CRASHED)
    dispatcher.use(worker, train(secrets=("s3cret", "before")))
    headers = (("content-type", "application/json"), ("x-webhook-secret", "before"))
    sent = new(webhook_id="w1", origin="replay", headers=headers, query="a=1")
    assert await (await submit(sent)).status() == "succeeded"
    first, second = worker.claims
    assert (first.id, first.number, first.delivery) == (1, 1, sent)
    assert (second.id, second.number) == (1, 2)
    assert second.delivery.headers == headers[:1] and second.delivery.body == b"{}"
    assert worker.secrets == ["s3cret", "s3cret"]


async def test_a_handler_that_raises_is_called_again_later(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(RAISED), train())
    verdict, _ = await (await submit()).outcome
    await settle(journal)
    assert (verdict.status, verdict.retry_after) == ("retrying", 5)
    delivery = await recorded(journal)
    assert (delivery.status, delivery.raised) == ("retrying", 1)
    assert len(reports.finished) == 1


async def test_retries_come_and_end(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(*[retry(0)] * 5), train(retries=2))
    await submit()
    await until(lambda: len(reports.finished) == 3)
    assert [told.status for told in reports.finished] == ["retrying", "retrying", "failed"]
    assert [attempt.number for attempt in await journal.attempts(1)] == [1, 2, 3]
    assert await unfinished(journal) == []


async def test_a_worker_that_dies_gives_its_delivery_back(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(CRASHED), train())
    assert await (await submit()).status() == "succeeded"
    await settle(journal)
    assert await statuses(journal) == ["crashed", "succeeded"]


async def test_a_handler_that_kills_its_worker_again_and_again_is_given_up(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    dispatcher.use(FakeWorker(*[CRASHED] * 3), train())
    assert await (await submit()).status() == "failed"
    await settle(journal)
    assert await statuses(journal) == ["crashed"] * 3


async def test_who_ran_beside_a_killer_is_not_given_up_with_it(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    """The worker dies whenever the first of eight deliveries runs, and takes all with it."""
    worker = KilledBy(b'{"number": 0}', at_once=8)
    dispatcher.use(worker, train())
    senders = [await submit(new(body=b'{"number": %d}' % number)) for number in range(8)]
    found = [await sender.status() for sender in senders]
    await settle(journal)
    assert found == ["failed"] + ["succeeded"] * 7
    assert [len(await journal.attempts(id)) for id in range(1, 9)] == [4] + [2] * 7


async def test_one_that_has_ended_a_worker_is_known_after_a_restart(
    journal: Journal, reports: Reports, tasks: Tasks
) -> None:
    await finished(journal, await taken(journal, NEW), "queued")
    dispatcher = Dispatcher(journal, reports, tasks)
    await dispatcher.start()
    await dispatcher.quarantine.open()
    dispatcher.use(FakeWorker(*[CRASHED] * 2), train())
    await until(lambda: reports.finished)
    await dispatcher.drain(grace=0)
    assert await statuses(journal) == ["crashed"] * 3
    assert reports.finished[0].status == "failed"


async def test_a_delivery_whose_endpoint_is_gone_waits_for_its_return(
    submit: Submit, dispatcher: Dispatcher
) -> None:
    dispatcher.use(FakeWorker(), train())
    dispatcher.use(FakeWorker(), [Endpoint("other")])
    sender = await submit()
    await (await submit(new("other"))).status()
    assert not sender.outcome.done()
    dispatcher.use(FakeWorker(), train())
    assert await sender.status() == "succeeded"


async def test_what_is_given_to_nobody_goes_back_and_comes_again(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    """It is taken when it is recorded, and at that moment the worker is lost."""
    dispatcher.use(FakeWorker(), train())
    turn = dispatcher.expect("train")
    stored = await record(journal, new(), turn.takes)
    dispatcher.lose()
    turn.arrived(stored, sender := FakeSender())
    dispatcher.use(FakeWorker(), train())
    assert await sender.status() == "succeeded"
    await settle(journal)
    assert await statuses(journal) == ["succeeded"]


async def test_draining_waits_for_running_handlers_and_leaves_the_rest(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    good = Ending("answered", 200)
    worker = FakeWorker(good, good, RAISED)
    worker.holds = True
    dispatcher.use(worker, train(max_concurrency=3))
    senders = [await submit() for _ in range(5)]
    await until(lambda: len(worker.claims) == 3)
    draining = asyncio.create_task(dispatcher.drain(grace=5))
    await asyncio.sleep(0)
    worker.let_go()
    await draining
    assert all(sender.outcome.done() for sender in senders)
    assert sorted(await unfinished(journal)) == [3, 4, 5]
    assert len(reports.finished) == 3
    assert await (await submit()).status() is None


async def test_draining_puts_back_what_takes_longer_than_the_grace(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    sender = await begun(submit, dispatcher, FakeWorker())
    await dispatcher.drain(grace=0.01)
    delivery = await recorded(journal)
    assert (delivery.status, delivery.crashed) == ("queued", 0)
    assert await statuses(journal) == ["interrupted"]
    assert await sender.status() is None


async def test_draining_leaves_the_retries_that_are_due_later(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    worker = FakeWorker(retry(0.001))
    dispatcher.use(worker, train())
    await (await submit()).status()
    await dispatcher.drain(grace=0)
    due: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, due.set_result, None)
    await due
    assert len(worker.claims) == 1
    assert await unfinished(journal) == [1]


async def test_what_raised_is_due_at_once_when_that_is_mended(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(RAISED, retry(after=60)), train())
    for _ in range(2):
        await submit()
    await until(lambda: len(reports.finished) == 2)
    raised = Wanted(statuses=("retrying",), is_pause_asked=False)
    assert await journal.requeue(raised) == [1]
    await until(lambda: len(reports.finished) == 3)
    mended = reports.finished[2]
    assert (mended.id, mended.attempt.number, mended.attempt.status) == (1, 2, "succeeded")
    assert await journal.requeue(raised) == []
    assert await unfinished(journal) == [2]


async def test_what_an_old_worker_could_not_finish_is_run_by_the_new_one(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    sender = await begun(submit, dispatcher, old := FakeWorker(Ending("interrupted")))
    dispatcher.use(FakeWorker(), train())
    old.let_go()
    assert await sender.status() == "succeeded"
    await settle(journal)
    assert await statuses(journal) == ["interrupted", "succeeded"]


async def test_what_was_left_after_the_answer_and_has_failed_is_recorded_and_told(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    sender = await begun(submit, dispatcher, worker := FakeWorker())
    dispatcher.outcomes.amend(1, 1, "Traceback")  # the news of it is faster than the answer
    worker.let_go()
    assert await sender.status() == "succeeded"
    await dispatcher.outcomes.settle()
    assert [(told.status, told.is_amended) for told in reports.finished] == [
        ("succeeded", False),
        ("failed", True),
    ]
    assert (await recorded(journal)).status == "failed"
    assert await statuses(journal) == ["raised"]


async def test_what_an_owner_has_cancelled_is_not_told(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    await begun(submit, dispatcher, worker := FakeWorker())
    assert await journal.cancel(Wanted(ids=[1])) == [1]
    worker.let_go()
    await settle(journal)
    assert (await recorded(journal)).status == "cancelled"
    assert reports.finished == []


async def test_of_what_runs_and_is_cancelled_the_end_is_recorded_and_told_at_once(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    sender = await begun(submit, dispatcher, worker := FakeWorker())
    assert await dispatcher.cancel([1, 404]) == [1]
    assert worker.given_up == [1] and dispatcher.attempts.goes_on(1)  # until it has ended indeed
    assert await sender.status() == "cancelled"
    assert [each.status for each in reports.finished] == ["cancelled"]
    worker.let_go()  # it answers all the same
    await settle(journal)
    assert (await recorded(journal)).status == "cancelled"
    assert await statuses(journal) == ["cancelled"] and len(reports.finished) == 1
    assert await dispatcher.cancel([1]) == []


async def test_what_waits_and_is_cancelled_is_never_run_and_holds_up_nothing(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    worker = FakeWorker(RAISED)
    dispatcher.use(worker, train(max_concurrency=1))
    await submit()
    await until(lambda: reports.finished)
    worker.holds = True
    waiting = [await submit() for _ in range(3)]
    await until(lambda: len(worker.claims) == 2)
    assert await dispatcher.cancel([1, 3, 4]) == [1, 3, 4]
    assert [await sender.status() for sender in waiting[1:]] == [None, None]
    worker.let_go()
    await until(lambda: len(reports.finished) == 2)
    await settle(journal)
    assert len(worker.claims) == 2 and await unfinished(journal) == []
    assert await journal.counts() == {("train", "cancelled"): 3, ("train", "succeeded"): 1}
    assert dispatcher.expect("train").takes


async def test_where_one_is_cancelled_the_next_one_runs(
    submit: Submit, dispatcher: Dispatcher, journal: Journal
) -> None:
    worker = FakeWorker()
    worker.holds = True
    dispatcher.use(worker, train(max_concurrency=1))
    for _ in range(2):
        await submit()
    assert await dispatcher.cancel([1]) == [1]
    worker.holds = False
    worker.let_go()
    await until(lambda: [claim.id for claim in worker.claims] == [1, 2])


async def test_an_attempt_never_begins_beside_one_that_was_given_up(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    worker = FakeWorker()
    worker.holds = True
    dispatcher.use(worker, train(max_concurrency=9, timeout=0.01))
    await submit()
    await until(lambda: reports.finished)
    assert reports.finished[0].status == "retrying" and worker.given_up == [1]
    await journal.requeue(Wanted(ids=[1]))
    await settle(journal)
    assert len(worker.claims) == 1
    worker.holds = False
    worker.let_go()
    await until(lambda: len(reports.finished) == 2)
    assert [claim.number for claim in worker.claims] == [1, 2]
    await settle(journal)
    assert await statuses(journal) == ["timed_out", "succeeded"]


async def test_a_worker_that_cannot_be_asked_costs_one_delivery(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    dispatcher.use(FakeWorker(ValueError("no frame can hold it")), train(retries=0))
    assert await (await submit()).status() == "failed"
    assert await (await submit()).status() == "succeeded"
    await settle(journal)
    [attempt] = await journal.attempts(1)
    assert "no frame can hold it" in str(attempt.error)
    assert [str(fault.error) for fault in reports.faults] == ["no frame can hold it"]
    reports.faults.clear()


async def test_a_fault_about_an_outcome_costs_one_delivery(
    submit: Submit, dispatcher: Dispatcher, journal: Journal, reports: Reports
) -> None:
    status: Any = "two hundred"
    dispatcher.use(FakeWorker(replace(Ending("answered"), status=status)), train())
    await submit()
    assert await (await submit()).status() == "succeeded"
    await until(lambda: len(reports.finished) == 2)
    assert (await recorded(journal)).status == "failed"
    [fault] = reports.faults
    assert isinstance(fault.error, TypeError)
    reports.faults.clear()
