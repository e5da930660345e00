"""What every engine of the journal does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hfhooks.errors import JournalError, JournalFull
from hfhooks.journal import Journal
from hfhooks.journal.backlog import Limits
from hfhooks.journal.memory import LEASE
from hfhooks.model.delivery import Attempt, Claim, Recorded, Stored, Summary, Verdict, Wanted
from hfhooks.model.endpoint import Endpoint, Published
from hfhooks.model.events import Filter
from hfhooks.redact import Redactor
from tests.harness import until
from tests.journal.engines import (
    ENGINES,
    NEW,
    Engine,
    MemoryEngine,
    claimed,
    ended,
    finish,
    finished,
    record,
    taken,
)

HUBS = replace(NEW, webhook_id="w1")
ROOM = {"train": 99, "deploy": 99}


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    engine: Engine = ENGINES[request.param](tmp_path / "journal")
    yield engine
    await engine.close()


@pytest.fixture
async def journal(engine: Engine) -> Journal:
    return await engine.open()


async def status(journal: Journal, id: int) -> str:
    found = await journal.get(id)
    assert found
    return found.status


async def attempts(journal: Journal, id: int) -> list[str]:
    return [attempt.status for attempt in await journal.attempts(id)]


async def ids(journal: Journal, **wanted: Any) -> list[int]:
    return [each.id for each in await journal.list(Wanted(**wanted))]


# Recording


async def test_a_delivery_comes_back_as_it_was(journal: Journal) -> None:
    stored = await record(journal, HUBS)
    assert stored == Stored(1, "queued")
    kept = replace(HUBS, id=1, headers=(("content-type", "application/json"),))
    assert await journal.get(1) == kept
    assert await journal.get(99) is None and await journal.get(1 << 70) is None


async def test_a_secret_in_a_header_or_the_query_is_not_recorded(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    redact = Redactor()
    redact.learn("a secret/of the hub")
    monkeypatch.setattr("hfhooks.model.delivery.redact", redact)
    given = replace(
        NEW,
        query="a=1&token=a+secret%2Fof+th%65+hub",
        headers=(("user-agent", "bot/a secret/of the hub"), ("x-api-key", "a secret/of the hub")),
    )
    assert (await taken(journal, given)).delivery.headers == given.headers
    kept = await journal.get(1)
    assert kept and (kept.query, kept.headers) == ("a=1&***", (("user-agent", "bot/***"),))


async def test_it_calls_back_once_and_never_before_the_call_has_returned(
    journal: Journal,
) -> None:
    told: list[Stored | JournalError] = []
    journal.record(NEW, told.append)
    assert not told
    await until(lambda: told)
    await journal.flush()
    assert told == [Stored(1, "queued")]


async def test_it_calls_back_in_order_of_commit(journal: Journal) -> None:
    order: list[int] = []
    for _ in range(500):
        journal.record(NEW, lambda stored: order.append(stored.id))  # type: ignore[union-attr]
    await until(lambda: len(order) == 500)
    assert order == list(range(1, 501))


async def test_a_fault_of_who_is_called_back_concerns_nobody_else(journal: Journal) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    told: list[Any] = []
    journal.record(NEW, lambda _: 1 / 0)  # type: ignore[arg-type] # a fault
    journal.record(NEW, told.append)
    await until(lambda: told)
    assert told == [Stored(2, "queued")]
    assert isinstance(faults[0]["exception"], ZeroDivisionError)


async def test_what_is_recorded_may_be_taken_in_the_same_step(journal: Journal) -> None:
    stored = await record(journal, NEW, take=True)
    assert (stored.id, stored.status) == (1, "running")
    assert stored.claim and (stored.claim.number, stored.claim.delivery) == (1, NEW)
    found = await journal.get(1)
    assert found and (found.status, found.attempt_count) == ("running", 1)
    assert await journal.claim(ROOM) == []


async def test_what_no_handler_wants_is_not_taken(journal: Journal) -> None:
    ignored = replace(NEW, status="ignored")
    assert await record(journal, ignored, take=True) == Stored(1, "ignored")
    assert await journal.claim(ROOM) == []


@pytest.mark.parametrize("body", [b"", b'{"a": 1e999, "a":2}', bytes(range(256)) * 400])
async def test_the_bytes_of_a_body_are_kept(journal: Journal, body: bytes) -> None:
    await record(journal, replace(NEW, body=body))
    found = await journal.get(1)
    assert found is not None and found.body == body


async def test_beyond_a_number_nothing_more_is_taken_in(engine: Engine) -> None:
    journal = await engine.open(limits=Limits(each=2))
    claim = await taken(journal)
    await record(journal)
    with pytest.raises(JournalFull, match="2 deliveries wait for the handler of train"):
        await record(journal)
    await finish(journal, claim)
    assert (await record(journal)).status == "queued"


async def test_what_an_earlier_host_has_left_counts_with_its_bytes(engine: Engine) -> None:
    large = replace(NEW, body=b"x" * 900)
    await record(first := await engine.open(), large)
    await finish(first, await taken(first), "retrying", retry_after=3600.0)
    journal = await engine.succeed(first, limits=Limits(all=3, size=1000, spared=1))
    assert journal.backlog.refusal("train", 100)
    assert not journal.backlog.refusal("train", 50)
    await record(journal)
    assert journal.backlog.refusal("train")
    [claim] = [each for each in await journal.claim(ROOM) if each.delivery.body == large.body]
    await finish(journal, claim)
    assert not journal.backlog.refusal("train", 100)


async def test_what_waits_for_an_endpoint_that_is_gone_turns_nobody_away(engine: Engine) -> None:
    journal = await engine.open(limits=Limits(all=3, spared=1))
    for _ in range(3):
        await record(journal, replace(NEW, endpoint="gone"))
    assert journal.backlog.refusal("gone")
    await journal.publish([Published.of(Endpoint("train"), ())])
    for _ in range(3):
        await record(journal)
    assert journal.backlog.refusal("train")
    limits = Limits(all=4, spared=1)
    assert not (await engine.succeed(journal, limits=limits)).backlog.refusal("train")


@pytest.mark.parametrize("ends", ["cancel", "requeue"])
async def test_what_waits_no_more_or_again_is_counted_once(engine: Engine, ends: str) -> None:
    journal = await engine.open(limits=Limits(each=1))
    await finish(journal, await taken(journal), "retrying", retry_after=60.0)
    for _ in range(2):
        await getattr(journal, ends)(Wanted(ids=[1]))
    assert bool(journal.backlog.refusal("train")) is (ends == "requeue")


# What the Hub sends again


@pytest.mark.parametrize(
    ("earlier", "again"),
    [
        ("queued", "duplicate"),
        ("retrying", "duplicate"),
        ("succeeded", "duplicate"),
        ("failed", "queued"),
    ],
)
async def test_what_the_hub_sends_again(journal: Journal, earlier: str, again: str) -> None:
    await finish(journal, await taken(journal, HUBS), earlier)
    second = await record(journal, HUBS)
    assert second == (Stored(1, again) if again == "duplicate" else Stored(2, again))


async def test_what_runs_is_a_duplicate_too(journal: Journal) -> None:
    await taken(journal, HUBS)
    assert await record(journal, HUBS, take=True) == Stored(1, "duplicate")


async def test_what_was_ignored_or_cancelled_is_handled_again(journal: Journal) -> None:
    await record(journal, replace(HUBS, status="ignored"))  # a filter may have changed since
    await record(journal, HUBS)
    await journal.cancel(Wanted(ids=[2]))
    assert await record(journal, HUBS) == Stored(3, "queued")
    assert await record(journal, replace(HUBS, status="ignored")) == Stored(3, "duplicate")


@pytest.mark.parametrize(
    "other",
    [
        replace(HUBS, webhook_id="w2"),
        replace(HUBS, endpoint="deploy"),
        replace(HUBS, origin="replay"),
    ],
)
async def test_what_is_no_duplicate(journal: Journal, other: Recorded) -> None:
    await record(journal, HUBS)
    assert (await record(journal, other)).status == "queued"


async def test_a_replay_makes_no_duplicates(journal: Journal) -> None:
    await record(journal, replace(HUBS, origin="replay"))
    assert (await record(journal, HUBS)).status == "queued"


async def test_without_an_id_of_the_hub_nothing_is_a_duplicate(journal: Journal) -> None:
    assert [(await record(journal)).status for _ in range(2)] == ["queued", "queued"]


async def test_of_many_copies_one_is_recorded(journal: Journal) -> None:
    """1,000 ids, 2 to 8 copies of each at once."""
    copies = [
        replace(NEW, webhook_id=f"w{number}")
        for number in range(1000)
        for _ in range(2 + number % 7)
    ]
    stored = await asyncio.gather(*(record(journal, copy) for copy in copies))
    by_id: dict[str | None, list[Stored]] = {}
    for copy, each in zip(copies, stored, strict=True):
        by_id.setdefault(copy.webhook_id, []).append(each)
    for same in by_id.values():
        assert [each.status for each in same] == ["queued"] + ["duplicate"] * (len(same) - 1)
        assert {each.id for each in same} == {same[0].id}
    assert await journal.counts() == {("train", "queued"): 1000}


# Claiming


async def test_claims_come_in_order_of_arrival(journal: Journal) -> None:
    for _ in range(5):
        await record(journal)
    first = [claim.id for claim in await journal.claim({"train": 2})]
    rest = [claim.id for claim in await journal.claim({"train": 99})]
    assert (first, rest) == ([1, 2], [3, 4, 5])


async def test_claims_come_by_time_and_arrival_whatever_their_endpoint(engine: Engine) -> None:
    journal = await engine.open()
    arrivals = [("train", 30.0), ("deploy", 20.0), ("train", 10.0), ("deploy", 10.0)]
    for endpoint, at in arrivals:
        await record(journal, replace(NEW, endpoint=endpoint, received_at=at))
    await finish(journal, await taken(journal), "retrying", retry_after=0.0)
    engine.now += 1
    await record(journal, replace(NEW, endpoint="deploy", received_at=engine.now))
    claims = await journal.claim({"train": 2, "deploy": 2})
    assert [claim.id for claim in claims] == [3, 4, 2, 1]
    assert [claim.id for claim in await journal.claim(ROOM)] == [5, 6]


async def test_a_suspect_is_taken_in_quarantine_alone(journal: Journal) -> None:
    for _ in range(2):
        await finish(journal, await taken(journal), "queued")  # a worker has died of it
    await record(journal)
    assert await journal.has_suspect(ROOM) and not await journal.has_suspect({"other": 1})
    assert await journal.claim({"other": 1}, in_quarantine=True) == []
    assert [claim.id for claim in await journal.claim(ROOM)] == [3]
    for id in (1, 2):
        [claim] = await journal.claim(ROOM, in_quarantine=True)
        assert (claim.id, claim.delivery.crashed, claim.delivery.is_suspect) == (id, 1, True)
    assert not await journal.has_suspect(ROOM)


async def test_what_was_lost_with_others_is_a_suspect_and_has_not_crashed(journal: Journal) -> None:
    claim = await taken(journal)
    lost = Attempt(1, 20.0, 0.5, "lost")
    done = asyncio.get_running_loop().create_future()
    journal.finish(claim, lost, Verdict("lost", "queued"), done.set_result)
    assert await done
    [claim] = await journal.claim(ROOM, in_quarantine=True)
    assert (claim.number, claim.delivery.crashed, claim.delivery.is_suspect) == (2, 0, True)


async def claimed_one(journal: Journal) -> Claim:
    [claim] = await journal.claim({"train": 1})
    return claim


async def test_there_are_no_more_claims_than_there_is_room(journal: Journal) -> None:
    for endpoint in ("train", "deploy", "train", "other"):
        await record(journal, replace(NEW, endpoint=endpoint))
    assert [claim.id for claim in await journal.claim({"train": 1, "deploy": 0})] == [1]
    assert [claim.id for claim in await journal.claim({"deploy": 1})] == [2]
    assert await journal.claim({}) == []


async def test_a_claim_has_the_content_and_counts_the_attempt(journal: Journal) -> None:
    await record(journal, HUBS)
    claim = await claimed(journal)
    assert (claim.id, claim.number) == (1, 1)
    assert (claim.delivery.body, claim.delivery.webhook_id) == (HUBS.body, "w1")
    await journal.flush()
    found = await journal.get(1)
    assert found and (found.status, found.attempt_count) == ("running", 1)


async def test_a_claim_may_be_given_back(journal: Journal) -> None:
    claim = await taken(journal)
    await journal.release([claim])
    found = await journal.get(1)
    assert found and (found.status, found.attempt_count) == ("queued", 0)
    assert not await finish(journal, claim)
    again = await claimed(journal)
    assert (again.id, again.number) == (1, 1)
    assert await attempts(journal, 1) == []


async def test_what_is_given_back_has_its_turn_by_arrival(engine: Engine) -> None:
    journal = await engine.open()
    early, late = (replace(NEW, received_at=at) for at in (10.0, engine.now))
    await finish(journal, await taken(journal, early), "retrying", retry_after=1.0)
    await record(journal, late)
    engine.now += 1
    await journal.release(await journal.claim(ROOM))
    assert [claim.id for claim in await journal.claim(ROOM)] == [1, 2]


async def test_one_that_has_crashed_is_known_for_that_when_it_is_given_back(
    journal: Journal,
) -> None:
    await finish(journal, await taken(journal), "queued")
    await journal.release(await journal.claim(ROOM, in_quarantine=True))
    assert await journal.claim(ROOM) == []
    [claim] = await journal.claim(ROOM, in_quarantine=True)
    assert claim.delivery.crashed == 1


async def test_who_waits_for_something_due_is_told(journal: Journal) -> None:
    told: list[int] = []
    journal.when_due(lambda: told.append(1))
    await record(journal)
    assert told
    claim = await claimed(journal)
    told.clear()
    await finish(journal, claim, "queued")
    assert told


# Ending


async def test_a_finished_delivery_keeps_its_attempts(journal: Journal) -> None:
    first = await taken(journal)
    crashed = Attempt(1, 20.0, 0.5, "crashed", error="died")
    assert await finished(journal, first, crashed, Verdict("crashed", "queued"))
    second = await claimed(journal)
    succeeded = Attempt(2, 30.0, 0.25, "succeeded", 200, b"{}")
    done = Verdict("succeeded", "succeeded", sent_status=202)
    assert await finished(journal, second, succeeded, done)
    assert list(await journal.attempts(1)) == [crashed, succeeded]
    found = await journal.get(1)
    assert found and (found.status, found.attempt_count) == ("succeeded", 2)
    assert (found.crashed, found.raised) == (1, 0)
    [summary] = await journal.list(Wanted())
    assert (summary.http_status, summary.sent_status, summary.duration) == (200, 202, 0.25)


async def test_what_the_sender_got_first_is_what_it_got(journal: Journal) -> None:
    await finish(journal, await taken(journal), "retrying", sent_status=202)
    await finish(journal, await claimed(journal), "succeeded", sent_status=200)
    [summary] = await journal.list(Wanted())
    assert summary.sent_status == 202


async def test_answers_and_tracebacks_are_cut(journal: Journal) -> None:
    claim = await taken(journal)
    long = Attempt(1, 20.0, 0.5, "raised", 500, b"x" * 10_000, "first\n" + "y" * 10_000 + "last")
    await finished(journal, claim, long, Verdict("raised", "failed"))
    [attempt] = await journal.attempts(1)
    assert len(attempt.answer) == 4096
    assert attempt.error is not None and len(attempt.error) == 4096
    assert attempt.error.endswith("last")


async def test_an_attempt_ends_once(journal: Journal) -> None:
    claim = await taken(journal)
    assert await finish(journal, claim, "failed")
    assert not await finish(journal, claim, "succeeded")
    assert (await status(journal, 1), await attempts(journal, 1)) == ("failed", ["raised"])


async def test_a_late_outcome_changes_nothing(journal: Journal) -> None:
    first = await taken(journal)
    assert await finish(journal, first, "queued")
    assert not await finish(journal, first)
    second = await claimed(journal)
    assert not await finish(journal, first)
    assert await finish(journal, second, "failed")
    assert not await finish(journal, second)
    assert (await status(journal, 1), await attempts(journal, 1)) == (
        "failed",
        ["crashed", "raised"],
    )


async def test_what_was_left_after_the_answer_may_fail(journal: Journal) -> None:
    claim = await taken(journal)
    await finish(journal, claim)
    await journal.amend(1, 1, "in the background")
    assert (await status(journal, 1), await attempts(journal, 1)) == ("failed", ["raised"])
    assert (await journal.attempts(1))[0].error == "in the background"
    assert await journal.requeue(Wanted(ids=[1])) == [1]
    again = await claimed(journal)
    await journal.amend(1, 1, "late")  # another attempt runs
    assert await status(journal, 1) == "running"
    await finish(journal, again)


@pytest.mark.parametrize("number", [1, 2])
async def test_what_is_left_after_the_answer_is_found_until_it_is_done(
    journal: Journal, number: int
) -> None:
    pending = Wanted(pending_after=True)
    claim = await taken(journal)
    if number == 2:
        await finish(journal, claim, "queued")
        claim = await claimed(journal)
    await finish(journal, await taken(journal))
    assert await journal.list(pending) == []
    await finish(journal, claim, pending_after=True)
    [found] = await journal.list(pending)
    assert (found.id, found.status, found.pending_after) == (1, "succeeded", True)
    assert await journal.prune(NEW.received_at + 1) == 1  # the other one
    await journal.amend(1, number, None)
    assert await journal.list(pending) == [] and await status(journal, 1) == "succeeded"
    assert (await attempts(journal, 1))[-1] == "succeeded"


async def test_what_is_left_after_the_answer_may_be_cut_off(
    engine: Engine, journal: Journal
) -> None:
    await finish(journal, await taken(journal), pending_after=True)
    another = await engine.succeed(journal)
    [left] = await another.list(Wanted(pending_after=True))
    await another.amend(left.id, left.attempt_count, "the server died", "interrupted")
    [attempt] = await another.attempts(1)
    assert (attempt.status, attempt.error) == ("interrupted", "the server died")
    assert await status(another, 1) == "failed"
    assert await another.list(Wanted(pending_after=True)) == []


# What is due later


async def test_what_its_owner_wants_run_comes_first_for_the_next_host_too(engine: Engine) -> None:
    journal = await engine.open()
    claims = [await taken(journal) for _ in range(2)]
    await finish(journal, claims[1], "failed")
    assert await journal.requeue(Wanted(ids=[2])) == [2]
    another = await engine.succeed(journal)
    assert [claim.id for claim in await another.claim({"train": 1})] == [2]


async def test_what_is_due_later_is_taken_later(engine: Engine, journal: Journal) -> None:
    await finish(journal, await taken(journal), "retrying", retry_after=60.0)
    [summary] = await journal.list(Wanted())
    assert summary.due_at == pytest.approx(engine.now + 60)
    assert await journal.claim(ROOM) == []
    engine.now += 61
    assert (await claimed(journal)).number == 2
    await journal.flush()
    assert (await journal.list(Wanted()))[0].due_at is None


async def test_what_has_come_is_due_whatever_the_clock_says(
    engine: Engine, journal: Journal
) -> None:
    await record(journal, replace(NEW, received_at=engine.now))
    engine.now -= 365 * 24 * 3600
    assert (await claimed(journal)).id == 1


YEAR = 365 * 24 * 3600.0


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("set_by", [-YEAR, -1800.0, 1800.0, YEAR])
@pytest.mark.parametrize("is_pause_asked", [False, True])
async def test_it_is_due_when_it_was_to_be_whatever_is_done_to_the_clock(
    engine: Engine, set_by: float, is_pause_asked: bool, restarts: bool
) -> None:
    journal = await engine.open()
    for _ in range(2):
        verdict = {"retry_after": 720.0, "is_pause_asked": is_pause_asked}
        await finish(journal, await taken(journal), "retrying", **verdict)
        engine.set_by += set_by
        assert await journal.claim(ROOM) == []
    if restarts:
        await journal.flush()
        journal = await engine.succeed(journal)
    engine.now += 719 - (LEASE + 1) * (restarts and isinstance(engine, MemoryEngine))
    assert await journal.claim(ROOM) == []
    engine.now += 1
    assert len(await journal.claim(ROOM)) == 2


async def test_when_it_is_due_that_is_told(journal: Journal) -> None:
    told: list[int] = []
    await finish(journal, await taken(journal), "retrying", retry_after=0.05)
    journal.when_due(lambda: told.append(1))
    await until(lambda: told)


async def test_what_is_due_first_comes_first(engine: Engine, journal: Journal) -> None:
    for pause in (60.0, 30.0):
        await finish(journal, await taken(journal), "retrying", retry_after=pause)
    engine.now += 90
    await record(journal, replace(NEW, received_at=engine.now))
    assert [claim.id for claim in await journal.claim(ROOM)] == [2, 1, 3]


async def test_it_stays_due_later_when_another_host_takes_over(
    engine: Engine, journal: Journal
) -> None:
    await finish(journal, await taken(journal), "retrying", retry_after=3600.0)
    another = await engine.succeed(journal)
    assert await another.claim(ROOM) == []
    engine.now += 3601
    assert (await claimed(another)).number == 2


# Hosts that die


async def test_what_a_host_left_running_is_run_again(engine: Engine, journal: Journal) -> None:
    await record(journal)
    lost = await taken(journal, replace(NEW, endpoint="deploy"))
    await finish(journal, await taken(journal), "succeeded")
    await journal.flush()
    another = await engine.succeed(journal)
    claims = [*await another.claim(ROOM), *await another.claim(ROOM, in_quarantine=True)]
    assert [(claim.id, claim.number) for claim in claims] == [(1, 1), (2, 2)]
    assert await attempts(another, lost.id) == ["lost"]
    await another.flush()
    found = await another.get(lost.id)
    assert found and (found.attempt_count, found.raised, found.crashed) == (2, 0, 0)


async def test_a_late_outcome_of_a_host_that_was_given_up_is_refused(
    engine: Engine, journal: Journal
) -> None:
    late = await taken(journal)
    another = await engine.succeed(journal)
    again = await claimed(another)
    assert not await finish(another, late)
    assert await finish(another, again)
    assert await attempts(another, 1) == ["lost", "succeeded"]


async def test_what_has_crashed_is_known_to_the_next_host(engine: Engine, journal: Journal) -> None:
    await finish(journal, await taken(journal), "queued")
    another = await engine.succeed(journal)
    assert await another.claim(ROOM) == []
    [claim] = await another.claim(ROOM, in_quarantine=True)
    assert claim.delivery.crashed == 1


# Owners' commands


async def test_what_has_failed_is_made_due(journal: Journal) -> None:
    for _ in range(3):
        await finish(journal, await taken(journal), "failed")
    assert list(await journal.requeue(Wanted(ids=[2]))) == [2]
    assert (await claimed(journal)).id == 2
    assert list(await journal.requeue(Wanted(statuses=["failed"]))) == [1, 3]
    assert [claim.number for claim in await journal.claim(ROOM)] == [2, 2]
    assert await journal.requeue(Wanted(ids=[99, 1 << 70])) == []


@pytest.mark.parametrize("outcome", ["succeeded", "queued"])
async def test_what_has_not_failed_is_not(journal: Journal, outcome: str) -> None:
    await finish(journal, await taken(journal), outcome)
    assert await journal.requeue(Wanted(ids=[1])) == []
    assert await status(journal, 1) == outcome


async def test_not_what_the_hub_has_sent_again_since(journal: Journal) -> None:
    await finish(journal, await taken(journal, HUBS), "failed")
    await finish(journal, await taken(journal, HUBS), "succeeded")
    assert await journal.requeue(Wanted(ids=[1])) == []
    assert await status(journal, 1) == "failed"


async def test_what_waits_for_another_attempt_is_made_due(journal: Journal) -> None:
    await finish(journal, await taken(journal), "retrying", retry_after=60.0)
    asked = Verdict("raised", "retrying", 60.0, is_pause_asked=True)
    claim = await taken(journal)
    await finished(journal, claim, ended(claim, "raised"), asked)
    assert list(await journal.requeue(Wanted(statuses=["retrying"], is_pause_asked=False))) == [1]
    assert (await claimed(journal)).number == 2
    assert list(await journal.requeue(Wanted(ids=[2]))) == [2]


async def test_what_is_not_finished_can_be_cancelled(journal: Journal) -> None:
    await record(journal)
    running = await taken(journal)
    await finish(journal, await taken(journal), "retrying", retry_after=60.0)
    await finish(journal, await taken(journal), "succeeded")
    assert list(await journal.cancel(Wanted(endpoint="train"))) == [1, 2, 3]
    assert [await status(journal, id) for id in (1, 2, 3, 4)] == ["cancelled"] * 3 + ["succeeded"]
    assert not await finish(journal, running)
    assert await journal.claim(ROOM) == []


async def test_only_what_is_finished_is_deleted(engine: Engine, journal: Journal) -> None:
    old = replace(NEW, received_at=engine.now - 100)
    for outcome in ("succeeded", "failed", "retrying", "queued"):
        await finish(journal, await taken(journal, old), outcome)
    await record(journal, replace(old, status="ignored"))
    await finish(journal, await taken(journal, replace(NEW, received_at=engine.now)))
    assert await journal.prune(engine.now - 50) == 3
    assert await ids(journal) == [6, 4, 3]


# Reading


async def test_deliveries_are_listed_as_they_are_wanted(journal: Journal) -> None:
    await finish(journal, await taken(journal), "failed")
    await record(journal, replace(NEW, endpoint="deploy", event="repo:create", received_at=99.0))
    await record(journal, replace(NEW, repo="model:you/model", event=None, origin="trigger"))
    await record(journal, replace(NEW, repo=None, event="discussion.comment:create"))
    assert await ids(journal) == [4, 3, 2, 1]
    assert await ids(journal, limit=2) == [4, 3]
    assert await ids(journal, after=2) == [4, 3]
    assert await ids(journal, endpoint="deploy") == [2]
    assert await ids(journal, statuses=["failed", "running"]) == [1]
    assert await ids(journal, event="repo") == [2, 1]
    assert await ids(journal, event="repo.content:update") == [1]
    assert await ids(journal, event="discussion") == [4]
    assert await ids(journal, repo="me/*") == [2, 1]
    assert await ids(journal, repo="model:*") == [3]
    assert await ids(journal, origin="trigger") == [3]
    assert await ids(journal, since=50.0) == [2]
    assert await ids(journal, ids=[1, 3, 9]) == [3, 1]
    assert await ids(journal, ids=[]) == []


async def test_a_summary_has_what_a_line_needs(journal: Journal) -> None:
    await record(journal, HUBS)
    [summary] = await journal.list(Wanted())
    assert summary == Summary(
        id=1,
        received_at=12.5,
        endpoint="train",
        event="repo.content:update",
        repo="dataset:me/data",
        status="queued",
        origin="hub",
        attempt_count=0,
        webhook_id="w1",
        sent_status=None,
        due_at=None,
        duration=None,
        http_status=None,
    )


async def test_deliveries_are_counted_by_endpoint_and_status(journal: Journal) -> None:
    await finish(journal, await taken(journal))
    await record(journal)
    await record(journal, replace(NEW, endpoint="deploy"))
    counts = await journal.counts()
    assert dict(counts) == {
        ("train", "succeeded"): 1,
        ("train", "queued"): 1,
        ("deploy", "queued"): 1,
    }


async def test_who_follows_misses_no_change(journal: Journal) -> None:
    seen: list[tuple[int, str]] = []

    async def follow() -> None:
        async for each in journal.follow(after=1):
            seen.append((each.id, each.status))  # noqa: PERF401 # it is looked at meanwhile

    first = await taken(journal)
    await record(journal)
    following = asyncio.ensure_future(follow())
    await until(lambda: seen == [(2, "queued")])
    await finish(journal, first, "failed")
    await until(lambda: (1, "failed") in seen)
    await journal.requeue(Wanted(ids=[1]))
    await until(lambda: (1, "queued") in seen)
    await journal.claim({"train": 1})
    await until(lambda: (2, "running") in seen or (1, "running") in seen)
    await record(journal, replace(NEW, status="ignored"))
    await until(lambda: (3, "ignored") in seen)
    await journal.cancel(Wanted(statuses=["queued"]))
    await until(lambda: any(state == "cancelled" for _, state in seen))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_all_who_follow_see_every_change(journal: Journal) -> None:
    seen: list[list[str]] = [[], []]

    async def follow(statuses: list[str]) -> None:
        async for each in journal.follow(after=0):
            statuses.append(each.status)  # noqa: PERF401 # it is looked at meanwhile

    claim = await taken(journal)
    following = [asyncio.ensure_future(follow(statuses)) for statuses in seen]
    await until(lambda: seen == [["running"]] * 2)
    await journal.release([claim])
    await until(lambda: seen == [["running", "queued"]] * 2)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


# What hosts serve


async def test_endpoints_are_published_without_their_secrets(
    engine: Engine, journal: Journal
) -> None:
    served = [
        Endpoint("train", Filter(("repo",), ("me/*",), ()), ("s3cret",), retries=2),
        Endpoint("a/b", secrets=("of-the-environment",), takes_json=False),
        Endpoint("open"),
    ]
    published = [Published.of(each, ("of-the-environment",)) for each in served]
    await journal.publish(published)
    found = await (await engine.succeed(journal, "a host")).endpoints()
    assert list(found) == published
    assert [each.secrets_of for each in found] == ["script", "environment", "nobody"]
    assert not any(each.endpoint.secrets for each in found)


async def test_what_is_published_takes_the_place_of_what_was(journal: Journal) -> None:
    assert await journal.endpoints() == []
    await journal.publish([Published.of(Endpoint("a"), ()), Published.of(Endpoint("b"), ())])
    await journal.publish([Published.of(Endpoint("c"), ())])
    assert [each.endpoint.name for each in await journal.endpoints()] == ["c"]


async def test_a_new_journal_is_healthy_and_empty(journal: Journal) -> None:
    assert journal.condition.state == "healthy"
    assert await journal.list(Wanted()) == [] and await journal.counts() == {}
