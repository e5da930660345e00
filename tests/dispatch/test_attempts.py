import asyncio
from collections.abc import Callable

import pytest

from hfhooks.dispatch.attempts import Attempts, Running
from hfhooks.model.delivery import Claim, Recorded
from hfhooks.model.ending import Ending
from hfhooks.model.endpoint import Endpoint
from tests.harness import polled, until

GOOD, RAISED, INTERRUPTED = Ending("answered", 200), Ending("raised"), Ending("interrupted")


class HeldWorker:
    """Has been asked, and ends each call when a test says so."""

    takes_more = True

    def __init__(self) -> None:
        self.given_up: list[int] = []
        self.secrets: list[str | None] = []
        self._ended: dict[int, Callable[[Ending], None]] = {}

    def attempt(self, claim: Claim, secret: str | None, ended: Callable[[Ending], None]) -> None:
        self.secrets.append(secret)
        self._ended[claim.id] = ended

    def give_up(self, id: int) -> None:
        self.given_up.append(id)

    def end(self, id: int, ending: Ending = GOOD) -> None:
        self._ended[id](ending)


class Calls:
    """Attempts at deliveries by their ids, and how they ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, Ending]] = []
        self.worker = HeldWorker()
        self.left: list[int] = []
        self.attempts = Attempts(
            lambda running, ending: self._hear(running, ending),
            lambda running: self.left.append(running.claim.id),
        )

    def _hear(self, running: Running, ending: Ending) -> None:
        self.ended.append((running.claim.id, ending))

    def begin(
        self, *ids: int, secrets: tuple[str, ...] = (), timeout: float | None = None
    ) -> list[Running]:
        endpoint = Endpoint("train", secrets=secrets, timeout=timeout)
        deliveries = [Claim(id, Recorded("train", 0.0, "", (), b""), 1, "") for id in ids]
        running = [Running(claim, endpoint, self.worker, 1e9) for claim in deliveries]
        for each in running:
            self.attempts.begin(each)
        return running


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.mark.parametrize(
    ("secrets", "secret"), [((), None), (("one",), "one"), (("now", "before"), "now")]
)
def test_a_handler_may_compare_with_the_secret_of_now(
    calls: Calls, secrets: tuple[str, ...], secret: str | None
) -> None:
    calls.begin(1, secrets=secrets)
    assert calls.worker.secrets == [secret]


def test_each_call_ends_as_it_did(calls: Calls) -> None:
    calls.begin(1, 2)
    calls.worker.end(2, RAISED)
    calls.worker.end(1)
    assert calls.ended == [(2, RAISED), (1, GOOD)]


def test_of_what_is_said_of_a_call_the_first_counts(calls: Calls) -> None:
    [running] = calls.begin(1)
    calls.worker.end(1, RAISED)
    calls.worker.end(1)
    calls.attempts.end(running, INTERRUPTED)
    assert calls.ended == [(1, RAISED)]


def test_what_is_cancelled_has_ended_whatever_its_worker_answers(calls: Calls) -> None:
    calls.begin(1, 2, 3)
    assert sorted(calls.attempts.cancel({1, 3, 404})) == [1, 3]
    assert sorted(calls.worker.given_up) == [1, 3]
    assert [running.claim.id for running in calls.attempts.running] == [2]
    calls.worker.end(1)
    assert calls.left == [1] and calls.attempts.goes_on(3)
    ended = sorted(calls.ended, key=lambda each: each[0])
    assert ended == [(1, Ending("cancelled")), (3, Ending("cancelled"))]


async def test_a_call_that_outlives_its_time_is_given_up_and_keeps_its_place(calls: Calls) -> None:
    calls.begin(1, timeout=0.01)
    calls.begin(2, timeout=60)
    await until(lambda: calls.ended)
    why = b"The handler ran longer than its timeout of 0.01 s."
    assert calls.ended == [(1, Ending("timed_out", 500, body=why))]
    assert (calls.worker.given_up, calls.left) == ([1], []) and calls.attempts.goes_on(1)
    calls.worker.end(1)
    assert calls.left == [1] and len(calls.ended) == 1 and not calls.attempts.goes_on(1)
    calls.worker.end(2)


def test_a_call_takes_some_time(calls: Calls) -> None:
    [running] = calls.begin(1)
    first = running.duration
    assert 0 <= first < running.duration < 60


async def test_a_call_for_a_delivery_is_awaited_and_no_other(calls: Calls) -> None:
    calls.begin(1, 2, 3)
    over = asyncio.ensure_future(calls.attempts.over(1))
    calls.worker.end(2)
    await polled()
    assert not over.done()
    calls.worker.end(1)
    await over
    await calls.attempts.over(99)


async def test_draining_ends_with_the_last_call(calls: Calls) -> None:
    calls.begin(1, 2)
    draining = asyncio.ensure_future(calls.attempts.drain(grace=30))
    calls.worker.end(1)
    await polled()
    assert not draining.done()
    calls.worker.end(2)
    await draining
    assert calls.ended == [(1, GOOD), (2, GOOD)]


async def test_what_takes_longer_than_the_grace_is_interrupted_and_late_then(calls: Calls) -> None:
    calls.begin(1, 2)
    calls.worker.end(2)
    await calls.attempts.drain(grace=0.01)
    calls.worker.end(1)
    assert calls.ended == [(2, GOOD), (1, INTERRUPTED)]


async def test_without_calls_there_is_nothing_to_drain(calls: Calls) -> None:
    await calls.attempts.drain(grace=0)
    assert calls.ended == []
